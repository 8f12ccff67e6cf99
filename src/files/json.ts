/**
 * JSON as other programs write it. Python's json.dumps and pandas write NaN and Infinity, which
 * become these numbers here. An integer beyond 2^53, which no number can hold, becomes the text of
 * its digits, so that two long ids stay distinct.
 */
import { randomUUID } from 'node:crypto';

/** Stands for NaN while JSON.parse runs; random, so that no file can contain it. */
const NAN = `NaN ${randomUUID()}`;
const TOKEN = /-?(?:NaN\b|Infinity\b|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/y;

/** A JSON text that is refused although JSON.parse reads it. */
export abstract class RefusedJson extends SyntaxError {
  /** The clause after the message: why, and what to do. */
  abstract readonly advice: string;
}

/** A key that stands twice in one object: readers differ on which of the two values counts. */
export class RepeatedKey extends RefusedJson {
  readonly advice = 'and only one of the two could be read; remove one';
  constructor(key: string) {
    super(`the key ${JSON.stringify(key)} stands twice in one object`);
  }
}

/**
 * A text of so many keys that reading it would hold the event loop for seconds, or nested so deeply
 * that going over its value would exhaust the stack.
 */
export class TooManyParts extends RefusedJson {
  readonly advice = 'the limit of one row; leave out the columns that are not read';
}

/** Most keys of the outermost object, and most keys, lists and objects in all. */
export const COLUMN_LIMIT = 10_000;
export const PART_LIMIT = 50_000;
/** Most lists and objects in each other. */
const DEPTH_LIMIT = 1000;
/** Bytes of the shortest part with its comma. */
const SHORTEST_PART = 3;

/** The value of a JSON text. @throws SyntaxError, RepeatedKey, TooManyParts */
export function parseJsonText(text: string): unknown {
  if (/^\s*[[{]/.test(text)) checkParts(text, true);
  return parseNumbers(text);
}

/** JSON.parse for one row, in which a key may stand twice. @throws SyntaxError, TooManyParts */
export function parseRow(text: string): unknown {
  if (text.length > SHORTEST_PART * COLUMN_LIMIT) checkParts(text, false);
  return JSON.parse(text) as unknown;
}

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Goes over a text that need not be valid JSON. @throws TooManyParts, RepeatedKey if the keys are
 * to be `distinct`
 */
function checkParts(text: string, distinct: boolean): void {
  const open: (Set<string> | undefined)[] = []; // the keys of each open object; a list has none
  let keyNext = false;
  let [parts, columns] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      const start = at++;
      at = text.indexOf('"', at);
      while (at >= 0 && isEscaped(text, at)) at = text.indexOf('"', at + 1);
      if (at < 0) return;
      if (!keyNext || !distinct) continue;
      keyNext = false;
      const keys = open.at(-1);
      const key = keyOf(text.slice(start, at + 1));
      if (keys?.has(key)) throw new RepeatedKey(key);
      keys?.add(key);
    } else if (char === OPEN_OBJECT || char === OPEN_LIST) {
      keyNext = char === OPEN_OBJECT;
      open.push(keyNext && distinct ? new Set() : undefined);
      parts++;
    } else if (char === CLOSE_OBJECT || char === CLOSE_LIST) {
      open.pop();
      keyNext = false;
    } else if (char === COMMA) keyNext = open.at(-1) !== undefined;
    else if (char === COLON) {
      parts++;
      if (open.length === 1) columns++;
    }
    if (columns > COLUMN_LIMIT) throw new TooManyParts(`it has more than ${COLUMN_LIMIT} columns`);
    if (open.length > DEPTH_LIMIT)
      throw new TooManyParts(
        `it is nested too deeply, with more than ${DEPTH_LIMIT} lists and objects in each other`,
      );
    if (parts > PART_LIMIT)
      throw new TooManyParts(`it has more than ${PART_LIMIT} keys, lists and objects`);
  }
}

/** The key in its quotes as a text; an escape that is no JSON is left to JSON.parse. */
function keyOf(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted;
  }
}

/** Whether an odd number of backslashes stands before `at`. */
function isEscaped(text: string, at: number): boolean {
  let first = at;
  while (text.charCodeAt(first - 1) === BACKSLASH) first--;
  return (at - first) % 2 === 1;
}

function parseNumbers(text: string): unknown {
  if (!/NaN|Infinity|\d{16}/.test(text)) return JSON.parse(text) as unknown;
  const standard = toStandard(text);
  return standard.includes(NAN)
    ? (JSON.parse(standard, (_, value: unknown) => (value === NAN ? NaN : value)) as unknown)
    : (JSON.parse(standard) as unknown);
}

/** `text` with every non-standard or too long number replaced; strings are untouched. */
function toStandard(text: string): string {
  const parts: string[] = [];
  let copied = 0;
  for (let at = 0; at < text.length;) {
    const char = text[at]!;
    if (char === '"') {
      at++;
      while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      at++;
      continue;
    }
    TOKEN.lastIndex = at;
    const token = /[-\dNI]/.test(char) ? TOKEN.exec(text)?.[0] : undefined;
    if (token === undefined) {
      at++;
      continue;
    }
    const standard = standardNumber(token);
    if (standard !== token) {
      parts.push(text.slice(copied, at), standard);
      copied = at + token.length;
    }
    at += token.length;
  }
  return parts.join('') + text.slice(copied);
}

function standardNumber(token: string): string {
  if (token.endsWith('NaN')) return JSON.stringify(NAN);
  if (token.endsWith('Infinity')) return token.replace('Infinity', '1e999');
  return /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token;
}

/**
 * A config that Python may have written: standard JSON, or with NaN and Infinity as numbers.
 * @throws SyntaxError like JSON.parse
 */
export function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    if (!/NaN|Infinity/.test(text)) throw error;
    return parseJsonText(text);
  }
}

/** A parsed JSON text that has to be an object. @throws SyntaxError */
export function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  const what = Array.isArray(value) ? 'a list' : JSON.stringify(value).slice(0, 40);
  throw new SyntaxError(`it holds ${what} and not an object`);
}
