/**
 * Locks between processes. The operating system holds them (flock) and releases them with the
 * process, however it ends, so no lock is ever stale; its file names the holder for messages only.
 */
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { explainWriteError, ModelError } from '../files/errors.js';
import { makeDirectory } from '../files/files.js';
import { readText } from '../files/read.js';
import { lockFile } from './addon.js';
import { CreamError } from './errors.js';

/** A wait that is longer is told. */
const SHORT_WAIT_MS = 1_000;
/** A wait looks again this often. */
const LOOK_MS = 100;

/**
 * Takes the lock at `path`; returns the function that releases it, or null if another holder has
 * it. @throws CreamError `ERR_IO` if `path` is not a regular file or cannot be written
 */
export function tryLock(path: string): (() => void) | null {
  const unlock = lockFile(path, JSON.stringify({ pid: process.pid, host: hostname() }));
  if (unlock === null) return null;
  const release = (): void => {
    if (taken.delete(release)) unlock();
  };
  taken.add(release);
  return release;
}

/** The releases of the locks that this process has. */
const taken = new Set<() => void>();

/** Releases all locks of this process, which is about to end. */
export function releaseLocks(): void {
  for (const release of taken) release();
}

/** The holder that `contents`, the text of a lock's file, names; it is not trusted. */
export function holderOf(contents: string): string {
  try {
    const holder = JSON.parse(contents) as { pid?: unknown; host?: unknown } | null;
    if (typeof holder?.pid === 'number')
      return holder.host === hostname() || typeof holder.host !== 'string'
        ? `process ${holder.pid}`
        : `process ${holder.pid} on ${holder.host}`;
  } catch {
    // The holder has just created the file, or another program filled it.
  }
  return 'another process';
}

/**
 * Runs `work` while this call alone holds `path` in the user's cache. Waits as long as another
 * holder lives; `signal` ends the wait, `onWait` is called once if it takes longer than a second.
 * @throws ModelError if the cache cannot be locked
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  signal?: AbortSignal,
  onWait?: (sentence: string) => void,
): Promise<T> {
  await makeDirectory(dirname(path)).catch((error: unknown) => {
    throw explainWriteError(error, dirname(path));
  });
  const release = await waitFor(path, signal, onWait);
  try {
    return await work();
  } finally {
    release();
  }
}

async function waitFor(
  path: string,
  signal: AbortSignal | undefined,
  onWait: ((sentence: string) => void) | undefined,
): Promise<() => void> {
  const began = performance.now();
  for (let told = false; ;) {
    const release = tryLockInCache(path);
    if (release) return release;
    await sleep(LOOK_MS, undefined, signal && { signal });
    if (told || performance.now() - began < SHORT_WAIT_MS) continue;
    told = true;
    const holder = holderOf(await readText(path, 'record').catch(() => ''));
    onWait?.(`Waiting for ${holder}, which holds ${path} and fetches the same.`);
  }
}

function tryLockInCache(path: string): (() => void) | null {
  try {
    return tryLock(path);
  } catch (error) {
    if (!(error instanceof CreamError) || error.code === 'ERR_ADDON') throw error;
    throw new ModelError('ERR_LOCKED', error.message, { cause: error });
  }
}
