/**
 * Reads Parquet files. Decoding a column takes as long as it is large, so a file beyond a few MB is
 * decoded in a thread of its own (parquet-worker.ts), from which the rows come in slices: the event
 * loop keeps running, and a file that does not fit the memory ends in an error.
 */
import { Worker } from 'node:worker_threads';
import { DataError } from './jsonl.js';
import { openParquet, type ParquetGroup } from './parquet.js';
import { SLICE_ROWS } from './row-slices.js';
import type { SourceRow } from './rows.js';

export interface ParquetOptions {
  /** Only these columns, if they exist; default all. */
  columns?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
}

/** Files of at most this many bytes before compression are decoded at once. */
const SMALL_BYTES = 2 << 20;
/** Bytes of rows that the thread sends together. */
const MESSAGE_BYTES = 1 << 20;

/** The thread's `workerData`. */
export interface ThreadInput {
  path: string;
  name: string;
  columns: readonly string[] | undefined;
}
/** A message of the thread: rows, then either an error or the end. */
export type ThreadMessage =
  { values: Record<string, unknown>[] } | { error: string; isDataError: boolean } | { done: true };

/** The rows of `path`; `name` is used in error messages. @throws DataError */
export async function readParquet(
  path: string,
  name: string,
  { columns, signal }: ParquetOptions = {},
): Promise<SourceRow[]> {
  signal?.throwIfAborted();
  const rows: SourceRow[] = [];
  const add = (values: readonly Record<string, unknown>[]): void => {
    for (const value of values) rows.push({ value, where: `${name} row ${rows.length + 1}` });
  };
  const file = await openParquet(path, name);
  try {
    signal?.throwIfAborted(); // the thread listens to later aborts alone
    if (file.unpacked <= SMALL_BYTES)
      for await (const { values } of file.groups(columns)) add(values);
    else await inThread({ path, name, columns }, add, signal);
    return rows;
  } finally {
    await file.close();
  }
}

/** The rows of a group in slices of about `MESSAGE_BYTES`. */
export function* slicesOf({ values, bytes }: ParquetGroup): Generator<Record<string, unknown>[]> {
  const each = Math.floor((MESSAGE_BYTES * values.length) / Math.max(1, bytes));
  const size = Math.max(1, Math.min(SLICE_ROWS, each));
  for (let at = 0; at < values.length; at += size) yield values.slice(at, at + size);
}

/** The built worker, also where this module runs from its source, as in tests. */
const WORKER = new URL('../../dist/data/parquet-worker.js', import.meta.url);

async function inThread(
  input: ThreadInput,
  add: (values: Record<string, unknown>[]) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const worker = new Worker(WORKER, { workerData: input });
  let abort = (): void => {};
  try {
    await new Promise<void>((resolve, reject) => {
      abort = () => reject(signal!.reason as Error);
      signal?.addEventListener('abort', abort);
      worker.on('message', (message: ThreadMessage) => {
        if ('values' in message) add(message.values);
        else if ('done' in message) resolve();
        else reject(message.isDataError ? new DataError(message.error) : new Error(message.error));
      });
      worker.on('error', (cause: NodeJS.ErrnoException) =>
        reject(cause.code === 'ERR_WORKER_OUT_OF_MEMORY' ? tooLarge(input.name, cause) : cause),
      );
      worker.on('exit', () => reject(new Error(`the thread that read ${input.name} ended`)));
    });
  } finally {
    signal?.removeEventListener('abort', abort);
    await worker.terminate();
  }
}

const tooLarge = (name: string, cause: Error): DataError =>
  new DataError(
    `${name}: a row group does not fit the memory; write the file with smaller row groups, for ` +
      'example of 1000 rows',
    { cause },
  );
