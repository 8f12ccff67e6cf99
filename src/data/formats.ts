/**
 * Recognises data files by their first bytes, refuses the kinds that are not read by name, and
 * parses CSV (RFC 4180; the first line names the columns).
 */
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { parse, type CsvError, type Parser } from 'csv-parse';
import { COLUMN_LIMIT, parseJsonText, TooManyParts } from '../files/json.js';
import { DataError, describe, isObject, MAX_LINE_BYTES, ROW_LIMIT } from './jsonl.js';
import type { SourceRow } from './rows.js';

const NOT_TEXT = 'export its rows as JSON Lines';
const OTHER_KINDS: readonly { magic: readonly number[]; kind: string; remedy: string }[] = [
  { magic: [0x42, 0x5a, 0x68], kind: 'compressed with bzip2', remedy: 'unpack it with bunzip2' },
  {
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    kind: 'compressed with xz',
    remedy: 'unpack it with unxz',
  },
  { magic: [0x50, 0x4b, 0x03, 0x04], kind: 'a zip archive', remedy: 'unpack it with unzip' },
  {
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    kind: 'compressed with zstd',
    remedy: 'unpack it with unzstd',
  },
  { magic: [0x37, 0x7a, 0xbc, 0xaf], kind: 'a 7z archive', remedy: 'unpack it with 7z x' },
  { magic: bytesOf('PK\x05\x06'), kind: 'an empty zip archive', remedy: NOT_TEXT },
  {
    magic: bytesOf('\x04\x22\x4d\x18'),
    kind: 'compressed with LZ4',
    remedy: 'unpack it with unlz4',
  },
  { magic: bytesOf('\x1f\x9d'), kind: 'compressed with compress', remedy: 'unpack it' },
  { magic: bytesOf('\x1f\x8b'), kind: 'compressed twice with gzip', remedy: 'unpack it once' },
  { magic: bytesOf('x\x9c'), kind: 'compressed with zlib', remedy: 'unpack it' },
  { magic: bytesOf('x\xda'), kind: 'compressed with zlib', remedy: 'unpack it' },
  { magic: bytesOf('Rar!'), kind: 'a RAR archive', remedy: 'unpack it with unrar x' },
  { magic: bytesOf('ARROW1'), kind: 'an Arrow (Feather) file', remedy: 'write it as Parquet' },
  { magic: bytesOf('\xff\xff\xff\xff'), kind: 'an Arrow stream', remedy: 'write it as Parquet' },
  { magic: bytesOf('ORC'), kind: 'an ORC file', remedy: 'write it as Parquet' },
  { magic: bytesOf('Obj\x01'), kind: 'an Avro file', remedy: 'write it as Parquet' },
  { magic: bytesOf('SQLite format 3'), kind: 'an SQLite database', remedy: NOT_TEXT },
  { magic: bytesOf('\x89HDF'), kind: 'an HDF5 file', remedy: NOT_TEXT },
  { magic: bytesOf('\x93NUMPY'), kind: 'a NumPy array', remedy: NOT_TEXT },
  { magic: bytesOf('%PDF'), kind: 'a PDF', remedy: NOT_TEXT },
  { magic: bytesOf('\x80\x04\x95'), kind: 'a Python pickle', remedy: NOT_TEXT },
  {
    magic: [0xff, 0xfe, 0, 0],
    kind: 'UTF-32 text',
    remedy: 'convert it with iconv -f UTF-32 -t UTF-8',
  },
  { magic: [0xff, 0xfe], kind: 'UTF-16 text', remedy: 'convert it with iconv -f UTF-16 -t UTF-8' },
  { magic: [0xfe, 0xff], kind: 'UTF-16 text', remedy: 'convert it with iconv -f UTF-16 -t UTF-8' },
];

/** Kinds without magic bytes, by the extension of their name. */
const OTHER_ENDINGS: readonly [RegExp, string, string][] = [
  [/\.br$/i, 'compressed with brotli', 'unpack it with brotli -d'],
  [/\.(?:z|zlib|deflate)$/i, 'compressed with zlib', 'unpack it'],
  [/\.(?:tar|tgz|tar\.gz)$/i, 'a tar archive', 'unpack it with tar x'],
  [/\.(?:pkl|pickle|pt|bin)$/i, 'a Python pickle', NOT_TEXT],
];

function bytesOf(text: string): number[] {
  return [...Buffer.from(text, 'latin1')];
}

