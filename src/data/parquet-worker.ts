/** The thread that decodes one Parquet file and sends its rows (parquet-thread.ts). */
import { parentPort, workerData } from 'node:worker_threads';
import { DataError } from './jsonl.js';
import { openParquet } from './parquet.js';
import { slicesOf, type ThreadInput, type ThreadMessage } from './parquet-thread.js';

const send = (message: ThreadMessage): void => parentPort!.postMessage(message);

async function decode({ path, name, columns }: ThreadInput): Promise<void> {
  const file = await openParquet(path, name);
  try {
    for await (const group of file.groups(columns))
      for (const values of slicesOf(group)) send({ values });
  } finally {
    await file.close();
  }
}

await decode(workerData as ThreadInput).then(
  () => send({ done: true }),
  (error: unknown) =>
    send({ error: (error as Error).message, isDataError: error instanceof DataError }),
);
