/**
 * Checks the metadata of a Parquet file before anything is decoded: sizes, offsets and counts must
 * fit the file and the limits here.
 */
import { refuseOtherKinds } from './formats.js';
import { getHeapStatistics } from 'node:v8';
import type { AsyncBuffer, ColumnMetaData, FileMetaData, RowGroup, SchemaElement } from 'hyparquet';
import { DataError, ROW_LIMIT } from './jsonl.js';
import { checkPages, maxLevels } from './parquet-pages.js';
import { readStruct, type Struct, type Value } from './parquet-thrift.js';

const MAX_FOOTER = 64 * 1024 * 1024;
const MAX_CELLS = 50_000_000;
const MAX_GROUP_BYTES = 2 ** 30;
/**
 * Maximum ratio of unpacked to packed size, and the unpacked size that a short file may always
 * have.
 */
const MOST_UNPACKED = 1000;
const SMALL_FILE = 64 * 1024 * 1024;
const MAX_SCHEMA = 10_000;
/**
 * Heap that hyparquet needs for a nested value and each list around it while it assembles a column.
 */
const BYTES_OF_NESTED = 160;

/**
 * The footer with its length and magic, the form that parquetMetadata expects. @throws DataError
 */
export async function readFooter(file: AsyncBuffer, name: string): Promise<ArrayBuffer> {
  const size = file.byteLength;
  const magic = async (at: number): Promise<string> =>
    size < 12 ? '' : Buffer.from(await file.slice(at, at + 4)).toString('latin1');
  if ((await magic(0)) !== 'PAR1') {
    refuseOtherKinds(new Uint8Array(await file.slice(0, Math.min(size, 4096))), name);
    throw new DataError(
      `${name} is not a Parquet file: it ` +
        `${size === 0 ? 'is empty' : 'does not begin with "PAR1"'}; fetch it again, or give ` +
        'it the extension of its real kind',
    );
  }
  if ((await magic(size - 4)) !== 'PAR1')
    throw new DataError(`${name} is cut off: a Parquet file ends with "PAR1"; fetch it again`);
  const length = new DataView(await file.slice(size - 8, size - 4)).getUint32(0, true);
  if (length > size - 12 || length > MAX_FOOTER)
    throw new DataError(
      `${name} is damaged: its footer claims ${length} bytes of ${size}; fetch it again`,
    );
  const footer = await file.slice(size - 8 - length, size);
  checkFooter(new Uint8Array(footer, 0, length));
  return footer;
}

const DECIMAL = 5;
const BYTE_ARRAY = 6;
const MAX_DECIMAL_BYTES = 32;

/** @throws Error for a footer that would take too much time or memory to read */
function checkFooter(bytes: Uint8Array): void {
  const { value: footer } = readStruct(bytes);
  const schema = listOf(footer[2]);
  const groups = listOf(footer[4]);
  if (schema.length > MAX_SCHEMA) throw new Error(`it has ${schema.length} columns`);
  const chunks = groups.reduce((sum, group) => sum + listOf(group[1]).length, 0);
  if (groups.length > 1_000_000 || chunks * schema.length > 50_000_000)
    throw new Error(`it has ${groups.length} row groups of ${schema.length} columns`);
  for (const element of schema) {
    // A decimal is converted byte by byte, in quadratic time.
    if (
      element[6] === DECIMAL &&
      (element[1] === BYTE_ARRAY || Number(element[2] ?? 0) > MAX_DECIMAL_BYTES)
    )
      throw new Error('it holds decimals of any length');
    if ((element[10] as Struct | undefined)?.[16] !== undefined)
      throw new Error('it holds a column of type VARIANT');
  }
  if (schema.some((element) => element[6] === DECIMAL)) refuseLongStatistics(groups);
}

function refuseLongStatistics(groups: readonly Struct[]): void {
  for (const column of groups.flatMap((group) => listOf(group[1]))) {
    const statistics = (column[3] as Struct | undefined)?.[12];
    if (
      statistics !== undefined &&
      Object.values(statistics as Struct).some(
        (value) => value instanceof Uint8Array && value.length > 4096,
      )
    )
      throw new Error('its statistics are too long');
  }
}

const listOf = (value: Value | undefined): Struct[] =>
  Array.isArray(value) ? (value as Struct[]) : [];

