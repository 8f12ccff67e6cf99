/**
 * JSON as other programs write it. Python's json.dumps and pandas write NaN and Infinity, which
 * become these numbers here. An integer beyond 2^53, which no number can hold, becomes the text of
 * its digits, so that two long ids stay distinct.
 */
import { randomUUID } from 'node:crypto';

/** Stands for NaN while JSON.parse runs; random, so that no file can contain it. */
const NAN = `NaN ${randomUUID()}`;
const TOKEN = /-?(?:NaN\b|Infinity\b|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/y;

/** A key that stands twice in one object: readers differ on which of the two values counts. */
export class RepeatedKey extends SyntaxError {
  constructor(readonly key: string) {
    super(`the key ${JSON.stringify(key)} stands twice in one object`);
  }
}

/** The value of a JSON text. @throws SyntaxError, RepeatedKey where a key stands twice */
export function parseJsonText(text: string): unknown {
  const value = parseNumbers(text);
  if (typeof value === 'object') refuseRepeatedKeys(text);
  return value;
}

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** @throws RepeatedKey; `text` is valid JSON */
function refuseRepeatedKeys(text: string): void {
  const open: (Set<string> | undefined)[] = []; // the keys of each open object; a list has none
  let keyNext = false;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      const start = at++;
      at = text.indexOf('"', at);
      while (isEscaped(text, at)) at = text.indexOf('"', at + 1);
      if (!keyNext) continue;
      keyNext = false;
      const quoted = text.slice(start, at + 1);
      const key = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
      const keys = open.at(-1)!;
      if (keys.has(key)) throw new RepeatedKey(key);
      keys.add(key);
    } else if (char === OPEN_OBJECT || char === OPEN_LIST) {
      keyNext = char === OPEN_OBJECT;
      open.push(keyNext ? new Set() : undefined);
    } else if (char === CLOSE_OBJECT || char === CLOSE_LIST) {
      open.pop();
      keyNext = false;
    } else if (char === COMMA) keyNext = open.at(-1) !== undefined;
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
