/**
 * JSON Lines, strictly: UTF-8, one object per line. Every error names file and line. The store
 * writes the lines of `serialize` atomically.
 */
import { setImmediate } from 'node:timers/promises';
import { isThenable } from '../files/callback.js';
import { parseRow, RefusedJson } from '../files/json.js';
import { FileError, readRegular } from '../files/read.js';
import type { Columns, Kind } from './columns.js';

/**
 * Longest line read, in bytes. A record of this project stays under 1 MB; a longer line means
 * a file of another kind.
 */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** Most rows of one data file: a short file must not fill the memory with empty rows. */
export const ROW_LIMIT = 4_000_000;

const NEWLINE = 0x0a;

/** White space and the bytes of a byte order mark. */
export const BLANK: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d, 0xef, 0xbb, 0xbf]);

export interface Line {
  /** 1-based. */
  number: number;
  /** `file:line`, as an error names it. */
  where: string;
  value: Record<string, unknown>;
}

/**
 * A data file that cannot be used. The message names file, line and column, and states the expected
 * content.
 */
export class DataError extends Error {
  override readonly name = 'DataError';
  readonly code = 'ERR_DATA';
}

/** A mapping of columns that does not fit a row, which may be no fault of the row. */
export class MappingError extends DataError {}

/**
 * One record as one line, including the newline. U+2028 and U+2029 are escaped, because some line
 * readers split at them.
 */
export function serialize(record: object): string {
  return (
    JSON.stringify(record).replace(/[\u2028\u2029]/g, (c) =>
      c === '\u2028' ? '\\u2028' : '\\u2029',
    ) + '\n'
  );
}

/** The objects of a file's non-blank lines. @throws DataError */
export const parseJsonl = (bytes: Uint8Array, file: string): Line[] =>
  parseLines(bytes, (number) => `${file}:${number}`).map(objectLine);

function objectLine({ value, where, number }: ParsedLine): Line {
  if (!isObject(value))
    throw new DataError(
      `${where}: the line is ${describe(value)}; each line must be one JSON object`,
    );
  return { number, where, value };
}

export interface ParseOptions {
  /** Reads one line; default parseRow, JSON.parse with a limit. */
  parse?: ((text: string) => unknown) | undefined;
  /** Called for a bad line, which is then left out; without it the first one is thrown. */
  onBadLine?: ((error: DataError) => void) | undefined;
  /** Most lines that are read. */
  most?: number | undefined;
}

/**
 * The values of the non-blank lines; `place` names a line (from 1) as errors do. @throws DataError
 */
export function parseLines(
  bytes: Uint8Array,
  place: (line: number) => string,
  options: ParseOptions = {},
): ParsedLine[] {
  const lines: ParsedLine[] = [];
  for (const _ of parseInSteps(bytes, place, options, lines));
  return lines;
}

/** `parseLines` that lets the event loop run after every `SLICE_BYTES`. */
export async function parseLinesInSlices(
  bytes: Uint8Array,
  place: (line: number) => string,
  options: ParseOptions = {},
): Promise<ParsedLine[]> {
  const lines: ParsedLine[] = [];
  for (const _ of parseInSteps(bytes, place, options, lines)) await setImmediate();
  return lines;
}

/** Bytes of a data file that are parsed between two turns of the event loop: less than 50 ms. */
export const SLICE_BYTES = 1 << 20;

interface ParsedLine {
  number: number;
  where: string;
  value: unknown;
}

/** Adds the lines to `lines`, with a step after every `SLICE_BYTES`. */
function* parseInSteps(
  bytes: Uint8Array,
  place: (line: number) => string,
  { parse = parseRow, onBadLine, most = Infinity }: ParseOptions,
  lines: ParsedLine[],
): Generator<void> {
  let rested = 0;
  const refuse =
    onBadLine ??
    ((error: DataError) => {
      throw error;
    });
  for (let start = 0, number = 1; start < bytes.length; number++) {
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline === -1 ? bytes.length : newline;
    const where = place(number);
    try {
      const text = lineText(bytes.subarray(start, end), where).trim();
      if (text !== '') lines.push({ number, where, value: parseValue(text, where, parse) });
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      refuse(error);
    }
    if (lines.length > most)
      throw new DataError(
        `${where}: the file has more than ${most} rows, the limit of one file; split it into ` +
          'several files',
      );
    start = end + 1;
    if (start - rested < SLICE_BYTES) continue;
    rested = start;
    yield;
  }
}

/** The bytes of a data file that errors call `name`. @throws DataError if it cannot be read */
export async function readDataFile(path: string, name: string): Promise<Uint8Array> {
  return readRegular(path, 'data').catch((cause: unknown) => {
    throw unreadable(name, cause);
  });
}

/** A FileError as a DataError about `name`. */
export function unreadable(name: string, cause: unknown): unknown {
  if (!(cause instanceof FileError)) return cause;
  const reason =
    cause.code === 'EISDIR'
      ? 'it is a folder; give a .jsonl, .json, .csv or .parquet file'
      : cause.reason;
  return new DataError(`cannot read ${name}: ${reason}`, { cause });
}

/**
 * `parseJsonl` of a file on disk. @throws DataError also if it is missing, unreadable, or (unless
 * `allowEmpty`) has no rows.
 */
