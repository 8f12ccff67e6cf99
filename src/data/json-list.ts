/** A JSON list of rows, parsed row by row, so that the event loop runs in between. */
import { setImmediate } from 'node:timers/promises';
import { parseJsonText } from '../files/json.js';
import { SLICE_BYTES } from './jsonl.js';

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * The entries of the list in `bytes`; undefined if it is not one list of valid JSON, which a parser
 * of the whole text then explains.
 */
export async function rowsOfList(bytes: Uint8Array): Promise<unknown[] | undefined> {
  const utf8 = new TextDecoder('utf-8', { fatal: true });
  const entries: unknown[] = [];
  const from = bytes.indexOf(OPEN_LIST) + 1;
  let [depth, start, rested, quoted, closed] = [1, from, from, false, -1];
  /** Adds the entry that ends before `end`; false if it is not JSON. */
  const add = (end: number, last: boolean): boolean => {
    try {
      const text = utf8.decode(bytes.subarray(start, end));
      if (last && entries.length === 0 && text.trim() === '') return true;
      entries.push(parseJsonText(text));
      return true;
    } catch {
      return false;
    }
  };
  for (let at = from; at < bytes.length && closed < 0; at++) {
    const byte = bytes[at];
    if (quoted) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
    if (!quoted && (depth === 0 || (depth === 1 && byte === COMMA))) {
      if (!add(at, depth === 0)) return undefined;
      if (depth === 0) closed = at;
      start = at + 1;
    }
    if (at - rested >= SLICE_BYTES) {
      rested = at;
      await setImmediate();
    }
  }
  const rest = bytes.subarray(closed + 1);
  return closed >= 0 && bytes[closed] === CLOSE_LIST && utf8.decode(rest).trim() === ''
    ? entries
    : undefined;
}
