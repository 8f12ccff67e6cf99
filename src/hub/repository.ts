/**
 * A repository of the Hugging Face hub, of models or of data sets, and its place in the cache that
 * Python's huggingface_hub shares (models--org--name or datasets--org--name, with blobs, refs and
 * snapshots). A cut download resumes where it stopped, every file is hashed before it gets its
 * name, and a cached file that has changed since then is fetched again.
 */
import { rename, rm, statfs, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { withLock } from '../engine/lock.js';
import { exists, type Environment } from '../files/cache.js';
import { explainDiskError, ModelError } from '../files/errors.js';
import { makeDirectory } from '../files/files.js';
import { readText } from '../files/read.js';
import { download } from './download.js';
import { hubCache } from './environment.js';
import type { Fetching } from './http.js';
import {
  requireChecksum,
  type HubFile,
  type HubOptions,
  type Listing,
  type Repository,
} from './listing.js';
import { isIntact, markIntact } from './verified.js';

/**
 * The commit of `revision` when it was last fetched, without asking the network; null if it was
 * never fetched.
 */
export async function cachedCommit(
  repository: Repository,
  revision: string,
  env: Environment = process.env,
): Promise<string | null> {
  const ref = join(repositoryFolder(repository, env), 'refs', revision);
  const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);
  const commit = isCommit(revision)
    ? revision
    : (await readText(ref, 'record').catch(() => '')).trim();
  return isCommit(commit) ? commit : null;
}

/**
 * The files of a snapshot that no longer match the hub's listing; files that were checked before
 * and have not changed since are trusted.
 */
export async function damagedFiles(
  snapshot: string,
  names: readonly string[],
  { env = process.env, signal, onProgress }: HubOptions,
): Promise<string[]> {
  const damaged: string[] = [];
  for (const name of names) {
    const path = join(snapshot, name);
    if (!(await isIntact(path, env, signal, onProgress))) damaged.push(path);
  }
  return damaged;
}

/**
 * Downloads the missing ones of `files`; returns the snapshot folder. `finish` runs under the same
 * lock when all are there.
 */
export async function fetchFiles(
  repository: Repository,
  { commit, files }: Listing,
  fetching: Fetching,
  options: HubOptions,
  finish: (snapshot: string) => Promise<void> = async () => {},
): Promise<string> {
  const env = options.env ?? process.env;
  const folder = repositoryFolder(repository, env);
  const { kind, id } = repository;
  for (const file of files) requireChecksum(file, fetching);
  const lock = join(hubCache(env), '.locks', folderName(repository), 'cream-lm.lock');
  const home = `${fetching.endpoint}/${kind === 'datasets' ? 'datasets/' : ''}${id}`;
  const base = `${home}/resolve/${commit}`;
  const snapshot = join(folder, 'snapshots', commit);
  return withLock(
    lock,
    async () => {
      try {
        await removeDamaged(folder, files, fetching, options);
        await checkDisk(folder, files, fetching);
        for (const file of files)
          await fetchFile(file, { folder, snapshot, base, fetching, options });
        await finish(snapshot);
        return snapshot;
      } catch (error) {
        throw explainDiskError(error, folder);
      }
    },
    options.signal,
    (sentence) => options.onProgress?.({ stage: 'note', file: sentence, received: 0, total: null }),
  );
}

/** The cache folder of a repository. */
export function repositoryFolder(repository: Repository, env: Environment = process.env): string {
  return join(hubCache(env), folderName(repository));
}

/** Removes cached files that do not match the hub's listing, and reports them. */
async function removeDamaged(
  folder: string,
  files: readonly HubFile[],
  { what, env, signal }: Fetching,
  { onProgress }: HubOptions,
): Promise<void> {
  for (const { oid, name } of files) {
    const blob = join(folder, 'blobs', oid);
    if (!(await exists(blob)) || (await isIntact(blob, env, signal, onProgress))) continue;
    await rm(blob, { recursive: true, force: true });
    const note = `${name} of ${what} was damaged in the cache (${blob}); it is fetched again.`;
    onProgress?.({ stage: 'note', file: note, received: 0, total: null });
  }
}

interface Place {
  /** The repository's folder in the cache. */
  folder: string;
  snapshot: string;
  /** The URL of the files' folder. */
  base: string;
  fetching: Fetching;
  options: HubOptions;
}

/** Downloads one file to blobs/<oid> if it is missing, and links it into the snapshot. */
async function fetchFile(
  file: HubFile,
  { folder, snapshot, base, fetching, options }: Place,
): Promise<void> {
  const blob = join(folder, 'blobs', file.oid);
  if (!(await exists(blob))) {
    await makeDirectory(dirname(blob));
    await download({
      url: `${base}/${file.name.split('/').map(encodeURIComponent).join('/')}`,
      partial: `${blob}.incomplete`,
      file,
      fetching,
      onProgress: (received) =>
        options.onProgress?.({ stage: 'download', file: file.name, received, total: file.size }),
    });
    await rename(`${blob}.incomplete`, blob);
    await markIntact(blob, fetching.env);
  }
  const link = join(snapshot, file.name);
  if (await exists(link)) return;
  await makeDirectory(dirname(link));
  await rm(link, { force: true }); // a dangling link of an earlier, cleaned cache
  await symlink(relative(dirname(link), blob), link);
}

async function checkDisk(folder: string, files: HubFile[], { what }: Fetching): Promise<void> {
  await makeDirectory(folder);
  let needed = 0;
  for (const file of files)
    if (!(await exists(join(folder, 'blobs', file.oid)))) needed += file.size;
  const { bavail, bsize } = await statfs(folder);
  if (needed > bavail * bsize) {
    throw new ModelError(
      'ERR_DISK_FULL',
      `${what} needs ${(needed / 1e9).toFixed(2)} GB in ${folder}, and ` +
        `${((bavail * bsize) / 1e9).toFixed(2)} GB are free; free some space or point ` +
        'HF_HOME at another disk.',
    );
  }
}

function folderName({ kind, id }: Repository): string {
  return `${kind}--${id.replaceAll('/', '--')}`;
}
