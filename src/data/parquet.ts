/**
 * Parquet files by hyparquet, row group by row group and column by column, so that memory stays
 * near the size of the rows and an error names the column. The file's claims are checked before
 * anything is decoded (parquet-check.ts): a damaged or hostile file must end in an error message,
 * not in a hang or exhausted memory.
 *
 * Values come out as in JSON: int64 and decimals as numbers, or as text of their digits where no
 * number holds these; dates and times as ISO texts, absent values as null.
 */
import type { FileHandle } from 'node:fs/promises';
import {
  parquetMetadata,
  parquetReadObjects,
  type AsyncBuffer,
  type FileMetaData,
  type RowGroup,
  type SchemaElement,
} from 'hyparquet';
import { openRegular } from '../files/read.js';
import {
  checkColumn,
  checkMetadata,
  chunkRange,
  chunksOf,
  readFooter,
  topLevelOf,
  type ColumnBytes,
} from './parquet-check.js';
import { COMPRESSORS, loadCompressors } from './parquet-codecs.js';
import { DataError, unreadable } from './jsonl.js';
import { readerOf, withoutDecimals } from './parquet-values.js';

/** The rows of one row group, and their size before compression. */
export interface ParquetGroup {
  values: Record<string, unknown>[];
  bytes: number;
}

/** A Parquet file whose footer has been read and checked. */
export interface ParquetFile {
  /** Size of all values before compression, as the file claims it. */
  unpacked: number;
  /** The rows, one row group after the other; `columns`: only these, if they exist. */
  groups: (columns?: readonly string[]) => AsyncGenerator<ParquetGroup>;
  close: () => Promise<void>;
}

