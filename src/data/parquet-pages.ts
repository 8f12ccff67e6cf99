/**
 * Checks the pages of one column before hyparquet decodes them: it trusts run lengths, counts and
 * indices, so a flipped bit could make it fill memory, loop for ever, or silently return nulls.
 * Here every page's counts and runs must add up. (Parquet's Encodings.md: levels and dictionary
 * indices are runs of either one repeated value or bit-packed groups of eight.)
 */
import { crc32 } from 'node:zlib';
import type { ColumnMetaData, SchemaElement } from 'hyparquet';
import { COMPRESSORS } from './parquet-codecs.js';
import { readStruct, type Struct } from './parquet-thrift.js';

const MAX_PAGE_BYTES = 256 * 1024 * 1024;
const DATA = 0;
const DICTIONARY = 2;
const DATA_V2 = 3;
const PLAIN = 0;
const PLAIN_DICTIONARY = 2;
const RLE = 3;
const DELTA_BINARY = 5;
const DELTA_LENGTH = 6;
const RLE_DICTIONARY = 8;
const SPLIT = 9;

export interface Leaf {
  column: ColumnMetaData;
  /** Schema elements from the root's child down to the leaf. */
  path: readonly SchemaElement[];
  /** Rows of the row group. */
  rows: number;
}

interface Page {
  values: number;
  encoding: number;
  bytes: Uint8Array;
  /** Position of the encoded values in `bytes`. */
  at: number;
  /** Values that are not null. */
  present: number;
  /** Rows that begin in this page. */
  rows: number;
}

/** @throws Error naming the counts that do not add up */
export function checkPages(bytes: Uint8Array, leaf: Leaf): void {
  const total = Number(leaf.column.num_values);
  let values = 0;
  let rows = 0;
  let dictionary = 0;
  let left = Number(leaf.column.total_uncompressed_size);
  for (let at = 0; at < bytes.length - 1;) {
    const { value: header, end } = readStruct(bytes, at);
    const type = number(header, 1);
    const unpacked = number(header, 2);
    const packed = number(header, 3);
    if (packed > bytes.length - end || unpacked > MAX_PAGE_BYTES)
      throw new Error(`a page claims ${packed} bytes, ${unpacked} unpacked`);
    // The declared size includes the headers, which may be missing in the pages' sum.
    if ((left -= unpacked) < 0)
      throw new Error('its pages unpack to more than the size that the column declares');
    const body = bytes.subarray(end, end + packed);
    at = end + packed;
    if (typeof header[4] === 'number' && crc32(body) !== header[4] >>> 0)
      throw new Error('the checksum of a page is wrong');
    if (type === DICTIONARY) {
      dictionary = number(struct(header, 7), 1);
      checkPlain(leaf, dictionary, unpack(leaf.column, body, unpacked).length);
      continue;
    }
    const page =
      type === DATA
        ? readPage(leaf, struct(header, 5), unpack(leaf.column, body, unpacked))
        : type === DATA_V2
          ? readPageV2(leaf, struct(header, 8), body, unpacked)
          : undefined;
    if (page === undefined) throw new Error(`a page has the unknown type ${type}`);
    values += page.values;
    rows += page.rows;
    if (values > total) throw new Error(`its pages hold more than the ${total} values promised`);
    checkValues(leaf, page, dictionary);
  }
  if (values !== total || rows !== leaf.rows)
    throw new Error(
      `its pages hold ${values} values of ${rows} rows, not ${total} of ${leaf.rows}`,
    );
}

/** Format 1: the whole page is compressed, and levels begin with their length. */
function readPage(leaf: Leaf, header: Struct, bytes: Uint8Array): Page {
  const values = number(header, 1);
  const { repetition, definition } = maxLevels(leaf.path);
  if (values > Number(leaf.column.num_values)) throw new Error(`a page claims ${values} values`);
  let at = 0;
  let rows = values;
  let present = values;
  const levels = (most: number, counted: number): number => {
    const length = uint32(bytes, at);
    const end = at + 4 + length;
    if (end > bytes.length) throw new Error('its levels are cut off');
    const count = countLevels({ bytes, at: at + 4, end }, { most, count: values }, counted);
    at = end;
    return count;
  };
  if (repetition > 0) rows = levels(repetition, 0);
  if (definition > 0) present = levels(definition, definition);
  return { values, encoding: number(header, 2), bytes, at, present, rows };
}

