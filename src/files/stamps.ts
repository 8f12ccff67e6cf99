/**
 * Notes in the user's cache that a file was hashed and found whole. Hashing gigabytes at every
 * start would take too long, so a noted file is hashed again only if its size or one of its times
 * changed.
 */
import { realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { creamCache, type Environment } from './cache.js';
import { writeToCache } from './files.js';
import { readText } from './read.js';

/** `digest` names the note; `kind` is the folder of such notes in the cache. */
export interface Stamp {
  kind: 'verified' | 'recorded';
  digest: string;
  env?: Environment;
}

/** Whether `path` was noted under this digest and has not changed since. */
export async function isStamped(path: string, stamp: Stamp): Promise<boolean> {
  const noted = await readText(placeOf(stamp), 'record').catch(() => '');
  return noted !== '' && noted === (await textOf(path));
}

/** Notes `path`. If the cache cannot be written, the file is hashed each time. */
export async function setStamp(path: string, stamp: Stamp): Promise<void> {
  await writeToCache(placeOf(stamp), await textOf(path)).catch(() => {});
}

const placeOf = ({ kind, digest, env }: Stamp): string => join(creamCache(env), kind, digest);

async function textOf(path: string): Promise<string> {
  // A change of the content always sets ctime, which no program can set back.
  const { size, mtimeMs, ctimeMs } = await stat(path);
  return `${JSON.stringify({ blob: await realpath(path), size, mtimeMs, ctimeMs })}\n`;
}