/** Opens `path`; `name` is used in error messages. @throws DataError, as do the groups */
export async function openParquet(path: string, name: string): Promise<ParquetFile> {
  const file = await openRegular(path).catch((cause: unknown) => {
    throw unreadable(name, cause);
  });
  try {
    const bytes = await asyncBuffer(file);
    const metadata = await readMetadata(bytes, name);
    await loadCompressors(codecsOf(metadata)).catch((cause: unknown) => {
      throw new DataError(
        `${name} cannot be read: its decompressors do not fit the address space of this process ` +
          `(${(cause as Error).message}); raise its limit (ulimit -v), or give JSON lines`,
        { cause },
      );
    });
    return {
      unpacked: metadata.row_groups.reduce((sum, group) => sum + sizeOf(group), 0),
      groups: (columns) => readGroups(bytes, metadata, name, columns),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

const codecsOf = ({ row_groups }: FileMetaData): Set<string> =>
  new Set(row_groups.flatMap(({ columns }) => columns.map((column) => column.meta_data!.codec)));

const sizeOf = (group: RowGroup): number =>
  group.columns.reduce((sum, column) => sum + Number(column.meta_data!.total_uncompressed_size), 0);

async function* readGroups(
  bytes: AsyncBuffer,
  metadata: FileMetaData,
  name: string,
  columns: readonly string[] | undefined,
): AsyncGenerator<ParquetGroup> {
  const wanted = topLevel(metadata).filter(
    (column) => columns === undefined || columns.includes(column),
  );
  let first = 0;
  for (const [index, group] of metadata.row_groups.entries()) {
    const count = Number(group.num_rows);
    if (count === 0) continue;
    const values = Array.from({ length: count }, (): Record<string, unknown> => ({}));
    for (const column of wanted)
      await readColumn({ bytes, metadata, index, column, name, values, first });
    yield { values, bytes: sizeOf(group) };
    first += count;
  }
}

async function readMetadata(bytes: AsyncBuffer, name: string): Promise<FileMetaData> {
  try {
    const metadata = parquetMetadata(await readFooter(bytes, name), { geoparquet: false });
    checkMetadata(metadata, bytes.byteLength, name);
    refuseTwins(metadata.schema, name);
    return metadata;
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(`${name} is a damaged Parquet file (${reasonOf(cause)}); fetch it again`, {
      cause,
    });
  }
}

/** What the decoder says is wrong. Where damaged bytes lead it astray, its errors say nothing. */
function reasonOf(cause: unknown): string {
  const { name, message } = cause as Error;
  return ['TypeError', 'RangeError', 'SyntaxError'].includes(name)
    ? 'its parts contradict each other'
    : message;
}

/** @throws DataError where two columns have one name, of which only one could be read */
function refuseTwins(schema: readonly SchemaElement[], name: string): void {
  const seen = new Set<string>();
  for (const column of topLevelOf(schema)) {
    if (typeof column !== 'string') throw new Error('a column has no name');
    if (seen.has(column))
      throw new DataError(
        `${name}: two columns are called ${JSON.stringify(column)}; rename one of them`,
      );
    seen.add(column);
  }
}

const topLevel = (metadata: FileMetaData): string[] => [
  ...new Set(
    metadata.row_groups
      .filter(({ num_rows }) => num_rows > 0)
      .flatMap((group) => group.columns.map((column) => column.meta_data!.path_in_schema[0]!)),
  ),
];

interface ColumnWork {
  bytes: AsyncBuffer;
  metadata: FileMetaData;
  /** Index of the row group. */
  index: number;
  column: string;
  name: string;
  /** The rows of the group, which get the column. */
  values: Record<string, unknown>[];
  /** The number of rows before the group. */
  first: number;
}

/** Decodes one column of one row group into the rows. */
async function readColumn({
  bytes,
  metadata,
  index,
  column,
  name,
  values: rows,
  first,
}: ColumnWork): Promise<void> {
  const count = rows.length;
  const span = `rows ${first + 1} to ${first + count}`;
  const where = `${name}, column ${JSON.stringify(column)} of ${span}`;
  let values: Record<string, unknown>[];
  try {
    const group = metadata.row_groups[index]!;
    const file = await loadColumn(bytes, group, column);
    checkColumn(file, metadata, group, column);
    values = await parquetReadObjects({
      file,
      metadata: { ...withoutDecimals(metadata), row_groups: [group] },
      columns: [column],
      compressors: COMPRESSORS,
      parsers: PARSERS,
      geoparquet: false,
    });
  } catch (cause) {
    throw new DataError(
      `${where}: damaged or not readable (${reasonOf(cause)}); fetch the file ` +
        'again, or write it again, for example with pyarrow',
      { cause },
    );
  }
  if (values.length !== count)
    throw new DataError(
      `${where}: ${values.length} values for ${count} rows; the file is damaged, fetch it again`,
    );
  const read = readerOf(metadata.schema, column);
  for (let i = 0; i < count; i++) {
    // A column called __proto__ must not become the row's prototype.
    Object.defineProperty(rows[i]!, column, {
      value: read(values[i]![column]),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
}

/**
 * The bytes of one column of one row group, read into memory once for both the check and the
 * decoder.
 */
async function loadColumn(
  bytes: AsyncBuffer,
  group: RowGroup,
  column: string,
): Promise<ColumnBytes> {
  const ranges = chunksOf(group, column).map(chunkRange);
  const start = Math.min(...ranges.map((range) => range.start));
  const end = Math.max(...ranges.map((range) => range.end));
  const data = await bytes.slice(start, end);
  return {
    byteLength: bytes.byteLength,
    slice(from: number, to = bytes.byteLength): ArrayBuffer {
      if (from < start || to > end)
        throw new Error(`it points at bytes ${from} to ${to}, outside its column`);
      return data.slice(from - start, to - start);
    },
  };
}

/** Text that is not UTF-8 stays bytes: it is an error only if the column is read. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const PARSERS = {
  stringFromBytes(bytes: Uint8Array | undefined): unknown {
    if (bytes === undefined || bytes === null) return bytes;
    try {
      return utf8.decode(bytes);
    } catch {
      return bytes.slice();
    }
  },
};

async function asyncBuffer(file: FileHandle): Promise<AsyncBuffer> {
  const { size } = await file.stat();
  return {
    byteLength: size,
    async slice(start: number, end = size): Promise<ArrayBuffer> {
      const buffer = new ArrayBuffer(Math.max(0, Math.min(end, size) - start));
      const { bytesRead } = await file.read(new Uint8Array(buffer), 0, buffer.byteLength, start);
      if (bytesRead < buffer.byteLength)
        throw new Error('the file became shorter while it was read');
      return buffer;
    },
  };
}
