/**
 * Rows of any data file or hub data set. Everything that reads a user's data begins here:
 *
 *   train.jsonl       one JSON value per line
 *   train.json        a list of rows, {"data": [rows]}, or JSON Lines, as on the hub
 *   train.csv, .tsv   RFC 4180, the first line naming the columns (formats.ts)
 *   train.parquet     by its columns; lists, structs and nulls as in JSON
 *   hub:org/name[/config][:split][@revision]   a data set of the Hugging Face hub (hub.ts), its
 *                     files in order
 *
 * Text files may be packed with gzip (`.gz`). A row knows where it stands (`train.jsonl line 12`,
 * `x.parquet row 12`), and every complaint about it begins with that.
 */
import { promisify } from 'node:util';
import { constants, gunzip } from 'node:zlib';
import type { Environment } from '../files/cache.js';
import { withCallback } from '../files/callback.js';
import { parseJsonText, RefusedJson, TooManyParts } from '../files/json.js';
import { optionsFault, shown, unreadable } from '../files/options.js';
import type { HubProgress } from '../hub/listing.js';
import { otherThanJsonLines, parseCsv, refuseOtherKinds } from './formats.js';
import { datasetFiles } from './hub.js';
import {
  BLANK,
  DataError,
  describe,
  isObject,
  parseLinesInSlices,
  readDataFile,
  refusedJson,
  ROW_LIMIT,
} from './jsonl.js';
import { listedRows } from './json-list.js';
import { CONVERSATIONS } from './messages.js';
import { readParquet } from './parquet-thread.js';

/** A row of a data file, before it is interpreted. */
export interface SourceRow {
  /** The JSON value; int64 beyond 2^53 is text, bytes that are not UTF-8 are a Uint8Array. */
  value: unknown;
  /** `file line n` or `file row n`, n from 1. */
  where: string;
}

/** A row that is an object with columns, as all records are. */
export interface Row {
  value: Record<string, unknown>;
  where: string;
}

/** How a source is fetched and read. */
export interface SourceOptions {
  /** Parquet: only these columns, where they exist; default all. */
  columns?: readonly string[] | undefined;
  /** For hub data sets, as for hub models. */
  offline?: boolean | undefined;
  /** Called while a hub data set is downloaded. */
  onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Aborting it stops a download and rejects with its reason. */
  signal?: AbortSignal | undefined;
  /**
   * Called for a row that cannot be read, which is then left out; without it the first such row is
   * thrown.
   */
  onBadRow?: ((error: DataError) => void) | undefined;
  /** For tests: the environment to read instead of the process's. */
  env?: Environment | undefined;
}

const SOURCE_OPTIONS: readonly string[] = Object.keys({
  columns: true,
  offline: true,
  onProgress: true,
  signal: true,
  onBadRow: true,
  env: true,
} satisfies Record<keyof SourceOptions, true>);

/**
 * `flags`: the further options of a function that makes records of the rows, whose onBadRow is a
 * mode. @throws DataError unless `sources` are names and `options` those of SourceOptions and these
 */
export function checkReading(sources: unknown, options: object, flags?: readonly string[]): void {
  const where = 'the options of reading rows';
  const names = readable('the list of sources', sources);
  if (names.length === 0 || names.some((name) => typeof name !== 'string' || name === ''))
    throw new DataError(
      'a source must be the name of a file or of a data set, or a list of them, got ' +
        shown(names.length === 1 ? names[0] : sources),
    );
  const fault = optionsFault(options, [...SOURCE_OPTIONS, ...(flags ?? [])], where, {
    callbacks: flags ? ['onProgress'] : ['onProgress', 'onBadRow'],
    flags: ['offline', ...(flags ?? [])],
    objects: ['env'],
  });
  if (fault !== undefined) throw new DataError(fault.replace(/\.$/, ''));
  const { columns } = options as { columns?: unknown };
  if (columns === undefined) return;
  if (!Array.isArray(columns))
    throw new DataError(`${where}: columns must be a list of names, got ${shown(columns)}`);
  for (const column of readable(`${where}: columns`, columns))
    if (typeof column !== 'string')
      throw new DataError(`${where}: columns must be a list of names, and holds ${shown(column)}`);
}

