/**
 * A small Hugging Face hub client: brings one model's files into the cache layout that Python's huggingface_hub shares
 * (models--org--name/{blobs,refs,snapshots}). A cut download goes on where it stopped, every file is hashed before it gets
 * its name, and only what the engine reads is fetched. Environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE.
 */
import { mkdir, readFile, rename, rm, statfs, symlink } from 'node:fs/promises';
import { dirname, join, posix, relative } from 'node:path';
import { exists, withLock, writeAtomic, xdgCache, type Environment } from './cache.js';
import { download, request, type Fetching } from './download.js';
import { explainDiskError, ModelError } from './errors.js';
import { checkLocalModel } from './local.js';

export interface HubOptions {
  env?: Environment | undefined;
  signal?: AbortSignal | undefined;
  /** Give up when the hub has not answered the first question after this long; default 10 s. */
  timeoutMs?: number | undefined;
  onProgress?: ((progress: { stage: 'download'; file: string; received: number; total: number | null }) => void) | undefined;
}

export interface HubModel {
  /** The snapshot folder. */
  path: string;
  /** The commit, 40 hex digits: names exactly these files. */
  commit: string;
  licence?: string | undefined;
}

interface HubFile {
  name: string;
  /** SHA-256 of an LFS file, or the git blob id (SHA-1) of a small one: also its name under blobs/. */
  oid: string;
  size: number;
}

const WANTED = /^(config\.json|generation_config\.json|model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|chat_template\.(jinja|json))$/;

export function isOffline(env: Environment = process.env): boolean {
  return /^(1|true|yes|on)$/i.test(env['HF_HUB_OFFLINE'] ?? '') || /^(1|true|yes|on)$/i.test(env['TRANSFORMERS_OFFLINE'] ?? '');
}

