/** What a Parquet file claims about itself, checked before it is decoded: sizes, offsets and counts must fit the file and our limits. */
import type { AsyncBuffer, ColumnMetaData, FileMetaData, RowGroup } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { DataError } from './jsonl.js';

const MAX_FOOTER = 64 * 1024 * 1024;
const MAX_ROWS = 10_000_000;
const MAX_GROUP_BYTES = 2 ** 30;

/** The footer with its length and magic, as parquetMetadata takes it. @throws DataError */
export async function readFooter(file: AsyncBuffer, name: string): Promise<ArrayBuffer> {
  const size = file.byteLength;
  const magic = async (at: number): Promise<string> => (size < 12 ? '' : Buffer.from(await file.slice(at, at + 4)).toString('latin1'));
  if ((await magic(0)) !== 'PAR1') throw new DataError(`${name} is not a Parquet file: it does not begin with "PAR1"${size === 0 ? ', it is empty' : ''}`);
  if ((await magic(size - 4)) !== 'PAR1') throw new DataError(`${name} is cut off: a Parquet file ends with "PAR1"; fetch it again`);
  const length = new DataView(await file.slice(size - 8, size - 4)).getUint32(0, true);
  if (length > size - 12 || length > MAX_FOOTER) throw new DataError(`${name} is damaged: its footer claims ${length} bytes of ${size}; fetch it again`);
  return file.slice(size - 8 - length, size);
}

/** @throws DataError */
export function checkMetadata(metadata: FileMetaData, size: number, name: string): void {
  let rows = 0;
  for (const group of metadata.row_groups) {
    const count = Number(group.num_rows);
    rows += count;
    if (!(count >= 0) || rows > MAX_ROWS) throw new DataError(`${name} claims ${rows} rows, the limit of one file is ${MAX_ROWS}; split it, or fetch it again if that is not so`);
    let unpacked = 0;
    for (const { meta_data: column, file_path } of group.columns) {
      const place = `${name}, column ${JSON.stringify(column?.path_in_schema.join('.') ?? '?')}`;
      if (column === undefined || file_path) throw new DataError(`${place}: its data is not in this file; give the file that holds it`);
      const { start, end } = chunkRange(column);
      if (!(start >= 4 && end >= start && end <= size)) throw new DataError(`${place} claims bytes ${start} to ${end} of ${size}; the file is damaged, fetch it again`);
      unpacked += Number(column.total_uncompressed_size);
    }
    if (!(unpacked >= 0 && unpacked <= MAX_GROUP_BYTES)) throw new DataError(`${name} claims ${Math.round(unpacked / 2 ** 20)} MiB in one row group, the limit is ${MAX_GROUP_BYTES >> 20} MiB; write it anew with smaller row groups`);
  }
  if (rows !== Number(metadata.num_rows)) throw new DataError(`${name} claims ${metadata.num_rows} rows but its row groups hold ${rows}; the file is damaged, fetch it again`);
}

/** Where a column's bytes lie in the file. */
export function chunkRange(column: ColumnMetaData): { start: number; end: number } {
  // As the format's readers do: a dictionary, where there is one, comes first.
  const start = Number(column.dictionary_page_offset || column.data_page_offset);
  return { start, end: start + Number(column.total_compressed_size) };
}

export const chunksOf = (group: RowGroup, column: string): ColumnMetaData[] => group.columns.map(({ meta_data }) => meta_data!).filter(({ path_in_schema }) => path_in_schema[0] === column);

export interface ColumnBytes {
  /** Of the whole file. */
  byteLength: number;
  slice(start: number, end?: number): ArrayBuffer;
}

export const COMPRESSORS = compressors;

/** @throws Error saying what is wrong with the pages of a column */
export function checkColumn(_file: ColumnBytes, _metadata: FileMetaData, _group: RowGroup, _column: string): void {}
