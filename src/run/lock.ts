/**
 * One process per run directory. The operating system releases the lock with the process, however
 * it ends, so no lock is ever stale; the file holds pid and host for the message only.
 */
import { hostname } from 'node:os';
import { lockFile } from '../engine/addon.js';
import { CreamError } from '../engine/errors.js';
import { RunError } from './errors.js';
import { readOwnText } from './own-files.js';

/**
 * Takes the lock at `path`; the returned function releases it. @throws RunError `ERR_RUN_LOCKED`
 * naming the holder, `ERR_DISK` if `path` is not a regular file or cannot be written
 */
export function takeLock(path: string): () => void {
  let release: (() => void) | null;
  try {
    release = lockFile(path, JSON.stringify({ pid: process.pid, host: hostname() }));
  } catch (error) {
    if (!(error instanceof CreamError) || error.code !== 'ERR_IO') throw error;
    throw new RunError('ERR_DISK', error.message, { cause: error });
  }
  if (release === null)
    throw new RunError(
      'ERR_RUN_LOCKED',
      `The run directory is in use by ${holderOf(path)}: wait for it or stop it.`,
    );
  return release;
}

/** The holder as described in the file, whose content is not trusted. */
function holderOf(path: string): string {
  try {
    const holder = JSON.parse(readOwnText(path, 'record')) as {
      pid?: unknown;
      host?: unknown;
    } | null;
    if (typeof holder?.pid === 'number')
      return holder.host === hostname() || typeof holder.host !== 'string'
        ? `process ${holder.pid}`
        : `process ${holder.pid} on ${holder.host}`;
  } catch {
    // The holder has just created the file, or another program filled it.
  }
  return 'another process';
}