/** Format 2: uncompressed levels come first, and the header has their lengths. */
function readPageV2(leaf: Leaf, header: Struct, body: Uint8Array, unpacked: number): Page {
  const values = number(header, 1);
  const nulls = number(header, 2);
  const definitionBytes = number(header, 5);
  const repetitionBytes = number(header, 6);
  const { repetition, definition } = maxLevels(leaf.path);
  const levels = definitionBytes + repetitionBytes;
  if (
    values > Number(leaf.column.num_values) ||
    nulls > values ||
    levels > body.length ||
    levels > unpacked
  )
    throw new Error('a page header does not add up');
  const counted = (at: number, end: number, most: number, level: number): number =>
    most > 0 ? countLevels({ bytes: body, at, end }, { most, count: values }, level) : values;
  const rows = counted(0, repetitionBytes, repetition, 0);
  const present = counted(repetitionBytes, levels, definition, definition);
  if (present !== values - nulls)
    throw new Error(`a page claims ${nulls} nulls and holds ${values - present}`);
  const packed = body.subarray(levels);
  return {
    values,
    encoding: number(header, 4),
    bytes: header[7] === false ? packed : unpack(leaf.column, packed, unpacked - levels),
    at: 0,
    present,
    rows,
  };
}

function checkValues(leaf: Leaf, { encoding, bytes, at, present }: Page, dictionary: number): void {
  const left = bytes.length - at;
  switch (encoding) {
    case PLAIN:
    case SPLIT:
      return checkPlain(leaf, present, left);
    case PLAIN_DICTIONARY:
    case RLE_DICTIONARY: {
      if (present === 0) return;
      const width = bytes[at] ?? 33;
      if (width > 32) throw new Error(`its indices are ${width} bits wide`);
      return forRuns({ bytes, at: at + 1, end: bytes.length }, width, present, (value) => {
        if (value >= dictionary)
          throw new Error(`it names entry ${value} of a dictionary of ${dictionary}`);
      });
    }
    case RLE:
      if (present > 0)
        forRuns(
          { bytes, at: at + 4, end: Math.min(bytes.length, at + 4 + uint32(bytes, at)) },
          1,
          present,
          () => {},
        );
      return;
    case DELTA_BINARY:
    case DELTA_LENGTH: {
      if (present === 0) return;
      const [block, second] = varint(bytes, at, bytes.length);
      const [miniblocks] = varint(bytes, second, bytes.length);
      if (!(block > 0 && block <= 65536 && miniblocks > 0 && block % (miniblocks * 8) === 0))
        throw new Error(
          `its delta blocks of ${block} values in ${miniblocks} parts are not possible`,
        );
      return;
    }
    default:
      throw new Error(`its encoding ${leaf.column.encodings?.join(', ') ?? encoding} is not read`);
  }
}

const WIDTHS: Record<string, number> = {
  INT32: 4,
  INT64: 8,
  INT96: 12,
  FLOAT: 4,
  DOUBLE: 8,
  BYTE_ARRAY: 4,
  BOOLEAN: 1 / 8,
};

/** Plain values need their width in bytes each; a text needs at least its length. */
function checkPlain({ path, column }: Leaf, count: number, bytes: number): void {
  const width =
    column.type === 'FIXED_LEN_BYTE_ARRAY'
      ? (path.at(-1)!.type_length ?? 0)
      : (WIDTHS[column.type] ?? 0);
  if (!(width > 0) || count * width > bytes)
    throw new Error(`${count} values do not fit the ${bytes} bytes of a page`);
}

