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
/** The first bytes of other kinds as Latin-1; a text such as `ORCID,prompt` is none of them. */
const OTHER_KINDS: readonly [RegExp, string, string][] = [
  [/^BZh[1-9][1\x17]/, 'compressed with bzip2', 'unpack it with bunzip2'],
  [/^\xfd7zXZ\0/, 'compressed with xz', 'unpack it with unxz'],
  [/^PK\x03\x04/, 'a zip archive', 'unpack it with unzip'],
  [/^PK\x05\x06/, 'an empty zip archive', NOT_TEXT],
  [/^PK\x07\x08/, 'a zip archive in parts', 'unpack it with unzip'],
  [
    /^(?:\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)/,
    'compressed with zstd',
    'unpack it with unzstd',
  ],
  [/^7z\xbc\xaf/, 'a 7z archive', 'unpack it with 7z x'],
  [/^\x04\x22\x4d\x18/, 'compressed with LZ4', 'unpack it with unlz4'],
  [/^\]\0\0/, 'compressed with lzma', 'unpack it with unlzma'],
  [/^LZIP[\0\x01]/, 'compressed with lzip', 'unpack it with lzip -d'],
  [/^\x89LZO/, 'compressed with lzop', 'unpack it with lzop -d'],
  [/^\xff\x06\0\0sNaPpY/, 'compressed with snappy', 'unpack it'],
  [/^\x1f\x9d/, 'compressed with compress', 'unpack it'],
  [/^\x1f\x8b/, 'compressed twice with gzip', 'unpack it once'],
  [/^x[\x01\x9c\xda]/, 'compressed with zlib', 'unpack it'],
  [/^Rar!\x1a/, 'a RAR archive', 'unpack it with unrar x'],
  [/^ARROW1/, 'an Arrow (Feather) file', 'write it as Parquet'],
  [/^\xff\xff\xff\xff/, 'an Arrow stream', 'write it as Parquet'],
  [/^ORC(?![\w "',;|-])/, 'an ORC file', 'write it as Parquet'],
  [/^Obj\x01/, 'an Avro file', 'write it as Parquet'],
  [/^SQLite format 3/, 'an SQLite database', NOT_TEXT],
  [/^\x89HDF/, 'an HDF5 file', NOT_TEXT],
  [/^\x93NUMPY/, 'a NumPy array', NOT_TEXT],
  [/^%PDF/, 'a PDF', NOT_TEXT],
  [/^\x80[\x02-\x05]/, 'a Python pickle', NOT_TEXT],
  [/^GGUF[\x01-\x03]/, 'a model (GGUF)', 'give a file of rows'],
  [/^\xff\xfe\0\0/, 'UTF-32 text', 'convert it with iconv -f UTF-32 -t UTF-8'],
  [/^(?:\xff\xfe|\xfe\xff)/, 'UTF-16 text', 'convert it with iconv -f UTF-16 -t UTF-8'],
];

/** Kinds without magic bytes, by the extension of their name. */
const OTHER_ENDINGS: readonly [RegExp, string, string][] = [
  [/\.br$/i, 'compressed with brotli', 'unpack it with brotli -d'],
  [/\.(?:z|zlib|deflate)$/i, 'compressed with zlib', 'unpack it'],
  [/\.(?:tar|tgz|tar\.gz)$/i, 'a tar archive', 'unpack it with tar x'],
  [/\.(?:pkl|pickle|pt|bin)$/i, 'a Python pickle', NOT_TEXT],
];

/** @throws DataError if the bytes are of a kind that is not read */
export function refuseOtherKinds(bytes: Uint8Array, name: string): void {
  const start = Buffer.from(bytes.subarray(0, 40)).toString('latin1');
  const found =
    OTHER_KINDS.find(([magic]) => magic.test(start)) ??
    OTHER_ENDINGS.find(([ending]) => ending.test(name));
  if (found) throw notRead(name, found[1], found[2]);
  if (Buffer.from(bytes.subarray(257, 262)).toString('latin1') === 'ustar')
    throw notRead(name, 'a tar archive', 'unpack it with tar x');
  if (isUtf16(bytes))
    throw notRead(name, 'UTF-16 text', 'convert it with iconv -f UTF-16LE (or BE) -t UTF-8');
  if (bytes.subarray(0, 4096).includes(0)) throw notRead(name, 'a binary file', NOT_TEXT);
  if (start.startsWith(LFS))
    throw new DataError(
      `${name} is a Git LFS pointer, not the data itself; run "git lfs pull" in that clone`,
    );
}

const LFS = 'version https://git-lfs';

/** UTF-16 without a byte order mark: every other byte of ASCII is 0, and no other one is. */
const isUtf16 = (bytes: Uint8Array): boolean =>
  [0, 1].some((odd) => [0, 2, 4].every((at) => bytes[at + odd] === 0 && bytes[at + 1 - odd] !== 0));

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
  if (WEB_PAGE.test(first)) return webPage(name, 'JSON');
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

const WEB_PAGE = /^<(?:!doctype|html|\?xml)/i;

const webPage = (name: string, wanted: string): DataError =>
  new DataError(`${name} is a web page and not ${wanted}; fetch the data file itself`);

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
/** A number as programs write one; Number() also takes blank text and `0x1`. */
const DECIMAL = /^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$/;
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
  refuseOtherThanCsv(text, name);
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
    cast: (value, { column, quoting, header, index, lines }) => {
      if (header) return value;
      if (index === COLUMN_LIMIT)
        throw new DataError(
          `${name} line ${lines}: the row has more than ${COLUMN_LIMIT} fields; see where its ` +
            'line should end',
        );
      if (value === '' && !quoting) return null;
      if (NUMBERS.has(String(column))) return DECIMAL.test(value) ? Number(value) : value;
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

/** @throws DataError for JSON, a web page and damaged text under the name of a CSV file */
function refuseOtherThanCsv(text: string, name: string): void {
  const first = text.trimStart().slice(0, 10_000).split('\n', 1)[0]!.trimEnd();
  if (/^[[{]/.test(first) && (/^[[{]+$/.test(first) || isJson(first)))
    throw new DataError(
      `${name} holds JSON and not CSV; give it a name that ends in .jsonl (or .json)`,
    );
  if (WEB_PAGE.test(first)) throw webPage(name, 'CSV');
  const zero = text.indexOf('\0');
  if (zero >= 0)
    throw new DataError(
      `${name} line ${text.slice(0, zero).split('\n').length} holds bytes that are 0, which no ` +
        'text has; the file is damaged, fetch it again',
    );
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
