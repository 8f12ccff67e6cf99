/**
 * Whether a file in the hub's cache still has the bytes that its name under blobs/ promises (its
 * SHA-256, or git's blob id). A checked file is noted (stamps.ts); one that Python fetched is
 * hashed at first use.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Environment } from '../files/cache.js';
import { isStamped, setStamp, type Stamp } from '../files/stamps.js';
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
  if (await isStamped(blob, stampOf(oid, env))) return true;
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
  await setStamp(real, stampOf(basename(real), env));
}

const stampOf = (digest: string, env: Environment): Stamp => ({ kind: 'verified', digest, env });
