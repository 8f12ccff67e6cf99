/** One process per run directory. */
import { CreamError } from '../engine/errors.js';
import { holderOf, tryLock } from '../engine/lock.js';
import { RunError } from './errors.js';
import { readOwnText } from './own-files.js';

/**
 * Takes the lock at `path`; the returned function releases it. @throws RunError `ERR_RUN_LOCKED`
 * naming the holder, `ERR_DISK` if `path` is not a regular file or cannot be written
 */
export function takeLock(path: string): () => void {
  let release: (() => void) | null;
  try {
    release = tryLock(path);
  } catch (error) {
    if (!(error instanceof CreamError) || error.code !== 'ERR_IO') throw error;
    throw new RunError('ERR_DISK', error.message, { cause: error });
  }
  if (release === null)
    throw new RunError(
      'ERR_RUN_LOCKED',
      `The run directory is in use by ${holder(path)}: wait for it or stop it.`,
    );
  return release;
}

function holder(path: string): string {
  try {
    return holderOf(readOwnText(path, 'record'));
  } catch {
    return 'another process'; // which has released the lock meanwhile
  }
}
