/**
 * The user's cache: its place, a lock between the processes that write to it, and SHA-256 by
 * streaming.
 */
import { createHash, randomUUID, type Hash } from 'node:crypto';
import { lstat, open, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { explainWriteError, ModelError } from './errors.js';
import { makeDirectory } from './files.js';
import { openRegular, readText } from './read.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The folder of our own cache: CREAM_CACHE, else XDG_CACHE_HOME/cream-lm, else ~/.cache/cream-lm.
 */
export function creamCache(env: Environment = process.env): string {
  return env['CREAM_CACHE'] || join(xdgCache(env), 'cream-lm');
}

/** The cache folder of the user: XDG_CACHE_HOME, else ~/.cache. */
export function xdgCache(env: Environment): string {
  return env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache');
}

/** Whether `path` exists and can be looked up; a dangling link does not. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Feeds a file to `hash` in chunks; returns the number of bytes. */
export async function hashInto(hash: Hash, path: string, signal?: AbortSignal): Promise<number> {
  let bytes = 0;
  const file = await openRegular(path);
  for await (const chunk of file.createReadStream({
    highWaterMark: 1 << 20,
    ...(signal && { signal }),
  })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return bytes;
}

/** SHA-256 of a file, in hex. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await hashInto(hash, path, signal);
  return hash.digest('hex');
}

const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
const LONGEST_LOCK = 1000;
/** A wait that is longer is told. */
const SHORT_WAIT_MS = 1_000;

/**
 * Runs `work` while this process alone holds `path`. A holder touches its lock every 5 s; a lock
 * whose process has ended (same machine) or that has not been touched for a minute is taken over.
 * Waits as long as the holder lives; `signal` aborts the wait, `onWait` is called once if it takes
 * longer than a second.
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
  const owner = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() });
  const began = performance.now();
  for (let told = false; !(await tryLock(path, owner));) {
    await removeStaleLock(path);
    await sleep(100, undefined, signal && { signal });
    if (told || performance.now() - began < SHORT_WAIT_MS) continue;
    told = true;
    onWait?.(`Waiting for another process, which holds ${path} and fetches the same.`);
  }
  const heartbeat = setInterval(
    () => void utimes(path, new Date(), new Date()).catch(() => {}),
    HEARTBEAT_MS,
  );
  heartbeat.unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    if ((await readText(path, 'record').catch(() => '')) === owner) await rm(path, { force: true });
  }
}

async function tryLock(path: string, owner: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(owner).finally(() => file.close());
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    throw explainWriteError(error, dirname(path));
  }
}

async function removeStaleLock(path: string): Promise<void> {
  const info = await lstat(path).catch(() => null);
  if (info === null) return; // released meanwhile
  if (!info.isFile())
    throw new ModelError(
      'ERR_LOCKED',
      `${path} is not a regular file, so it cannot serve as a lock; remove it.`,
    );
  // A lock of ours has some hundred bytes; any other content is judged by its age.
  const text = info.size > LONGEST_LOCK ? '' : await readText(path, 'record').catch(() => '');
  const age = Date.now() - info.mtimeMs;
  let dead = age > STALE_MS;
  try {
    const { pid, host } = JSON.parse(text) as { pid: number; host: string };
    dead ||= host === hostname() && !isAlive(pid);
  } catch {
    dead ||= age > HEARTBEAT_MS; // killed between creating the file and writing its owner
  }
  if (!dead) return;
  // Renaming decides between several waiters: only one gets the stale file, and it can then check
  // that it was stale.
  const aside = `${path}.${randomUUID()}.stale`;
  await rename(path, aside).catch(() => {});
  if (text !== '' && (await readText(aside, 'record').catch(() => text)) !== text)
    await rename(aside, path).catch(() => {});
  await rm(aside, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