/** @throws DataError */
export function checkMetadata(metadata: FileMetaData, size: number, name: string): void {
  let rows = 0;
  let cells = 0;
  let all = 0;
  for (const group of metadata.row_groups) {
    const count = Number(group.num_rows);
    rows += count;
    if (!(count >= 0 && Number.isSafeInteger(count)) || rows > ROW_LIMIT)
      throw new DataError(
        `${name} claims ${rows} rows, but the limit per file is ${ROW_LIMIT}; split it, or ` +
          'fetch it again if that is not so',
      );
    if (count === 0) continue; // such a group has no pages
    let unpacked = 0;
    for (const { meta_data: column, file_path } of group.columns) {
      const place = `${name}, column ${JSON.stringify(column?.path_in_schema.join('.') ?? '?')}`;
      if (column === undefined || file_path)
        throw new DataError(`${place}: its data is not in this file; give the file that holds it`);
      const { start, end } = chunkRange(column);
      const values = Number(column.num_values);
      if (!(start >= 4 && end >= start && end <= size))
        throw new DataError(
          `${place} claims bytes ${start} to ${end} of ${size}; the file is damaged, fetch ` +
            'it again',
        );
      cells += values;
      if (!(values >= 0 && cells <= MAX_CELLS))
        throw new DataError(
          `${place} claims ${values} values, but the limit per file is ${MAX_CELLS} in all; ` +
            'split it, or fetch it again if that is not so',
        );
      unpacked += Number(column.total_uncompressed_size);
    }
    all += unpacked;
    if (all > SMALL_FILE + MOST_UNPACKED * size)
      throw new DataError(
        `${name} claims to unpack to more than ${MOST_UNPACKED} times its size; if that is ` +
          'right, write it with less compression',
      );
    if (!(unpacked >= 0 && unpacked <= MAX_GROUP_BYTES))
      throw new DataError(
        `${name} claims ${Math.round(unpacked / 2 ** 20)} MiB in one row group, but the limit ` +
          `is ${MAX_GROUP_BYTES >> 20} MiB; write it again with smaller row groups`,
      );
  }
  if (rows !== Number(metadata.num_rows))
    throw new DataError(
      `${name} claims ${metadata.num_rows} rows but its row groups hold ${rows}; the file ` +
        'is damaged, fetch it again',
    );
}

/** The byte range of a column in the file. */
export function chunkRange(column: ColumnMetaData): { start: number; end: number } {
  // Like other readers of the format: a dictionary, if there is one, comes first.
  const start = Number(column.dictionary_page_offset || column.data_page_offset);
  return { start, end: start + Number(column.total_compressed_size) };
}

export const chunksOf = (group: RowGroup, column: string): ColumnMetaData[] =>
  group.columns
    .map(({ meta_data }) => meta_data!)
    .filter(({ path_in_schema }) => path_in_schema[0] === column);

export interface ColumnBytes {
  /** Size of the whole file. */
  byteLength: number;
  slice(start: number, end?: number): ArrayBuffer;
}

/** @throws Error naming the problem with the pages of a column, its leaves included */
export function checkColumn(
  file: ColumnBytes,
  metadata: FileMetaData,
  group: RowGroup,
  name: string,
): void {
  const leaves = leavesOf(metadata.schema).filter((path) => path[0]!.name === name);
  const chunks = chunksOf(group, name);
  if (chunks.length !== leaves.length)
    throw new Error(`it has ${chunks.length} parts where the schema has ${leaves.length}`);
  for (const path of leaves) {
    const label = path.map((element) => element.name).join('.');
    const column = chunks.find(({ path_in_schema }) => path_in_schema.join('.') === label);
    if (column === undefined || column.type !== path.at(-1)!.type)
      throw new Error(`its part ${JSON.stringify(label)} is missing or of another type`);
    const rows = Number(group.num_rows);
    const nested = path.length > 1 || path[0]!.repetition_type === 'REPEATED';
    const heap = nested
      ? Number(column.num_values) * (1 + maxLevels(path).definition) * BYTES_OF_NESTED
      : 0;
    if (heap > getHeapStatistics().heap_size_limit / 2)
      throw new Error(
        `${column.num_values} values in one row group do not fit the memory; write the ` +
          'file with smaller row groups',
      );
    const { start, end } = chunkRange(column);
    checkPages(new Uint8Array(file.slice(start, end)), { column, path, rows });
  }
}

/** The names of the columns, those within structs and lists left out. */
export function topLevelOf(schema: readonly SchemaElement[]): string[] {
  const names: string[] = [];
  const skip = (at: number): number => {
    let next = at + 1;
    for (let child = 0; child < (schema[at]?.num_children ?? 0); child++) next = skip(next);
    return next;
  };
  for (let at = 1; at < schema.length; at = skip(at)) names.push(schema[at]!.name);
  return names;
}

/** The path of every leaf of the schema, the root left out. */
function leavesOf(schema: readonly SchemaElement[]): SchemaElement[][] {
  const leaves: SchemaElement[][] = [];
  const open: { element: SchemaElement; left: number }[] = [];
  for (const element of schema.slice(1)) {
    if (open.length > 32) throw new Error('its schema is nested too deeply');
    const path = [...open.map((parent) => parent.element), element];
    if (element.num_children) open.push({ element, left: element.num_children });
    else {
      leaves.push(path);
      while (open.length > 0 && --open.at(-1)!.left === 0) open.pop();
    }
  }
  return leaves;
}
