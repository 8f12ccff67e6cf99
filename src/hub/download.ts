/**
 * Downloads one file of the hub in as many connections as it takes, resumes after each cut, and
 * checks size and digest before the file counts as complete.
 */
import { createHash } from 'node:crypto';
import { lstat, open, rm, stat } from 'node:fs/promises';
import { hashInto } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { chunks, discard, pause, request, Transient, type Answer, type Fetching } from './http.js';
import type { HubFile } from './listing.js';

/** A connection that delivered this much does not count as a failed attempt. */
const ENOUGH_BYTES = 2 ** 20;

/** One file to download. */
export interface Download {
  url: string;
  /** The file that collects the bytes. */
  partial: string;
  file: HubFile;
  fetching: Fetching;
  /** Called with the bytes that `partial` has. */
  onProgress: (received: number) => void;
}

/**
 * Downloads `url` into `partial`, resumes after the bytes that are already there, and checks size
 * and digest. A cut connection is tried again; the partial file is kept after a failure. If the
 * partial file of an earlier command turns out to belong to another file, it is fetched once more
 * from the start.
 */
export async function download(wanted: Download, again = true): Promise<void> {
  const { partial, file, fetching } = wanted;
  await clearOdd(partial, file.size);
  const resumed = (await sizeOf(partial)) > 0;
  const answers = await fetchAll(wanted);
  if (await matches(partial, file, fetching.signal)) return;
  await rm(partial, { force: true });
  // The file may have changed between two answers.
  if (again && (resumed || answers > 1)) return download(wanted, false);
  throw new ModelError(
    'ERR_CHECKSUM',
    `${file.name} of ${fetching.what} arrived with another checksum than the hub lists ` +
      `(${file.oid}); the damaged file was deleted: run the command again, and check the proxy ` +
      'in between if it happens twice.',
  );
}

/** Removes a partial file that is too long, or that is no file. */
async function clearOdd(partial: string, size: number): Promise<void> {
  const info = await lstat(partial).catch(() => null);
  if (info !== null && (!info.isFile() || info.size > size))
    await rm(partial, { recursive: true, force: true });
}

/** Returns the number of answers that brought data. */
async function fetchAll(wanted: Download): Promise<number> {
  const { partial, file, fetching } = wanted;
  const { limits } = fetching;
  const deadline = performance.now() + limits.fileMs + file.size / limits.slowestBytesPerMs;
  let best = await sizeOf(partial);
  let answers = 1;
  for (let failures = 0; ;) {
    try {
      await fetchRest(wanted, deadline);
      return answers;
    } catch (error) {
      fetching.signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      const size = await sizeOf(partial);
      if (size > 0) answers++;
      failures = size >= best + ENOUGH_BYTES ? 1 : failures + 1;
      best = Math.max(best, size);
      const late = performance.now() > deadline;
      if (failures >= limits.attempts || late) throw givenUp(file, fetching, late, error);
      await pause(failures, error, fetching);
    }
  }
}

function givenUp(
  { name }: HubFile,
  { what, limits }: Fetching,
  late: boolean,
  error: Transient,
): ModelError {
  return new ModelError(
    'ERR_NETWORK',
    `The download of ${name} of ${what} ` +
      (late ? 'took too long' : `failed ${limits.attempts} times in a row`) +
      ` (${error.message.replace(/\.$/, '')}); run the command again: it resumes where it stopped.`,
    { cause: error },
  );
}

/** Appends the missing rest of the file to `partial`. @throws Transient if more is to come */
async function fetchRest(
  { url, partial, file, fetching, onProgress }: Download,
  deadline: number,
): Promise<void> {
  const start = await sizeOf(partial);
  if (start === file.size && (start > 0 || (await exists(partial)))) return;
  const range: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {};
  const answer = await request(url, range, fetching, fetching.limits.headersMs);
  const from = await startOf(answer, start, partial);
  checkAnnounced(answer, file, from, fetching);
  const tooLong = (): ModelError => wrongSize(file, `more than ${file.size} bytes`, fetching);
  // 200 to a range request: the server starts over, and so do we
  const output = await open(partial, from > 0 ? 'a' : 'w');
  let received = from;
  try {
    for await (const chunk of chunks(answer, file.size - from, tooLong, fetching)) {
      await output.writeFile(chunk);
      received += chunk.length;
      onProgress(received);
      if (performance.now() > deadline) throw new Transient('the connection is too slow');
    }
    await output.sync();
  } catch (error) {
    if (!(error instanceof Transient) && error instanceof ModelError)
      await rm(partial, { force: true });
    throw error;
  } finally {
    await output.close();
  }
  if (received < file.size)
    throw new Transient(`the connection was cut ${received} of ${file.size} bytes into the file`);
}

/**
 * The position at which the response begins: the requested one, or 0 for a server without ranges.
 */
async function startOf(answer: Answer, start: number, partial: string): Promise<number> {
  if (answer.status !== 206 && answer.status !== 416) return 0;
  const range = /^bytes (\d+)-/.exec(answer.header('content-range') ?? '');
  if (answer.status === 206 && range && Number(range[1]) === start) return start;
  discard(answer);
  await rm(partial, { force: true }); // the part we hold does not belong to this file
  throw new Transient(`the server cannot continue at byte ${start}`);
}

/** A length that contradicts the listing is reported before anything is read. */
function checkAnnounced(answer: Answer, file: HubFile, from: number, fetching: Fetching): void {
  const length = answer.header('content-length');
  if (length === null || Number(length) === file.size - from) return;
  discard(answer);
  throw wrongSize(file, `${from + Number(length)} bytes`, fetching);
}

function wrongSize({ name, size }: HubFile, found: string, { what }: Fetching): ModelError {
  return new ModelError(
    'ERR_CHECKSUM',
    `${name} of ${what} is sent with ${found}, and the hub lists ${size}; nothing of it was ` +
      'kept: check the network (a sign-in page or proxy may be in between) and HF_ENDPOINT.',
  );
}

/** Whether a file on disk is the one that the hub lists, by size and digest. */
export async function matches(
  path: string,
  { oid, size }: Pick<HubFile, 'oid' | 'size'>,
  signal?: AbortSignal,
): Promise<boolean> {
  if ((await sizeOf(path)) !== size) return false;
  const hash = createHash(oid.length === 64 ? 'sha256' : 'sha1');
  if (oid.length === 40) hash.update(`blob ${size}\0`); // git's blob id
  await hashInto(hash, path, signal);
  return hash.digest('hex') === oid;
}

const exists = async (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (info) => info.size,
    () => 0,
  );
}
