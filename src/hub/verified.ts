/**
 * Whether a file in the hub's cache still has the bytes that its name under blobs/ promises (its
 * SHA-256, or git's blob id). Hashing gigabytes at every start would take too long: a checked file
 * is noted by size and times in our own cache, and hashed again only if one of them changed. A file
 * that Python fetched is hashed at first use.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { creamCache, type Environment } from '../files/cache.js';
import { writeToCache } from '../files/files.js';
import { readText } from '../files/read.js';
import { matches } from './download.js';
import type { HubProgress } from './listing.js';

/** `path` is a blob or a link in a snapshot. A file without a digest in its name is trusted. */
export async function isIntact(
  path: string,
  env: Environment,
  signal?: AbortSignal,
  onProgress?: (progress: HubProgress) => void,
): Promise<boolean> {
  const blob = await realpath(path).catch(() => null);
  if (blob === null) return false;
  const oid = basename(blob);
  const info = await stat(blob);
  if (!info.isFile()) return false;
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid) || basename(dirname(blob)) !== 'blobs')
    return true;
  const stamp = await stampOf(blob);
  if ((await readText(stampFile(oid, env), 'record').catch(() => '')) === stamp) return true;
  const { size } = info;
  onProgress?.({ stage: 'verify', file: basename(path), received: size, total: size });
  if (!(await matches(blob, { oid, size }, signal))) return false;
  await markIntact(blob, env);
  return true;
}

/**
 * Notes that `blob` has just been hashed. If the cache cannot be written, it is hashed each time.
 */
export async function markIntact(blob: string, env: Environment): Promise<void> {
  const real = await realpath(blob);
  await writeToCache(stampFile(basename(real), env), await stampOf(real)).catch(() => {});
}

const stampFile = (oid: string, env: Environment): string => join(creamCache(env), 'verified', oid);

async function stampOf(blob: string): Promise<string> {
  // A change of the content always sets ctime, which no program can set back.
  const { size, mtimeMs, ctimeMs } = await stat(blob);
  return `${JSON.stringify({ blob, size, mtimeMs, ctimeMs })}\n`;
}