/** `org/name` or `name`, with an optional `@revision` (branch, tag or commit; default main). Null if it cannot be a hub id. */
export function parseHubId(name: string): { id: string; revision: string } | null {
  const match = /^((?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/.exec(name);
  if (!match || /\.\.|--|\.git$/.test(match[1] as string) || match[2]?.split('/').includes('..')) return null;
  return { id: match[1] as string, revision: match[2] ?? 'main' };
}

/** The complete cached snapshot of `id` at `revision`, without asking the network; null if there is none. */
export async function cachedHubModel(id: string, revision: string, env: Environment = process.env): Promise<HubModel | null> {
  const folder = repositoryFolder(id, env);
  const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : (await readFile(join(folder, 'refs', revision), 'utf8').catch(() => '')).trim();
  if (!/^[0-9a-f]{40}$/.test(commit)) return null;
  const path = join(folder, 'snapshots', commit);
  return checkLocalModel(path).then(() => ({ path, commit }), () => null);
}

/** Downloads what is missing of `id` at `revision` and returns its snapshot folder. */
export async function fetchHubModel(id: string, revision: string, options: HubOptions = {}): Promise<HubModel> {
  const env = options.env ?? process.env;
  const fetching: Fetching = { endpoint: (env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, ''), token: await readToken(env), what: `${id}@${revision}`, signal: options.signal };
  const { commit, files, licence } = await listFiles(id, revision, fetching, options.timeoutMs ?? 10_000);
  const folder = repositoryFolder(id, env);
  const lock = join(hubCache(env), '.locks', folderName(id), 'cream-lm.lock');
  return withLock(lock, async () => {
    try {
      await checkDisk(folder, files);
      for (const file of files) await fetchFile(folder, commit, file, `${fetching.endpoint}/${id}/resolve/${commit}/${file.name}`, fetching, options);
      const path = await checkLocalModel(join(folder, 'snapshots', commit));
      if (revision !== commit) await writeAtomic(join(folder, 'refs', revision), commit); // last: a ref means a whole snapshot
      return { path, commit, licence };
    } catch (error) {
      throw explainDiskError(error, folder);
    }
  }, options.signal);
}

/** Asks the hub for the commit behind `revision` and the files we want of it. */
async function listFiles(id: string, revision: string, fetching: Fetching, timeoutMs: number): Promise<{ commit: string; files: HubFile[]; licence?: string | undefined }> {
  const url = `${fetching.endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await request(url, {}, fetching, timeoutMs);
  const info = (await response.json().catch(() => null)) as { sha?: unknown; siblings?: unknown; cardData?: { license?: unknown } } | null;
  if (typeof info?.sha !== 'string' || !/^[0-9a-f]{40}$/.test(info.sha) || !Array.isArray(info.siblings)) {
    throw new ModelError('ERR_NETWORK', `${fetching.endpoint} did not answer like a Hugging Face hub; check HF_ENDPOINT and the network (a sign-in page or proxy may be in between).`);
  }
  const files: HubFile[] = [];
  for (const { rfilename, size, blobId, lfs } of info.siblings as { rfilename: unknown; size?: number; blobId?: string; lfs?: { sha256?: string; size?: number } }[]) {
    refuseEscape(rfilename, fetching);
    if (!WANTED.test(rfilename)) continue;
    const oid = lfs?.sha256 ?? blobId;
    if (typeof oid !== 'string' || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid)) {
      throw new ModelError('ERR_CHECKSUM', `The hub gives no checksum for ${rfilename} of ${fetching.what}, so it cannot be verified; download the model by other means and name its folder.`);
    }
    files.push({ name: rfilename, oid, size: lfs?.size ?? size ?? 0 });
  }
  if (!files.some((file) => file.name.endsWith('.safetensors'))) {
    throw new ModelError('ERR_INCOMPLETE_MODEL', `${fetching.what} has no model.safetensors on the hub; only safetensors weights are read: choose another revision, or convert the model and name its folder.`);
  }
  // A repository may hold the weights whole and in shards: whole is enough.
  const whole = files.some((file) => file.name === 'model.safetensors');
  return {
    commit: info.sha,
    files: files.filter((file) => !whole || !/^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/.test(file.name)).sort((a, b) => a.size - b.size),
    licence: typeof info.cardData?.license === 'string' ? info.cardData.license : undefined,
  };
}

function refuseEscape(name: unknown, fetching: Fetching): asserts name is string {
  if (typeof name !== 'string' || name === '' || posix.isAbsolute(name) || /[\\\0]|^[A-Za-z]:/.test(name) || name.split('/').some((part) => part === '..' || part === '.')) {
    throw new ModelError('ERR_UNSAFE_PATH', `${fetching.what} lists a file named ${JSON.stringify(name)}, which lies outside the repository; nothing was downloaded: do not use this model.`);
  }
}

/** Brings one file to blobs/<oid> if it is not there, and links it into the snapshot. */
async function fetchFile(folder: string, commit: string, file: HubFile, url: string, fetching: Fetching, options: HubOptions): Promise<void> {
  const blob = join(folder, 'blobs', file.oid);
  if (!(await exists(blob))) {
    await mkdir(dirname(blob), { recursive: true });
    await download(url, `${blob}.incomplete`, file, fetching, (received) => options.onProgress?.({ stage: 'download', file: file.name, received, total: file.size || null }));
    await rename(`${blob}.incomplete`, blob);
  }
  const link = join(folder, 'snapshots', commit, file.name);
  if (await exists(link)) return;
  await mkdir(dirname(link), { recursive: true });
  await rm(link, { force: true }); // a dangling link of an earlier, cleaned cache
  await symlink(relative(dirname(link), blob), link);
}

async function checkDisk(folder: string, files: HubFile[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  let needed = 0;
  for (const file of files) if (!(await exists(join(folder, 'blobs', file.oid)))) needed += file.size;
  const { bavail, bsize } = await statfs(folder);
  if (needed > bavail * bsize) {
    throw new ModelError('ERR_DISK_FULL', `The model needs ${(needed / 1e9).toFixed(2)} GB in ${folder}, and ${((bavail * bsize) / 1e9).toFixed(2)} GB are free; free some space or point HF_HOME at another disk.`);
  }
}

async function readToken(env: Environment): Promise<string | null> {
  const direct = env['HF_TOKEN'] || env['HUGGING_FACE_HUB_TOKEN'];
  const token = direct || (await readFile(env['HF_TOKEN_PATH'] || join(hfHome(env), 'token'), 'utf8').catch(() => ''));
  return token.trim() || null;
}

function hfHome(env: Environment): string {
  return env['HF_HOME'] || join(xdgCache(env), 'huggingface');
}

function hubCache(env: Environment): string {
  return env['HF_HUB_CACHE'] || join(hfHome(env), 'hub');
}

function folderName(id: string): string {
  return `models--${id.replaceAll('/', '--')}`;
}

function repositoryFolder(id: string, env: Environment): string {
  return join(hubCache(env), folderName(id));
}
