/** The user's cache: its place, and SHA-256 by streaming. */
import { createHash, type Hash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { openRegular } from './read.js';

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