/** @throws DataError if the bytes are of a kind that is not read */
export function refuseOtherKinds(bytes: Uint8Array, name: string): void {
  const found = OTHER_KINDS.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte));
  if (found) throw notRead(name, found.kind, found.remedy);
  const ending = OTHER_ENDINGS.find(([pattern]) => pattern.test(name));
  if (ending) throw notRead(name, ending[1], ending[2]);
  if (Buffer.from(bytes.subarray(257, 262)).toString('latin1') === 'ustar')
    throw notRead(name, 'a tar archive', 'unpack it with tar x');
  if (isUtf16(bytes))
    throw notRead(name, 'UTF-16 text', 'convert it with iconv -f UTF-16LE (or BE) -t UTF-8');
  if (bytes.subarray(0, 4096).includes(0)) throw notRead(name, 'a binary file', NOT_TEXT);
  if (Buffer.from(bytes.subarray(0, 40)).toString('latin1').startsWith(LFS))
    throw new DataError(
      `${name} is a Git LFS pointer, not the data itself; run "git lfs pull" in that clone`,
    );
}

const LFS = 'version https://git-lfs';

/** UTF-16 without a byte order mark: every other byte of ASCII is 0. */
const isUtf16 = (bytes: Uint8Array): boolean =>
  [0, 1].some((odd) => {
    const zeros = [odd, odd + 2, odd + 4].map((at) => bytes[at]);
    return zeros.every((byte) => byte === 0) && bytes[1 - odd] !== 0;
  });

const notRead = (name: string, kind: string, remedy: string): DataError =>
  new DataError(
    `${name} is ${kind}, which is not read; ${remedy} (JSON Lines, JSON, CSV, Parquet and .gz ` +
      'files are read)',
  );

