/**
 * Messages → the text a model was trained on, by the model's own Jinja template, rendered as transformers renders it.
 *
 * The template is parsed and run by @huggingface/jinja. Where that library is known to differ from Python *silently*, the
 * calls are redirected to exact versions (python.ts); where it differs loudly, the template is refused with its reason.
 * A template is somebody else's program: it sees the messages and the token names, and runs under a time limit.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { TextError } from './errors.js';
import { capitalize, str, strftime, strip, type TemplateValue } from './python.js';
import { withTimeLimit } from './time-limit.js';

export interface Message {
  role: string;
  content: string;
}

export interface ChatTemplateOptions {
  /** `bos_token`, `eos_token`, …: Tokenizer.specialTokens. */
  specialTokens?: Readonly<Record<string, string>>;
  /** What `strftime_now` says. Fixed, or a run could not be repeated; the default is the one in Llama 3's own template. */
  date?: Date;
}

const MAX_RANGE = 1_000_000;
/** Python's name → the redirect. The space keeps them out of reach of a template's own identifiers. */
const METHODS = new Map([['strip', 'str strip'], ['lstrip', 'str lstrip'], ['rstrip', 'str rstrip'], ['capitalize', 'str capitalize']]);
const FILTERS = new Map([['trim', 'str strip'], ['capitalize', 'str capitalize'], ['string', 'str print']]);

/** What raise_exception() in a template says: these messages are not for this model. */
class Refusal extends Error {}

export class ChatTemplate {
  private readonly program: ReturnType<typeof parse>;
  private readonly specialTokens: Readonly<Record<string, string>>;
  private readonly date: Date;

  /** Throws TextError if `source` cannot be parsed. */
  constructor(readonly source: string, options: ChatTemplateOptions = {}) {
    this.specialTokens = options.specialTokens ?? {};
    this.date = options.date ?? new Date(Date.UTC(2024, 6, 26));
    try {
      this.program = parse(tokenize(source, { trim_blocks: true, lstrip_blocks: true }));
      redirect(this.program);
    } catch (error) {
      throw new TextError('ERR_CHAT_TEMPLATE', `The model's chat template cannot be used: ${(error as Error).message}; put a corrected chat_template.jinja into the model's folder.`, { cause: error });
    }
  }

  /** The prompt text, special tokens spelled out; encode it without adding more. Throws TextError. */
  render(messages: readonly Message[], { addGenerationPrompt }: { addGenerationPrompt: boolean }): string {
    checkMessages(messages);
    try {
      return withTimeLimit(() => this.run(messages, addGenerationPrompt));
    } catch (error) {
      const roles = messages.map((message) => message.role).join(', ');
      if (error instanceof Refusal) throw new TextError('ERR_CHAT_TEMPLATE', `The model's chat template refuses these messages (roles: ${roles}): ${error.message}`, { cause: error });
      throw new TextError('ERR_CHAT_TEMPLATE', `The model's chat template failed on messages with roles ${roles}: ${(error as Error).message}; put a corrected chat_template.jinja into the model's folder.`, { cause: error });
    }
  }

  /** Names as transformers' apply_chat_template has them; `tools` and `documents` are there and none. */
  private run(messages: readonly Message[], addGenerationPrompt: boolean): string {
    const scope = new Environment();
    const globals: Record<string, unknown> = {
      true: true, false: false, none: null, True: true, False: false, None: null,
      raise_exception: (message: unknown) => { throw new Refusal(String(message)); },
      strftime_now: (format: string) => strftime(this.date, format),
      range: boundedRange,
      'str strip': (text: unknown, characters?: string | null) => strip(text, 'both', characters),
      'str lstrip': (text: unknown, characters?: string | null) => strip(text, 'left', characters),
      'str rstrip': (text: unknown, characters?: string | null) => strip(text, 'right', characters),
      'str capitalize': capitalize,
      ...this.specialTokens,
      messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null,
    };
    for (const [name, value] of Object.entries(globals)) scope.set(name, value);
    const print = scope.set('str print', (text: string) => text) as { value: unknown };
    const asString = print.value as (args: unknown[], scope: Environment) => unknown;
    print.value = ([it]: [TemplateValue], inner: Environment) => asString([{ value: str(it) }], inner); // before the interpreter drops its types
    return String(new Interpreter(scope).run(this.program).value);
  }
}

type Node = { type?: string; [key: string]: unknown };

const PRINTED = /Expression$|Literal$|^Identifier$|^Ternary$/;

/** `x.strip(y)` becomes `«str strip»(x, y)`, `x | trim` likewise, and what is printed goes through «str print», throughout the tree. */
function redirect(node: unknown): void {
  if (Array.isArray(node)) return node.forEach(redirect);
  if (typeof node !== 'object' || node === null) return;
  const it = node as Node;
  for (const value of Object.values(it)) redirect(value);
  if (it.type === 'CallExpression') {
    const callee = it['callee'] as Node;
    const name = callee.type === 'MemberExpression' && callee['computed'] === false ? METHODS.get(String((callee['property'] as Node)['value'])) : undefined;
    if (name) Object.assign(it, { callee: identifier(name), args: [callee['object'], ...(it['args'] as unknown[])] });
  } else if (it.type === 'FilterExpression') {
    const filter = it['filter'] as Node;
    const called = filter.type === 'CallExpression' ? (filter['callee'] as Node) : filter;
    const name = FILTERS.get(String(called['value']));
    if (name) Object.assign(it, call(name, it['operand'], ...((filter['args'] as unknown[]) ?? [])));
  } else if (it.type === 'BinaryExpression' && (it['operator'] as Node)['value'] === '~') {
    Object.assign(it, { left: call('str print', it['left']), right: call('str print', it['right']) });
  }
  for (const block of ['body', 'alternate', 'defaultBlock']) {
    if (Array.isArray(it[block])) it[block] = (it[block] as Node[]).map((part) => (PRINTED.test(part.type ?? '') && part.type !== 'StringLiteral' ? call('str print', part) : part));
  }
}

function call(name: string, ...args: unknown[]): Node {
  return { type: 'CallExpression', callee: identifier(name), args };
}

function identifier(value: string): Node {
  return { type: 'Identifier', value };
}

function boundedRange(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (!(length <= MAX_RANGE)) throw new Error(`range() of ${length} numbers; at most ${MAX_RANGE} are allowed`);
  return Array.from({ length }, (_, i) => from + i * step);
}

function checkMessages(messages: readonly Message[]): void {
  if (messages.length === 0) throw new TextError('ERR_INVALID_ARGUMENT', 'The list of messages is empty; give at least one {role, content}.');
  messages.forEach((message, i) => {
    if (typeof message?.role !== 'string' || typeof message.content !== 'string') {
      throw new TextError('ERR_INVALID_ARGUMENT', `Message ${i + 1} of ${messages.length} is ${JSON.stringify(message)?.slice(0, 80)}; role and content must both be strings.`);
    }
  });
}
