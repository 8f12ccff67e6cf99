/**
 * A repository of the Hugging Face hub, of models or of data sets, and its place in the cache that
 * Python's huggingface_hub shares (models--org--name or datasets--org--name, with blobs, refs and
 * snapshots). A cut download goes on where it stopped, every file is hashed before it gets its
 * name. Environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE.
 */
import { readFile, rename, rm, statfs, symlink } from 'node:fs/promises';
import { dirname, join, posix, relative } from 'node:path';
import { exists, withLock, xdgCache, type Environment } from '../files/cache.js';
import { download, request, type Fetching } from './download.js';
import { explainDiskError, ModelError } from '../files/errors.js';
import { makeDirectory } from '../files/files.js';

export interface HubOptions {
  env?: Environment | undefined;
  signal?: AbortSignal | undefined;
  /** Give up when the hub has not answered the first question after this long; default 10 s. */
  timeoutMs?: number | undefined;
  onProgress?:
    | ((progress: {
        stage: 'download';
        file: string;
        received: number;
        total: number | null;
      }) => void)
    | undefined;
}

export interface Repository {
  kind: 'models' | 'datasets';
  /** `org/name`. */
  id: string;
}

export interface HubFile {
  name: string;
  /**
   * SHA-256 of an LFS file, or the git blob id (SHA-1) of a small one: also its name under blobs/.
   * Empty where the hub gives none.
   */
  oid: string;
  size: number;
}

export interface Listing {
  /** 40 hex digits: names exactly these files. */
  commit: string;
  files: HubFile[];
  licence?: string | undefined;
}

/**
 * `org/name` or `name`, with an optional `@revision` (branch, tag or commit; default main). Null if
 * it cannot be a hub id.
 */
