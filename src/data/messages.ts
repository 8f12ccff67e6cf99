/**
 * Messages in the forms of common data sets: {role, content}, ShareGPT's {from, value}, content as
 * a list of text parts, and all of these as JSON text. A turn that does not fit a Message is
 * refused by its number.
 */
import { parseJsonText, RefusedJson } from '../files/json.js';
import { columnList, DataError, describe, isObject, refusedJson } from './jsonl.js';
import type { Message } from './records.js';
import type { Row } from './rows.js';

const ROLES = new Map<string, Message['role']>([
  ['system', 'system'],
  ['developer', 'system'],
  ['user', 'user'],
  ['human', 'user'],
  ['prompter', 'user'],
  ['assistant', 'assistant'],
  ['gpt', 'assistant'],
  ['chatgpt', 'assistant'],
  ['model', 'assistant'],
]);

/** Keys of a turn that change what the model sees or writes, and that a Message cannot hold. */
const UNREAD_KEYS = new Set([
  ...['tool_calls', 'function_call', 'tool_call_id', 'tools', 'functions', 'tool_results'],
  ...['reasoning_content', 'reasoning', 'reasoning_details', 'thinking', 'thought', 'thoughts'],
  ...['image', 'images', 'image_url', 'audio', 'input_audio', 'video', 'videos', 'attachments'],
  ...['context', 'contexts', 'document', 'documents', 'refusal'],
]);

/** The first key of a turn, or of a part of it, that is not read; false switches a key off. */
const unreadKey = (turn: Record<string, unknown>): string | undefined =>
  Object.keys(turn).find(
    (key) => UNREAD_KEYS.has(key.toLowerCase()) && turn[key] !== false && !isEmpty(turn[key]),
  );

/** @throws DataError naming a key of a turn or answer that a Message cannot hold */
export function refuseUnreadKeys(turn: Record<string, unknown>, place: string): void {
  const unread = unreadKey(turn);
  if (unread !== undefined)
    throw new DataError(
      `${place} has ${JSON.stringify(unread)}, which is not read; write it into the content, ` +
        'or leave the row out',
    );
}

/** The columns that hold a whole conversation, never plain text. */
export const CONVERSATIONS: readonly string[] = ['messages', 'conversations', 'conversation'];

/** Whether a text shows nothing: white space, and characters without a width (U+200B, U+FEFF). */
export const isBlank = (text: string): boolean => /^[\s\p{Cc}\p{Cf}]*$/u.test(text);

/** Whether a column is empty: null, NaN, blank text, an empty list or object. */
export function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || Number.isNaN(value)) return true;
  if (typeof value === 'string')
    return isBlank(value) || /^\s*(?:\[\s*\]|\{\s*\}|null)\s*$/.test(value);
  return typeof value === 'object' && !(value instanceof Uint8Array)
    ? Object.values(value).every((held) => held === null || held === undefined)
    : false;
}

/** A list of turns as messages. @throws DataError naming the turn */
export const messagesFrom = (turns: readonly unknown[], column: string, where: string): Message[] =>
  turns.map((turn, i) => messageFrom(turn, `${where}: ${JSON.stringify(column)} turn ${i + 1}`));

/** One turn; `place` begins the error message about it. @throws DataError */
function messageFrom(turn: unknown, place: string): Message {
  if (!isObject(turn))
    throw new DataError(`${place} must be {"role", "content"}, but is ${describe(turn)}`);
  refuseDifferent(turn, 'role', 'from', place);
  refuseDifferent(turn, 'content', 'value', place);
  const named = turn['role'] ?? turn['from'];
  const role = typeof named === 'string' ? ROLES.get(named.toLowerCase()) : undefined;
  if (role === undefined)
    throw new DataError(
      `${place} has the role ${describe(named)}; system, developer, user (human) and ` +
        'assistant (gpt) turns are read, tool turns are not',
    );
  refuseUnreadKeys(turn, place);
  const content = turn['content'] ?? turn['value'];
  if (content === undefined || content === null)
    throw new DataError(
      `${place}: its content must be text, but is missing; the turn has ${columnList(turn)}`,
    );
  return { role, content: contentOf(content, place) };
}

/** @throws DataError where a turn has two keys of one meaning and they differ */
function refuseDifferent(
  turn: Record<string, unknown>,
  ours: string,
  other: string,
  place: string,
): void {
  const plain = (key: string): unknown => {
    const value = turn[key];
    return key === 'role' || key === 'from' ? ROLES.get(String(value).toLowerCase()) : value;
  };
  if (isEmpty(turn[ours]) || isEmpty(turn[other])) return;
  if (JSON.stringify(plain(ours)) !== JSON.stringify(plain(other)))
    throw new DataError(
      `${place} has ${JSON.stringify(ours)} and ${JSON.stringify(other)}, and they differ; ` +
        'remove one of them',
    );
}

function contentOf(raw: unknown, place: string): string {
  if (typeof raw === 'string') return raw;
  if (!Array.isArray(raw))
    throw new DataError(`${place}: its content must be text, but is ${describe(raw)}`);
  return raw
    .map((part: unknown, i) => {
      if (typeof part === 'string') return part;
      const text = isObject(part) && (part['type'] ?? 'text') === 'text' ? part['text'] : undefined;
      if (isObject(part) && text !== undefined) refuseUnreadKeys(part, place);
      if (typeof text !== 'string')
        throw new DataError(
          `${place}: part ${i + 1} of its content must be text, but is ${describe(part)}`,
        );
      return text;
    })
    .join('');
}