export async function readJsonl(
  path: string,
  options: { allowEmpty?: boolean } = {},
): Promise<Line[]> {
  const bytes = await readDataFile(path, path);
  const parsed = await parseLinesInSlices(bytes, (number) => `${path}:${number}`);
  const lines = parsed.map(objectLine);
  if (lines.length === 0 && !options.allowEmpty)
    throw new DataError(`${path} is empty; it needs at least one row`);
  return lines;
}

/**
 * An artefact's records, every column checked against `columns`; further columns are kept. @throws
 * DataError
 */
export async function readRecords<T extends object>(
  path: string,
  columns: Columns<T>,
  options: { allowEmpty?: boolean } = {},
): Promise<T[]> {
  return (await readJsonl(path, options)).map((line) => checkRecord(line, columns));
}

/**
 * The line's value as a record. @throws DataError for a column that is missing or of another type
 */
export function checkRecord<T extends object>({ value, where }: Line, columns: Columns<T>): T {
  for (const [name, declared] of Object.entries<`${Kind}` | `${Kind}?`>(columns)) {
    const optional = declared.endsWith('?');
    const kind = (optional ? declared.slice(0, -1) : declared) as Kind;
    if (value[name] === undefined) {
      if (optional) continue;
      throw new DataError(`${where}: column "${name}" is missing; it has ${columnList(value)}`);
    }
    if (!CHECKS[kind].holds(value[name]))
      throw new DataError(
        `${where}: column "${name}" must be ${CHECKS[kind].expected}, but is ` +
          `${describe(value[name])}`,
      );
  }
  return value as T;
}

/** The columns of a row, for an error message. */
export function columnList(value: Record<string, unknown>): string {
  const names = Object.keys(value);
  const shown = names.slice(0, 12).map((name) => JSON.stringify(name.slice(0, 40)));
  return names.length === 0
    ? 'no columns'
    : shown.join(', ') + (names.length > shown.length ? ', …' : '');
}

/** JSON that is refused, as an error about its row. */
export const refusedJson = (where: string, cause: RefusedJson): DataError =>
  new DataError(`${where}: ${cause.message}, ${cause.advice}`, { cause });

/** A value in a few words, for an error message. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'number') return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes that are not text`;
  if (isThenable(value)) return 'a promise that was not awaited';
  const text = shortJson(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** JSON of a value; of a long text or list only its beginning is written. */
function shortJson(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 100));
  if (typeof value === 'bigint') return String(value);
  try {
    return JSON.stringify(Array.isArray(value) ? value.slice(0, 60) : value) ?? String(value);
  } catch {
    return 'a value that cannot be shown: it is nested too deeply or holds itself';
  }
}

const ROLES = new Set(['system', 'user', 'assistant']);
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isMessage = (value: unknown) =>
  isObject(value) && ROLES.has(value.role as string) && typeof value.content === 'string';
export const isChoice = (value: unknown): value is { label: string; text: string } =>
  isObject(value) && typeof value.label === 'string' && typeof value.text === 'string';
const listOf =
  (holds: (value: unknown) => boolean, least = 0) =>
  (value: unknown) =>
    Array.isArray(value) && value.length >= least && value.every(holds);

const CHECKS: Record<Kind, { holds: (value: unknown) => boolean; expected: string }> = {
  string: { holds: (v) => typeof v === 'string', expected: 'a string' },
  number: { holds: Number.isFinite, expected: 'a number' },
  integer: { holds: Number.isSafeInteger, expected: 'a whole number' },
  boolean: { holds: (v) => typeof v === 'boolean', expected: 'true or false' },
  numbers: { holds: listOf(Number.isFinite), expected: 'a list of numbers' },
  integers: { holds: listOf(Number.isSafeInteger), expected: 'a list of whole numbers' },
  messages: {
    holds: listOf(isMessage, 1),
    expected: 'a list of messages {"role": "system" | "user" | "assistant", "content": string}',
  },
  choices: {
    holds: listOf(isChoice, 2),
    expected: 'a list of at least two choices {"label": string, "text": string}',
  },
  'string|null': {
    holds: (v) => v === null || typeof v === 'string',
    expected: 'a string or null',
  },
  'number|null': { holds: (v) => v === null || Number.isFinite(v), expected: 'a number or null' },
};

export const isMessages = CHECKS.messages.holds;

function lineText(bytes: Uint8Array, where: string): string {
  if (bytes.length > MAX_LINE_BYTES)
    throw new DataError(
      `${where}: the line is ${Math.ceil(bytes.length / 2 ** 20)} MiB long, but the limit ` +
        `is ${MAX_LINE_BYTES / 2 ** 20} MiB; is this JSON Lines (one object per line)?`,
    );
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes); // drops a byte order mark
  } catch (cause) {
    throw new DataError(
      `${where}: the line is not valid UTF-8; convert the file, for example with iconv -t UTF-8`,
      { cause },
    );
  }
}

function parseValue(text: string, where: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (cause) {
    if (cause instanceof RefusedJson) throw refusedJson(where, cause);
    throw new DataError(
      text.includes('\0')
        ? `${where}: the line holds bytes that are 0, which no text has; the file is damaged, ` +
            'fetch it again'
        : `${where}: not JSON (${(cause as Error).message}); each line must be one JSON object`,
      { cause },
    );
  }
}
