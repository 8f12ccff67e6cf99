/**
 * Files that are written completely or not at all, also after a crash; used for the cache and for
 * run directories alike.
 */
import { randomUUID } from 'node:crypto';
import { lstatSync, statSync } from 'node:fs';
import { lstat, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { explainWriteError } from './errors.js';

/** Whether `path` is a regular file or a link to one; a cycle of links is not. */
export function isFile(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') return false;
    throw error;
  }
}

/** Whether anything is at `path`, also a link to nothing. */
export const isThere = (path: string): boolean =>
  lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** Whether a file of this name was left half-written by a killed `writeAtomic`. */
export const isHalfWritten = (name: string): boolean => /\.tmp-[0-9a-f-]+$/.test(name);

/**
 * Writes `data` to `path` so that a reader, or a crash, sees the old file or the whole new one.
 * Folders are made. A link to a file stays a link; nothing that is not a regular file is replaced.
 */
export async function writeAtomic(name: string, data: string | Uint8Array): Promise<void> {
  const path = await replaceable(name);
  await makeDirectory(dirname(path));
  const temporary = `${path}.tmp-${randomUUID()}`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** The file to replace for `path`. @throws Error ENOTREG if it is not a regular file */
async function replaceable(path: string): Promise<string> {
  const found = await lstat(path).catch(() => null);
  // For a folder, rename reports the error itself.
  if (found === null || found.isFile() || found.isDirectory()) return path;
  if (found.isSymbolicLink() && isFile(path)) return realpath(path);
  throw Object.assign(new Error(`${path} is not a regular file`), { code: 'ENOTREG' });
}

/**
 * `writeAtomic` into the user's cache. @throws ModelError with one sentence if the disk is full or
 * not writable
 */
export async function writeToCache(path: string, data: string): Promise<void> {
  await writeAtomic(path, data).catch((error: unknown) => {
    throw explainWriteError(error, dirname(path));
  });
}

/**
 * Removes half-written files of killed writers in `folder` and below. Only allowed while no other
 * process writes there.
 */
export async function sweep(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && isHalfWritten(entry.name))
      await rm(join(entry.parentPath, entry.name), { force: true });
  }
}

/** A rename is durable once its folder is synced. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } catch (error) {
    // Some network file systems do not support this for folders.
    if (!['EINVAL', 'ENOTSUP', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? ''))
      throw error;
  } finally {
    await folder.close();
  }
}

/**
 * Makes a folder and its parents. Node's recursive mkdir is not used: on a file system that answers
 * ENOENT to every mkdir (/proc) it would try for ever.
 */
export async function makeDirectory(path: string): Promise<void> {
  const target = resolve(path);
  let error = await refusalToMake(target);
  if (error?.code === 'ENOENT' && dirname(target) !== target) {
    await makeDirectory(dirname(target));
    error = await refusalToMake(target); // another process may have made the parent meanwhile
  }
  // A read-only disk may answer EROFS or EACCES for an existing folder.
  if (error && !(await isFolder(target))) throw error;
}

const refusalToMake = (path: string): Promise<NodeJS.ErrnoException | undefined> =>
  mkdir(path).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
}