/**
 * The list in a text that contains messages (or Alpaca's history) as JSON; undefined for any other
 * text. @throws DataError for Python's own notation and for damaged JSON
 */
export function listInText(raw: string, column: string, where: string): unknown[] | undefined {
  const always = column === 'history' || CONVERSATIONS.includes(column);
  if (!(always ? /^\s*\[/ : /^\s*\[\s*\{\s*(["'])(?:role|from|content|value)\1\s*:/).test(raw))
    return undefined;
  let list: unknown;
  try {
    list = parseJsonText(raw);
  } catch (cause) {
    if (cause instanceof RefusedJson)
      throw refusedJson(`${where}, column ${JSON.stringify(column)}`, cause);
    throw new DataError(
      `${where}: column ${JSON.stringify(column)} begins like messages written as text, and is ` +
        `not JSON (${(cause as Error).message}); write it with json.dumps, not with str()`,
      { cause },
    );
  }
  if (!Array.isArray(list)) return undefined;
  const turns = list as unknown[];
  return always || turns.every(isTurn) ? turns : undefined;
}

/** Other JSON is plain text, such as an answer that is itself JSON. */
const isTurn = (turn: unknown): boolean =>
  isObject(turn) &&
  typeof (turn['role'] ?? turn['from']) === 'string' &&
  (turn['content'] ?? turn['value'] ?? turn['tool_calls']) !== undefined;

/** A column that is a string or messages in any form; a string becomes one message of `role`. */
export function conversation(
  { value, where }: Row,
  column: string,
  role: Message['role'] = 'user',
): Message[] {
  const raw = value[column];
  const list =
    typeof raw === 'string'
      ? listInText(raw, column, where)
      : isObject(raw) && (raw['role'] ?? raw['from']) !== undefined
        ? [raw]
        : raw;
  if (Array.isArray(list) && list.length > 0) return messagesFrom(list, column, where);
  const plain = !CONVERSATIONS.includes(column);
  if (plain && typeof raw === 'string' && !isBlank(raw)) return [{ role, content: raw }];
  throw new DataError(
    `${where}: "${column}" must be ${plain ? 'text or ' : ''}a list of {"role": "system" | ` +
      `"user" | "assistant", "content": text}, but is ${describe(raw)}`,
  );
}

export const sameMessage = (a: Message, b: Message): boolean =>
  a.role === b.role && a.content === b.content;

/** Whether `turns` begin with all of `start`, up to white space around a turn. */
export const beginsWith = (turns: readonly Message[], start: readonly Message[]): boolean =>
  start.length <= turns.length &&
  start.every(({ role, content }, i) => {
    const turn = turns[i]!;
    return role === turn.role && content.trim() === turn.content.trim();
  });

/**
 * Control tokens of common chat templates: ChatML and Llama 3 (`<|…|>`), DeepSeek, Llama 2 and
 * Mistral, Gemma (`<start_of_turn>`, `<|turn>`), GLM. `<s>` and `</s>` are also HTML, so they count
 * only at the edges of a text.
 */
const CONTROL = new RegExp(
  [
    /<\|[A-Za-z][\w.-]{0,40}\|?>|<[A-Za-z][\w.-]{0,40}\|>|<｜[^｜\n]{1,40}｜>/,
    /\[\/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|\[gMASK\]|<<\/?SYS>>/,
    /<(?:start|end)_of_turn>|<(?:bos|eos)>|^\s*<s>|<\/s>\s*$/,
  ]
    .map(({ source }) => source)
    .join('|'),
);

/** A `</s>` without an `<s>` before it is no HTML either. */
function controlTokenIn(content: string): string | undefined {
  const end = content.indexOf('</s>');
  const start = content.indexOf('<s>');
  return (
    CONTROL.exec(content)?.[0].trim() ??
    (end !== -1 && (start === -1 || end < start) ? '</s>' : undefined)
  );
}

/** @throws DataError if a text contains control tokens, which the chat template writes itself */
export function refuseControlTokens(messages: readonly Message[], where: string): void {
  for (const { role, content } of messages) {
    const found = controlTokenIn(content);
    if (found !== undefined)
      throw new DataError(
        `${where}: the ${role} turn ${describe(content)} holds the control token ` +
          `${JSON.stringify(found)}, which the chat template writes itself; give the text ` +
          'without the template, as messages where there are several turns',
      );
  }
}

/**
 * @throws DataError for half of a surrogate pair, which is no character, and (unless
 * `controlTokens` accepts them) for control tokens
 */
export function checkTexts(
  messages: readonly Message[],
  where: string,
  { controlTokens }: { controlTokens?: boolean | undefined },
): void {
  const broken = messages.find(({ content }) => /\p{Cs}/u.test(content));
  if (broken !== undefined)
    throw new DataError(
      `${where}: the ${broken.role} turn ${describe(broken.content)} holds half of a character ` +
        '(a lone surrogate); write the file again as UTF-8 from its source',
    );
  if (controlTokens !== true) refuseControlTokens(messages, where);
}