/** A list's entries, or another value as the only one. @throws DataError for a Proxy's error */
function readable(what: string, value: unknown): unknown[] {
  try {
    return Array.isArray(value) ? [...(value as unknown[])] : [value];
  } catch (error) {
    throw new DataError(unreadable(what, error).replace(/\.$/, ''));
  }
}

/** Largest text of one file, unpacked; longer ones do not fit a JavaScript string. */
const MAX_TEXT_BYTES = 512 * 1024 * 1024 - 64;
/** A packed text may be so many times its file's size; JSON Lines pack 5 to 30 times. */
const MOST_UNPACKED = 200;
const SMALL_TEXT_BYTES = 64 * 1024 * 1024;

/**
 * All rows of `source`. @throws DataError (ModelError for errors of the hub) naming file and row
 */
export async function readRows(source: string, options: SourceOptions = {}): Promise<SourceRow[]> {
  checkReading(source, options);
  return withCallback(options.onBadRow, options.signal, (onBadRow, signal) =>
    readAll(source, { ...options, onBadRow, signal }),
  );
}

async function readAll(source: string, options: SourceOptions): Promise<SourceRow[]> {
  const rows: SourceRow[] = [];
  let bad = 0;
  const reading: SourceOptions = {
    ...options,
    onBadRow: (error) => {
      bad++;
      refuse(error, options);
    },
  };
  for (const file of await filesOf(source, options))
    for (const row of await readFileRows(file.path, file.name, reading)) rows.push(row);
  if (rows.length + bad === 0) throw new DataError(`${source} is empty; it needs at least one row`);
  return rows;
}

/**
 * `readRows` for sources in which every row must have columns. @throws DataError naming the first
 * row that is not an object
 */
export async function readObjects(source: string, options: SourceOptions = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for (const row of await readRows(source, options)) {
    if (isObject(row.value)) rows.push(row as Row);
    else
      refuse(
        new DataError(
          `${row.where}: the row is ${describe(row.value)}; each row must be an object with ` +
            'named columns',
        ),
        options,
      );
  }
  return rows;
}

/** Passes a bad row to `onBadRow`, or throws it if there is none. */
function refuse(error: DataError, { onBadRow }: Pick<SourceOptions, 'onBadRow'>): void {
  if (onBadRow === undefined) throw error;
  onBadRow(error);
}

/** The columns that have a value: Parquet has null if a row lacks one, pandas writes NaN. */
export function present(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).filter(
      ([, held]) => held !== null && held !== undefined && !Number.isNaN(held),
    ),
  );
}

/** Whether `source` names a hub data set rather than a file. */
export const isHubSource = (source: string): boolean => source.startsWith('hub:');

/** The files of a source, and their names in error messages. */
export async function filesOf(
  source: string,
  options: SourceOptions = {},
): Promise<{ path: string; name: string }[]> {
  return isHubSource(source) ? datasetFiles(source, options) : [{ path: source, name: source }];
}

/** The rows of one file; `name` is used in error messages. */
async function readFileRows(
  path: string,
  name: string,
  options: Pick<SourceOptions, 'columns' | 'signal' | 'onBadRow'> = {},
): Promise<SourceRow[]> {
  options.signal?.throwIfAborted();
  if (/\.parquet$/i.test(name)) return readParquet(path, name, options);
  const bytes = await readDataFile(path, name);
  if (startsWith(bytes, 'PAR1')) return readParquet(path, name, options);
  const text = startsWith(bytes, '\x1f\x8b') ? await unpack(bytes, name) : bytes;
  refuseOtherKinds(text, name);
  if (/\.json(\.gz)?$/i.test(name)) return parseJson(text, name, options);
  if (/\.[ct]sv(\.gz)?$/i.test(name))
    return parseCsv(decodeWhole(text, name), name, options.onBadRow);
  if (text.find((byte) => !BLANK.has(byte)) === 0x5b)
    throwIfDefined(otherThanJsonLines(text, name));
  let asked = false;
  return jsonLines(text, name, (error) => {
    if (!asked) throwIfDefined(otherThanJsonLines(text, name));
    asked = true;
    refuse(error, options);
  });
}

const jsonLines = (
  text: Uint8Array,
  name: string,
  onBadLine: (error: DataError) => void,
): Promise<SourceRow[]> =>
  parseLinesInSlices(text, (line) => `${name} line ${line}`, {
    parse: parseJsonText,
    onBadLine,
    most: ROW_LIMIT,
  });

