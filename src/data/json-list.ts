/**
 * A file that is one JSON list of rows, or an object with such a list under "data". It is parsed
 * row by row, so that the event loop runs in between.
 */
import { setImmediate } from 'node:timers/promises';
import { parseJsonText, RefusedJson } from '../files/json.js';
import { isRead, isUnread } from './column-names.js';
import { DataError, describe, isObject, refusedJson, ROW_LIMIT, SLICE_BYTES } from './jsonl.js';

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** The values in a file: the rows of its list, or what else the file holds. */
export type Listed =
  { rows: unknown[] } | { lines: true } /* several values one after the other */ | undefined;

/**
 * The rows of the list, or of the "data" of the object, in `bytes`, whose first byte that is not
 * blank is at `from`. Undefined if there is no such list in valid JSON, which a parser of the whole
 * text then explains. @throws DataError for a key twice in a row, and for keys beside "data" that
 * would be lost
 */
export async function listedRows(bytes: Uint8Array, from: number, name: string): Promise<Listed> {
  const walk = new Walk(bytes, name);
  if (bytes[from] === OPEN_LIST) {
    const rows = await walk.rows(from + 1);
    if (rows === undefined || bytes[walk.at] !== CLOSE_LIST) return undefined;
    return isBlank(bytes.subarray(walk.at + 1)) ? { rows } : undefined;
  }
  const start = await walk.list(from);
  const rows = start === undefined ? undefined : await walk.rows(start + 1);
  if (start !== undefined && (rows === undefined || bytes[walk.at] !== CLOSE_LIST))
    return undefined;
  const end = walk.at;
  if (start !== undefined) await walk.list(end + 1, 1);
  if (walk.at < bytes.length && !isBlank(bytes.subarray(walk.at + 1))) return { lines: true };
  if (rows === undefined) return undefined;
  const around = Buffer.concat([bytes.subarray(from, start), bytes.subarray(end + 1, walk.at + 1)]);
  const others = othersOf(around, start! - from);
  if (others === undefined) return undefined;
  refuseLost(others, name);
  return { rows };
}

/**
 * The members of the one object in `bytes`, which begins at `from`, by their keys. Undefined if it
 * holds a list under "data", if other values follow, and if it is not valid JSON.
 */
export async function objectEntries(
  bytes: Uint8Array,
  from: number,
  name: string,
): Promise<[string, unknown][] | undefined> {
  const walk = new Walk(bytes, name);
  if ((await walk.list(from)) !== undefined || !isBlank(bytes.subarray(walk.at + 1)))
    return undefined;
  const members = await walk.rows(from + 1, (text) => `{${text}}`);
  if (members === undefined || bytes[walk.at] !== CLOSE_OBJECT) return undefined;
  const entries = members.flatMap((member) => Object.entries(member as object));
  return new Set(entries.map(([key]) => key)).size === entries.length ? entries : undefined;
}

/** The members of the object beside the list, which was at `at`; undefined if it is not JSON. */
function othersOf(around: Buffer, at: number): Record<string, unknown> | undefined {
  try {
    const text = `${around.toString('utf8', 0, at)}null${around.toString('utf8', at)}`;
    const value = parseJsonText(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** @throws DataError for a member that holds rows as well, or belongs to every conversation */
function refuseLost(others: Record<string, unknown>, name: string): void {
  for (const [key, value] of Object.entries(others)) {
    if (key === 'data') continue;
    const isRows = Array.isArray(value) && value.length > 0 && value.every(isObject);
    const isText = (isRead(key) && key !== 'id' && key !== 'task') || isUnread(key);
    if (isRows && key !== 'fields')
      throw new DataError(
        `${name} has rows under "data" and under ${JSON.stringify(key)}, and only one of them ` +
          'could be read; write each list into a file of its own',
      );
    if (isText && value !== null)
      throw new DataError(
        `${name} has ${JSON.stringify(key)} beside "data" (${describe(value)}), where it is not ` +
          'read; write it into every row as a column',
      );
  }
}

const isBlank = (bytes: Uint8Array): boolean =>
  bytes.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));

/** A row takes as long as this many bytes more. */
const ROW_COST = 50;

/** Steps through JSON by its brackets and quotes; the event loop runs after every `SLICE_BYTES`. */
class Walk {
  /** The position that the last call reached: of a closing bracket, or the end. */
  at = 0;
  private rested = 0;
  private readonly utf8 = new TextDecoder('utf-8', { fatal: true });

  constructor(
    private readonly bytes: Uint8Array,
    private readonly name: string,
  ) {}

  /**
   * The entries of the list or object whose bracket is before `from`, each parsed after `whole` has
   * completed its text; undefined if one of them is not JSON.
   */
  async rows(from: number, whole = (text: string): string => text): Promise<unknown[] | undefined> {
    const rows: unknown[] = [];
    let [depth, start] = [1, from];
    this.rested = from;
    for (this.at = from; this.at < this.bytes.length; this.at++) {
      const byte = this.bytes[this.at]!;
      if (byte === QUOTE) this.skipString();
      else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
      else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--;
      if (depth === 0 || (depth === 1 && byte === COMMA)) {
        const text = this.text(start, this.at);
        const empty = depth === 0 && rows.length === 0 && text?.trim() === '';
        if (text === undefined || (!empty && !this.add(whole(text), rows))) return undefined;
        if (depth === 0) return rows;
        start = this.at + 1;
        this.rested -= ROW_COST;
      }
      if (this.at - this.rested >= SLICE_BYTES) await this.rest();
    }
    return undefined;
  }

  /**
   * The position of the list under the key "data" of the object at `from`, or undefined at its end.
   * With `depth` 1, `from` is within the object.
   */
  async list(from: number, depth = 0): Promise<number | undefined> {
    let [key, before] = ['', ''];
    for (this.at = from; this.at < this.bytes.length; this.at++) {
      const byte = this.bytes[this.at]!;
      if (byte === QUOTE) {
        const start = this.at + 1;
        this.skipString();
        if (depth === 1) before = Buffer.from(this.bytes.subarray(start, this.at)).toString();
      } else if (byte === COLON && depth === 1) key = before;
      else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        if (depth++ === 1 && byte === OPEN_LIST && key === 'data') return this.at;
      } else if ((byte === CLOSE_LIST || byte === CLOSE_OBJECT) && --depth === 0) return undefined;
      if (this.at - this.rested >= SLICE_BYTES) await this.rest();
    }
    return undefined;
  }

  private add(text: string, rows: unknown[]): boolean {
    if (rows.length === ROW_LIMIT)
      throw new DataError(
        `${this.name} has more than ${ROW_LIMIT} rows, the limit of one file; split it into ` +
          'several files',
      );
    try {
      rows.push(parseJsonText(text));
      return true;
    } catch (error) {
      if (error instanceof RefusedJson)
        throw refusedJson(`${this.name} row ${rows.length + 1}`, error);
      return false;
    }
  }

  private text(from: number, to: number): string | undefined {
    try {
      return this.utf8.decode(this.bytes.subarray(from, to));
    } catch {
      return undefined;
    }
  }

  private skipString(): void {
    for (this.at++; this.at < this.bytes.length && this.bytes[this.at] !== QUOTE; this.at++)
      if (this.bytes[this.at] === BACKSLASH) this.at++;
  }

  private async rest(): Promise<void> {
    this.rested = this.at;
    await setImmediate();
  }
}