function unpack(column: ColumnMetaData, bytes: Uint8Array, length: number): Uint8Array {
  const { codec }: { codec?: keyof typeof COMPRESSORS } = column; // damage may leave none
  const made = codec === 'UNCOMPRESSED' ? bytes : codec && COMPRESSORS[codec]?.(bytes, length);
  if (made === undefined)
    throw new Error(codec ? `its compression ${codec} is not read` : 'its compression is unknown');
  if (made.length !== length)
    throw new Error(`a page unpacks to ${made.length} bytes, not ${length}`);
  return made;
}

/** The largest repetition and definition level of the column at `path` (Dremel encoding). */
export function maxLevels(path: readonly SchemaElement[]): {
  repetition: number;
  definition: number;
} {
  return {
    repetition: path.filter(({ repetition_type }) => repetition_type === 'REPEATED').length,
    definition: path.filter(({ repetition_type }) => repetition_type !== 'REQUIRED').length,
  };
}

/** A run-length and bit-packed stream: bytes `at` … `end` − 1. */
interface RunStream {
  bytes: Uint8Array;
  at: number;
  end: number;
}

/** The number of levels that equal `counted`, of `count` levels from 0 to `most`. */
function countLevels(
  stream: RunStream,
  { most, count }: { most: number; count: number },
  counted: number,
): number {
  let found = 0;
  forRuns(stream, 32 - Math.clz32(most), count, (level, times) => {
    if (level > most) throw new Error(`a level is ${level}, the schema has ${most}`);
    if (level === counted) found += times;
  });
  return found;
}

/**
 * Calls `visit` for the `count` values of `width` bits in a stream. @throws Error unless it holds
 * exactly this many
 */
function forRuns(
  { bytes, at: begin, end }: RunStream,
  width: number,
  count: number,
  visit: (value: number, times: number) => void,
): void {
  let at = begin;
  for (let seen = 0; seen < count;) {
    const [header, next] = varint(bytes, at, end);
    const times = Math.floor(header / 2);
    const left = count - seen;
    at = next;
    if (header % 2 === 0) {
      if (times < 1 || times > left)
        throw new Error(`a run of ${times} where ${left} values are left`);
      let value = 0;
      for (let i = 0; i < Math.ceil(width / 8); i++)
        value += byteAt(bytes, at++, end) * 2 ** (8 * i);
      visit(value, times);
      seen += times;
    } else {
      const here = Math.min(left, times * 8);
      // The last group is padded to eight.
      if (times < 1 || times * 8 > left + 7 || Math.ceil((here * width) / 8) > end - at)
        throw new Error(`${times * 8} packed values where ${left} are left`);
      for (let i = 0; i < here; i++) visit(bits(bytes, at * 8 + i * width, width), 1);
      at += times * width;
      seen += here;
    }
  }
}

function bits(bytes: Uint8Array, from: number, width: number): number {
  let value = 0;
  for (let done = 0; done < width;) {
    const at = from + done;
    const offset = at % 8;
    const take = Math.min(8 - offset, width - done);
    value += ((bytes[Math.floor(at / 8)]! >> offset) & ((1 << take) - 1)) * 2 ** done;
    done += take;
  }
  return value;
}

function varint(bytes: Uint8Array, at: number, end: number): [number, number] {
  for (let value = 0, shift = 0; shift < 35; shift += 7) {
    const byte = byteAt(bytes, at++, end);
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return value < 2 ** 31 ? [value, at] : fail('a run has an impossible length');
  }
  return fail('a run has an impossible length');
}

function byteAt(bytes: Uint8Array, at: number, end: number): number {
  return at < end ? bytes[at]! : fail('it is cut off');
}

function uint32(bytes: Uint8Array, at: number): number {
  return at + 4 <= bytes.length
    ? new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true)
    : fail('it is cut off');
}

function number(header: Struct, field: number): number {
  const value = header[field];
  return typeof value === 'number' && value >= 0 ? value : fail('a page header does not add up');
}

function struct(header: Struct, field: number): Struct {
  const value = header[field];
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array)
    ? value
    : fail('a page header does not add up');
}

function fail(what: string): never {
  throw new Error(what);
}