function throwIfDefined(error: Error | undefined): void {
  if (error !== undefined) throw error;
}

async function unpack(bytes: Uint8Array, name: string): Promise<Uint8Array> {
  const most = Math.min(MAX_TEXT_BYTES, Math.max(SMALL_TEXT_BYTES, MOST_UNPACKED * bytes.length));
  try {
    const limits = { maxOutputLength: most, finishFlush: constants.Z_FINISH };
    return await promisify(gunzip)(bytes, limits);
  } catch (cause) {
    const tooLong = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw new DataError(
      tooLong
        ? `${name} unpacks to more than ${most >> 20} MiB, ` +
            (most < MAX_TEXT_BYTES
              ? `${MOST_UNPACKED} times its size; if that is right, unpack it with gunzip`
              : 'the limit of one file; split it into several files')
        : `${name} is damaged: it cannot be unpacked (${(cause as Error).message}); fetch it again`,
      { cause },
    );
  }
}

/** A list of rows, {"data": [rows]}, or (as many files of this name on the hub are) JSON Lines. */
async function parseJson(
  bytes: Uint8Array,
  name: string,
  options: Pick<SourceOptions, 'onBadRow'>,
): Promise<SourceRow[]> {
  const first = bytes.find((byte) => !BLANK.has(byte));
  if (first === undefined) return [];
  const isList = first === 0x5b || first === 0x7b;
  const listed = isList ? await listedRows(bytes, bytes.indexOf(first), name) : undefined;
  if (listed !== undefined && 'rows' in listed)
    return listed.rows.map((value, index) => ({ value, where: `${name} row ${index + 1}` }));
  if (listed !== undefined) return jsonLines(bytes, name, (error) => refuse(error, options));
  const whole = tryParse(bytes, name);
  if (whole.error instanceof TooManyParts)
    throw new DataError(
      `${name} is one object, and ${whole.error.message}; give a list of rows, {"data": [rows]} ` +
        'or JSON Lines',
      { cause: whole.error },
    );
  if (whole.error instanceof RefusedJson) throw refusedJson(name, whole.error);
  if (whole.error !== undefined) {
    if (first !== 0x7b)
      throw (
        otherThanJsonLines(bytes, name) ??
        new DataError(
          `${name} is not JSON (${whole.error.message}); it may be damaged or cut off`,
          { cause: whole.error },
        )
      );
    return jsonLines(bytes, name, (error) => refuse(error, options));
  }
  if (isObject(whole.value) && isRow(whole.value))
    return [{ value: whole.value, where: `${name} row 1` }];
  throw new DataError(
    `${name} holds ${describe(whole.value)}; give a list of rows, {"data": [rows]} or JSON ` +
      `Lines (files of the official CREAM code: see \`cream convert\`)`,
  );
}

/**
 * Whether an object is one row. The official CREAM files have a row under each id, and other tools
 * a list of values under each column.
 */
const isRow = (value: Record<string, unknown>): boolean =>
  !Object.values(value).every((held) => typeof held === 'object' && held !== null) ||
  [...CONVERSATIONS, 'prompt', 'chosen'].some((column) => isTurns(value[column]));

const isTurns = (turns: unknown): boolean =>
  Array.isArray(turns) &&
  turns.length > 0 &&
  turns.every((turn) => isObject(turn) && (turn['role'] ?? turn['from']) !== undefined);

function tryParse(bytes: Uint8Array, name: string): { value?: unknown; error?: Error } {
  const text = decodeWhole(bytes, name);
  try {
    return { value: parseJsonText(text) };
  } catch (error) {
    return { error: error as Error };
  }
}

/** The text of a file that is parsed as a whole. @throws DataError */
function decodeWhole(bytes: Uint8Array, name: string): string {
  if (bytes.length > MAX_TEXT_BYTES)
    throw new DataError(
      `${name} is ${bytes.length >> 20} MiB long, but a file that is parsed whole has at most ` +
        `${MAX_TEXT_BYTES >> 20} MiB; write it as JSON Lines (one row per line)`,
    );
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`${name} is not valid UTF-8; convert it, for example with iconv -t UTF-8`, {
      cause,
    });
  }
}

function startsWith(bytes: Uint8Array, magic: string): boolean {
  return (
    bytes.length >= magic.length && [...magic].every((char, i) => bytes[i] === char.charCodeAt(0))
  );
}