export function parseHubId(name: string): { id: string; revision: string } | null {
  const match = /^((?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/.exec(name);
  if (!match || /\.\.|--|\.git$/.test(match[1] as string) || match[2]?.split('/').includes('..'))
    return null;
  return { id: match[1] as string, revision: match[2] ?? 'main' };
}

export function isOffline(env: Environment = process.env): boolean {
  return (
    /^(1|true|yes|on)$/i.test(env['HF_HUB_OFFLINE'] ?? '') ||
    /^(1|true|yes|on)$/i.test(env['TRANSFORMERS_OFFLINE'] ?? '')
  );
}

/**
 * The commit that `revision` was when it was last fetched, without asking the network; null if it
 * never was.
 */
export async function cachedCommit(
  repository: Repository,
  revision: string,
  env: Environment = process.env,
): Promise<string | null> {
  const commit = /^[0-9a-f]{40}$/.test(revision)
    ? revision
    : (
        await readFile(join(repositoryFolder(repository, env), 'refs', revision), 'utf8').catch(
          () => '',
        )
      ).trim();
  return /^[0-9a-f]{40}$/.test(commit) ? commit : null;
}

/** How the hub is asked about a revision. */
export async function fetchingOf(
  { kind, id }: Repository,
  revision: string,
  { env = process.env, signal }: HubOptions,
): Promise<Fetching> {
  const endpoint = (env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, '');
  return {
    endpoint,
    token: await readToken(env),
    what: `${kind === 'datasets' ? 'the data set ' : ''}${id}@${revision}`,
    signal,
  };
}

/** Asks the hub for the commit behind `revision` and its files. */
export async function listRepository(
  { kind, id }: Repository,
  revision: string,
  fetching: Fetching,
  timeoutMs = 10_000,
): Promise<Listing> {
  const path = `api/${kind}/${id}/revision/${encodeURIComponent(revision)}`;
  const url = `${fetching.endpoint}/${path}?blobs=true`;
  const response = await request(url, {}, fetching, timeoutMs);
  const info = (await response.json().catch(() => null)) as {
    sha?: unknown;
    siblings?: unknown;
    cardData?: { license?: unknown };
  } | null;
  if (
    typeof info?.sha !== 'string' ||
    !/^[0-9a-f]{40}$/.test(info.sha) ||
    !Array.isArray(info.siblings)
  ) {
    throw new ModelError(
      'ERR_NETWORK',
      `${fetching.endpoint} did not answer like a Hugging Face hub; check HF_ENDPOINT and ` +
        'the network (a sign-in page or proxy may be in between).',
    );
  }
  const files = (
    info.siblings as {
      rfilename: unknown;
      size?: number;
      blobId?: string;
      lfs?: { sha256?: string; size?: number };
    }[]
  ).map(({ rfilename, size, blobId, lfs }): HubFile => {
    refuseEscape(rfilename, fetching);
    return { name: rfilename, oid: lfs?.sha256 ?? blobId ?? '', size: lfs?.size ?? size ?? 0 };
  });
  return {
    commit: info.sha,
    files,
    licence: typeof info.cardData?.license === 'string' ? info.cardData.license : undefined,
  };
}

/** A file that cannot be verified is not fetched. @throws ModelError */
export function requireChecksum({ name, oid }: HubFile, { what }: Pick<Fetching, 'what'>): void {
  if (typeof oid === 'string' && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid)) return;
  throw new ModelError(
    'ERR_CHECKSUM',
    `The hub gives no checksum for ${name} of ${what}, so it cannot be verified; download ` +
      'it by other means and name the local files.',
  );
}

/**
 * Downloads what is missing of `files`; returns the snapshot folder. `finish` runs when all are
 * there, under the same lock.
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
  return withLock(
    lock,
    async () => {
      try {
        await checkDisk(folder, files, fetching);
        for (const file of files)
          await fetchFile(
            folder,
            commit,
            file,
            `${base}/${file.name.split('/').map(encodeURIComponent).join('/')}`,
            fetching,
            options,
          );
        const snapshot = join(folder, 'snapshots', commit);
        await finish(snapshot);
        return snapshot;
      } catch (error) {
        throw explainDiskError(error, folder);
      }
    },
    options.signal,
  );
}

/** Where a repository is kept in the cache. */
export function repositoryFolder(repository: Repository, env: Environment = process.env): string {
  return join(hubCache(env), folderName(repository));
}

function refuseEscape(name: unknown, fetching: Fetching): asserts name is string {
  if (
    typeof name !== 'string' ||
    name === '' ||
    posix.isAbsolute(name) ||
    /[\\\0]|^[A-Za-z]:/.test(name) ||
    name.split('/').some((part) => part === '..' || part === '.')
  ) {
    throw new ModelError(
      'ERR_UNSAFE_PATH',
      `${fetching.what} lists a file named ${JSON.stringify(name)}, which lies outside the ` +
        'repository; nothing was downloaded: do not use it.',
    );
  }
}

/** Brings one file to blobs/<oid> if it is not there, and links it into the snapshot. */
async function fetchFile(
  folder: string,
  commit: string,
  file: HubFile,
  url: string,
  fetching: Fetching,
  options: HubOptions,
): Promise<void> {
  const blob = join(folder, 'blobs', file.oid);
  if (!(await exists(blob))) {
    await makeDirectory(dirname(blob));
    await download(url, `${blob}.incomplete`, file, fetching, (received) =>
      options.onProgress?.({
        stage: 'download',
        file: file.name,
        received,
        total: file.size || null,
      }),
    );
    await rename(`${blob}.incomplete`, blob);
  }
  const link = join(folder, 'snapshots', commit, file.name);
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

async function readToken(env: Environment): Promise<string | null> {
  const direct = env['HF_TOKEN'] || env['HUGGING_FACE_HUB_TOKEN'];
  const token =
    direct ||
    (await readFile(env['HF_TOKEN_PATH'] || join(hfHome(env), 'token'), 'utf8').catch(() => ''));
  return token.trim() || null;
}

function hfHome(env: Environment): string {
  return env['HF_HOME'] || join(xdgCache(env), 'huggingface');
}

function hubCache(env: Environment): string {
  return env['HF_HUB_CACHE'] || join(hfHome(env), 'hub');
}

function folderName({ kind, id }: Repository): string {
  return `${kind}--${id.replaceAll('/', '--')}`;
}
