/**
 * JSON as other programs write it. Python's json.dumps and pandas write NaN and Infinity, which
 * become these numbers here. An integer beyond 2^53, which no number can hold, becomes the text of
 * its digits, so that two long ids stay distinct.
 */
import { randomUUID } from 'node:crypto';

/** Stands for NaN while JSON.parse runs; random, so that no file can contain it. */
const NAN = `NaN ${randomUUID()}`;
const TOKEN = /-?(?:NaN\b|Infinity\b|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/y;

/** The value of a JSON text. @throws SyntaxError */
export function parseJsonText(text: string): unknown {
  if (!/NaN|Infinity|\d{16}/.test(text)) return JSON.parse(text) as unknown;
  const standard = toStandard(text);
  return standard.includes(NAN)
    ? (JSON.parse(standard, (_, value: unknown) => (value === NAN ? NaN : value)) as unknown)
    : (JSON.parse(standard) as unknown);
}

/** The same text with every non-standard or too long number replaced; strings are untouched. */
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
