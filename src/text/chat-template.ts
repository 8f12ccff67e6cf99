/**
 * Messages → the text that a model was trained on, by the model's own Jinja template, rendered as
 * in transformers.
 *
 * The template is parsed and run by @huggingface/jinja with Python's semantics (jinja.ts); a
 * template that it cannot run is refused with the reason. A template is untrusted code: it sees the
 * messages and the token names, and runs under limits of time and size.
 */
import { strip } from '../data/white-space.js';
import { kindOf, optionsFault, property, shown, unreadable } from '../files/options.js';
import { TextError } from './errors.js';
import { runTemplate } from './jinja.js';
import { Environment, parse, tokenize } from './jinja-library.js';
import { strftime } from './python.js';
import { withTimeLimit } from './time-limit.js';

/** One turn of a conversation. */
export interface Message {
  /** `system`, `user` or `assistant`; the template decides which it accepts. */
  role: string;
  /** Plain text. */
  content: string;
}

export interface ChatTemplateOptions {
  /** `bos_token`, `eos_token`, …: Tokenizer.specialTokens. */
  specialTokens?: Readonly<Record<string, string>>;
  /**
   * The date of `strftime_now`. It is fixed so that runs can be repeated; the default is the date
   * in Llama 3's own template.
   */
  date?: Date;
}

const TEMPLATE_OPTIONS = '[ChatTemplate] the options';

function isDate(value: unknown): boolean {
  try {
    return kindOf(value) === 'Date' && Number.isFinite((value as Date).getTime());
  } catch {
    return false;
  }
}

const MAX_RANGE = 1_000_000;
/** A content that no template changes or contains. */
const PROBE = 'cream0probe0content';

/** The template called raise_exception(): it does not accept these messages. */
class Refusal extends Error {}

/** A model's chat template: messages → the text that the model was trained on. */
export class ChatTemplate {
  private readonly program: ReturnType<typeof parse>;
  private readonly specialTokens: Readonly<Record<string, string>>;
  private readonly date: Date;
  private systemRole: boolean | undefined;
  private trimmed: { start: boolean; end: boolean } | undefined;

  /** Throws TextError if `source` cannot be parsed. */
  constructor(
    readonly source: string,
    options: ChatTemplateOptions = {},
  ) {
    const fault =
      typeof source === 'string'
        ? optionsFault(options, ['specialTokens', 'date'], TEMPLATE_OPTIONS, {
            objects: ['specialTokens'],
          })
        : `[ChatTemplate] the template must be text, got ${shown(source)}.`;
    if (fault !== undefined) throw refused(fault);
    this.specialTokens = options.specialTokens ?? {};
    this.date = options.date ?? new Date(Date.UTC(2024, 6, 26));
    if (!isDate(this.date))
      throw refused(`${TEMPLATE_OPTIONS}: date must be a valid Date, got ${shown(options.date)}.`);
    try {
      const lines = source.replace(/\r\n?/g, '\n'); // as jinja2 reads it
      this.program = withTimeLimit(() =>
        parse(tokenize(lines, { trim_blocks: true, lstrip_blocks: true })),
      );
    } catch (error) {
      throw new TextError(
        'ERR_CHAT_TEMPLATE',
        `The model's chat template cannot be used: ${quoted(error)}; put a corrected ` +
          `chat_template.jinja into the model's folder.`,
        { cause: error },
      );
    }
  }

  /**
   * The prompt text with special tokens spelled out; encode it without adding more. Throws
   * TextError.
   */
  render(messages: readonly Message[], options: { addGenerationPrompt: boolean }): string {
    const flags = ['addGenerationPrompt'];
    const fault = optionsFault(options, flags, '[render] the options', { flags });
    if (fault !== undefined) throw refused(fault);
    const { addGenerationPrompt } = options;
    checkMessages(messages);
    try {
      return withTimeLimit(() => this.run(messages, addGenerationPrompt));
    } catch (error) {
      const roles = rolesOf(messages);
      if (error instanceof Refusal)
        throw new TextError(
          'ERR_CHAT_TEMPLATE',
          `The model's chat template refuses these messages (roles: ${roles}): ${quoted(error)}`,
          { cause: error },
        );
      throw new TextError(
        'ERR_CHAT_TEMPLATE',
        `The model's chat template failed on messages with roles ${roles}: ` +
          `${quoted(error)}; put a corrected chat_template.jinja into the model's folder.`,
        { cause: error },
      );
    }
  }

  /**
   * `messages` in the form that this template accepts. If it has no place for a system message
   * (Gemma 2's refuses one, others ignore it), the system message is put before the first user
   * message, with a blank line between, as Gemma 3's template does.
   */
  fit(messages: readonly Message[]): readonly Message[] {
    checkMessages(messages);
    const [system, user, ...rest] = messages;
    if (system?.role !== 'system' || user?.role !== 'user' || this.takesSystem()) return messages;
    return [
      {
        ...user,
        content: system.content === '' ? user.content : `${system.content}\n\n${user.content}`,
      },
      ...rest,
    ];
  }