/** A better error for a file that was read as JSON Lines and is of another kind. */
export function otherThanJsonLines(bytes: Uint8Array, name: string): DataError | undefined {
  const text = new TextDecoder('utf-8').decode(bytes).trim();
  const first = text.slice(0, 10_000).split('\n', 1)[0]!;
  if (text.startsWith('[') && isListOfRows(text))
    return new DataError(
      `${name} is one JSON list and not JSON Lines; give it a name that ends in .json`,
    );
  if (/^\{[^\n]*\}\r(?!\n)\s*\{/.test(first))
    return new DataError(
      `${name} ends its lines with a carriage return alone (old Mac); convert it, for example ` +
        String.raw`with tr '\r' '\n'`,
    );
  if (/^[^{}[\]<]*[,;\t][^{}[\]<]*$/.test(first))
    return new DataError(
      `${name} is not JSON Lines; it looks like CSV: give it a name that ends in .csv (or .tsv)`,
    );
  if (/^\{\s*$/.test(first))
    return new DataError(
      `${name} has rows that run over several lines; JSON Lines has one row in each line ` +
        '(jq -c . writes it so)',
    );
  if (/^<(?:!doctype|html|\?xml)/i.test(first))
    return new DataError(`${name} is a web page and not JSON; fetch the data file itself`);
  if (/^[[{]\s*\{?\s*'/.test(first))
    return new DataError(
      `${name} is written in Python's notation and not in JSON; write it with json.dumps, not ` +
        'with str()',
    );
  if (/^\{.*\},$/.test(first.trimEnd()))
    return new DataError(
      `${name} has commas between its rows and is not JSON Lines; remove them, or write one JSON ` +
        'list in a .json file',
    );
  if (/^\{.*\}\s*\{/.test(first) && !isJson(first))
    return new DataError(`${name} has several rows in one line; JSON Lines has one in each line`);
  if (!/^[[{]/.test(first) && first !== '' && !isJson(first))
    return new DataError(
      `${name} does not hold JSON: its first line is ${describe(first)}; JSON Lines, JSON, CSV ` +
        'and Parquet are read',
    );
  return undefined;
}

function isJson(text: string): boolean {
  try {
    parseJsonText(text);
    return true;
  } catch {
    return false;
  }
}

function isListOfRows(text: string): boolean {
  try {
    const value = parseJsonText(text);
    return Array.isArray(value) && value.every(isObject);
  } catch (error) {
    return error instanceof TooManyParts && /^\[\s*\{/.test(text);
  }
}

/** Columns that hold numbers; all other fields of a CSV file are text. */
const NUMBERS = new Set(['sample', 'reward', 'reward_previous', 'consistency']);
/** Texts that pandas and polars write for an absent value, and pandas reads as one. */
const ABSENT =
  /^(?:-?(?:NaN|nan)|<NA>|null|NULL|None|N\/A|n\/a|NA|#N\/A(?: N\/A)?|#NA|-?1\.#(?:IND|QNAN))$/;

/**
 * The rows of a CSV file; an empty field without quotes is an absent value. A row whose number of
 * fields differs from the header's goes to `onBadRow`. @throws DataError
 */
export async function parseCsv(
  text: string,
  name: string,
  onBadRow?: (error: DataError) => void,
): Promise<SourceRow[]> {
  if (/^\s*[[{]/.test(text) && isJson(text.trimStart().split('\n', 1)[0]!))
    throw new DataError(
      `${name} holds JSON and not CSV; give it a name that ends in .jsonl (or .json)`,
    );
  refuseOtherDelimiter(text, name);
  refuseManyColumns(text, name);
  const bytes = Buffer.from(text);
  try {
    const parser = csvParser(name, onBadRow);
    const rows: SourceRow[] = [];
    const lineAt = lineCounter(bytes);
    let end = bytes.indexOf('\n') + 1; // of the row before
    for await (const row of Readable.from(slicesOf(bytes)).pipe(parser)) {
      const { record, info } = row as { record: Record<string, unknown>; info: { bytes: number } };
      if (rows.length === ROW_LIMIT)
        throw new DataError(
          `${name} has more than ${ROW_LIMIT} rows, the limit of one file; split it`,
        );
      rows.push({ value: record, where: `${name} line ${lineAt(end)}` });
      end = info.bytes;
    }
    return rows;
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw notCsv(cause as CsvError, name);
  }
}

function csvParser(name: string, onBadRow?: (error: DataError) => void): Parser {
  return parse({
    info: true,
    ...(onBadRow && {
      skip_records_with_error: true,
      on_skip: (error: CsvError | undefined) => {
        if (error !== undefined) onBadRow(notCsv(error, name));
      },
    }),
    bom: true,
    delimiter: delimiterOf(name),
    columns: (header: string[]) => checkHeader(header, name),
    skip_empty_lines: true,
    max_record_size: MAX_LINE_BYTES,
    cast: (value, { column, quoting, header }) => {
      if (header) return value;
      if (value === '' && !quoting) return null;
      if (NUMBERS.has(String(column)))
        return Number.isFinite(Number(value)) ? Number(value) : value;
      return !quoting && ABSENT.test(value) ? null : value;
    },
  });
}

const delimiterOf = (name: string): string => (/\.tsv(\.gz)?$/i.test(name) ? '\t' : ',');

const notCsv = (cause: CsvError & { lines?: number }, name: string): DataError =>
  new DataError(
    `${name}${cause.lines === undefined ? '' : ` line ${cause.lines}`}: not CSV as RFC 4180 ` +
      `defines it (${cause.message})`,
    { cause },
  );

/** The event loop runs between two of them. */
async function* slicesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += CSV_SLICE_BYTES) {
    yield bytes.subarray(at, at + CSV_SLICE_BYTES);
    await setImmediate();
  }
}

/** The parser reads some 20 MB per second. */
const CSV_SLICE_BYTES = 512 << 10;

/**
 * The line (from 1) of the first byte at or after `offset` that is not a line end; offsets must
 * ascend. The parser's own counter counts a two-byte line end within quotes twice.
 */
function lineCounter(bytes: Uint8Array): (offset: number) => number {
  let at = 0;
  let line = 1;
  return (offset) => {
    for (; at < offset || bytes[at] === 0x0a || bytes[at] === 0x0d; at++)
      if (bytes[at] === 0x0a) line++;
    return line;
  };
}

/** @throws DataError where the header has another delimiter than the name of the file says */
function refuseOtherDelimiter(text: string, name: string): void {
  const header = text.slice(0, 10_000).split(/\r?\n/, 1)[0]!;
  const ours = delimiterOf(name);
  const other = ['\t', ';', '|', ','].find((mark) => mark !== ours && header.includes(mark));
  if (other === undefined || header.includes(ours)) return;
  throw new DataError(
    `${name} has ${JSON.stringify(other)} between its columns, not ` +
      (other === '\t'
        ? 'commas; give it a name that ends in .tsv'
        : `${ours === ',' ? 'commas' : 'tabs'}; write it with commas, as a .csv file`),
  );
}

/** @throws DataError where the first line has more delimiters than any table has columns */
function refuseManyColumns(text: string, name: string): void {
  const delimiter = delimiterOf(name);
  const end = text.indexOf('\n');
  let columns = 1;
  for (let at = -1; (at = text.indexOf(delimiter, at + 1)) >= 0 && (at < end || end < 0); columns++)
    if (columns === COLUMN_LIMIT)
      throw new DataError(
        `${name} has more than ${COLUMN_LIMIT} columns; its first line must name the columns`,
      );
}

function checkHeader(header: readonly string[], name: string): string[] {
  const names = header.map((column) => column.trim());
  const repeated = names.find((column, i) => names.indexOf(column) !== i);
  if (repeated !== undefined)
    throw new DataError(`${name}: two columns are called ${JSON.stringify(repeated)}`);
  return names;
}