  /**
   * The text that the template writes after the last assistant message, which begins with the
   * end-of-turn token. Empty if it cannot be found.
   */
  afterAnswer(): string {
    try {
      const text = this.render(
        [
          { role: 'user', content: 'Q' },
          { role: 'assistant', content: PROBE },
        ],
        { addGenerationPrompt: false },
      );
      return text.includes(PROBE) ? text.slice(text.lastIndexOf(PROBE) + PROBE.length) : '';
    } catch {
      return '';
    }
  }

  /**
   * An assistant message as this template writes it: templates such as Llama 3's and Gemma's trim
   * white space around it.
   */
  answerText(answer: string): string {
    if (typeof answer !== 'string') throw refused(`The answer must be text, got ${shown(answer)}.`);
    const { start, end } = (this.trimmed ??= this.trims());
    if (start && end) return strip(answer, 'both');
    if (start) return strip(answer, 'left');
    return end ? strip(answer, 'right') : answer;
  }

  private trims(): { start: boolean; end: boolean } {
    try {
      const text = this.render(
        [
          { role: 'user', content: 'Q' },
          { role: 'assistant', content: `\t${PROBE}\t` },
        ],
        { addGenerationPrompt: false },
      );
      if (!text.includes(PROBE)) return { start: false, end: false };
      const at = text.lastIndexOf(PROBE);
      return { start: text[at - 1] !== '\t', end: text[at + PROBE.length] !== '\t' };
    } catch {
      return { start: false, end: false };
    }
  }

  private takesSystem(): boolean {
    return (this.systemRole ??= (() => {
      try {
        return this.render(
          [
            { role: 'system', content: PROBE },
            { role: 'user', content: 'Q' },
          ],
          { addGenerationPrompt: true },
        ).includes(PROBE);
      } catch {
        return false;
      }
    })());
  }

  /**
   * The names that transformers' apply_chat_template defines; `tools` and `documents` exist and are
   * none.
   */
  private run(messages: readonly Message[], addGenerationPrompt: boolean): string {
    const scope = new Environment();
    const globals: Record<string, unknown> = {
      true: true,
      false: false,
      none: null,
      True: true,
      False: false,
      None: null,
      raise_exception: (message: unknown) => {
        throw new Refusal(String(message));
      },
      strftime_now: (format: string) => strftime(this.date, format),
      range: boundedRange,
      ...this.specialTokens,
      messages,
      add_generation_prompt: addGenerationPrompt,
      tools: null,
      documents: null,
    };
    for (const [name, value] of Object.entries(globals)) scope.set(name, value);
    return runTemplate(this.program, scope);
  }
}

/** The roles in their order, for a message. */
function rolesOf(messages: readonly Message[]): string {
  const all = messages.slice(0, MOST_ROLES).map(({ role }) => role.slice(0, 40));
  return `${all.join(', ')}${messages.length > MOST_ROLES ? ', …' : ''}`;
}
const MOST_ROLES = 10;

/** A template's message for a terminal: on one line, of at most 500 characters. */
function quoted(error: unknown): string {
  const said = explained(error as Error)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
  return said.length > 500 ? `${said.slice(0, 500)}…` : said;
}

/** V8's limits in words that fit a template. */
function explained({ name, message }: Error): string {
  if (name !== 'RangeError') return message;
  if (/call stack/.test(message))
    return 'it fills the call stack: it is nested too deeply, or calls itself without end';
  return /string length/.test(message) ? 'it makes a text that is too long' : message;
}

function boundedRange(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (!(length <= MAX_RANGE))
    throw new Error(`range() of ${length} numbers; at most ${MAX_RANGE} are allowed`);
  return Array.from({ length }, (_, i) => from + i * step);
}

/** Longest conversation for which a template is run, in characters. */
const MAX_CONTENT = 2 ** 23;

/** @throws TextError unless `messages` are some, each with a role and a content. */
export function checkMessages(messages: readonly Message[]): void {
  let given: readonly Message[];
  try {
    if (!Array.isArray(messages))
      throw refused(`The messages must be a list of {role, content}, got ${shown(messages)}.`);
    given = [...(messages as readonly Message[])];
  } catch (error) {
    throw error instanceof TextError ? error : refused(unreadable('The list of messages', error));
  }
  if (given.length === 0)
    throw refused('The list of messages is empty; give at least one {role, content}.');
  given.forEach((message, i) => {
    const wrong = ['role', 'content'].find((key) => typeof property(message, key) !== 'string');
    if (wrong === undefined) return;
    const what =
      typeof message === 'object' && message !== null
        ? `has the ${wrong} ${shown(property(message, wrong))}`
        : `is ${shown(message)}`;
    throw refused(
      `Message ${i + 1} of ${given.length} ${what}; role and content must both be strings.`,
    );
  });
  const length = given.reduce((sum, { content }) => sum + content.length, 0);
  if (length > MAX_CONTENT)
    throw refused(
      `The messages have ${length} characters, more than a chat template is run on ` +
        `(${MAX_CONTENT}); shorten them.`,
    );
}

const refused = (message: string): TextError => new TextError('ERR_INVALID_ARGUMENT', message);
