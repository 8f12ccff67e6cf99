/** The files of a revision of a repository, as listed by the hub's API. */
import { posix } from 'node:path';
import { z } from 'zod';
import type { Environment } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { parseJsonInSteps } from '../files/json-steps.js';
import { inTurns } from '../files/steps.js';
import { endpointOf, readToken } from './environment.js';
import {
  chunks,
  Cut,
  limitsOf,
  pause,
  request,
  Transient,
  type Fetching,
  type Limits,
} from './http.js';

export interface HubProgress {
  stage: 'download' | 'verify' | 'note';
  /** The file in question; for a note, a sentence for people. */
  file: string;
  /** Bytes so far, and in total if known. */
  received: number;
  total: number | null;
}

export interface HubOptions {
  env?: Environment | undefined;
  signal?: AbortSignal | undefined;
  /** Gives up if the hub has not answered the first request after this time; default 10 s. */
  timeoutMs?: number | undefined;
  onProgress?: ((progress: HubProgress) => void) | undefined;
  /** For tests. */
  limits?: Partial<Limits> | undefined;
}

export interface Repository {
  kind: 'models' | 'datasets';
  /** `org/name`. */
  id: string;
}

export interface HubFile {
  name: string;
  /**
   * SHA-256 of an LFS file, or the git blob id (SHA-1) of a small one; it is also the name under
   * blobs/. Empty if the hub gives none.
   */
  oid: string;
  /** Bytes; -1 if the hub does not say. */
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

/** The parameters of requests about a revision. */
export async function fetchingOf(
  { kind, id }: Repository,
  revision: string,
  { env = process.env, signal, limits }: HubOptions,
): Promise<Fetching> {
  return {
    endpoint: endpointOf(env),
    token: await readToken(env),
    what: `${kind === 'datasets' ? 'the data set ' : ''}${id}@${revision}`,
    env,
    limits: limitsOf(limits),
    signal,
  };
}

const MOST_FILES = 100_000;
const size = z.number().int().nonnegative();
const LISTING = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  cardData: z.object({ license: z.unknown() }).nullish().catch(null),
  siblings: z.array(
    z.object({
      rfilename: z.unknown(),
      size: size.nullish(),
      blobId: z.string().nullish(),
      lfs: z.object({ sha256: z.string().nullish(), size: size.nullish() }).nullish(),
    }),
  ),
});

/**
 * Asks the hub for the commit behind `revision` and its files. A temporary refusal (408, 429, 5xx)
 * is waited out; an unreachable host is not.
 */
export async function listRepository(
  repository: Repository,
  revision: string,
  fetching: Fetching,
  timeoutMs = 10_000,
): Promise<Listing> {
  const path = `api/${repository.kind}/${repository.id}/revision/${encodeURIComponent(revision)}`;
  for (let failures = 1; ; failures++) {
    try {
      const bytes = await readListing(
        `${fetching.endpoint}/${path}?blobs=true`,
        fetching,
        timeoutMs,
      );
      return await parseListing(bytes, fetching);
    } catch (error) {
      const passes = error instanceof Transient && error.status !== null;
      if (!passes || failures >= fetching.limits.attempts) throw error;
      await pause(failures, error, fetching);
    }
  }
}

/** The JSON of a listing, within the limits of time and size for one. */
async function readListing(url: string, fetching: Fetching, timeoutMs: number): Promise<Buffer> {
  const { listingMs, listingBytes } = fetching.limits;
  const total = AbortSignal.timeout(listingMs);
  const signal = fetching.signal ? AbortSignal.any([fetching.signal, total]) : total;
  const tooLong = (): ModelError =>
    new ModelError(
      'ERR_NETWORK',
      `The list of files of ${fetching.what} is longer than ${listingBytes} bytes, which no ` +
        'repository needs; check HF_ENDPOINT.',
    );
  try {
    const answer = await request(url, {}, { ...fetching, signal }, timeoutMs);
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks(answer, listingBytes, tooLong, { ...fetching, signal }))
      parts.push(chunk);
    return Buffer.concat(parts);
  } catch (error) {
    fetching.signal?.throwIfAborted();
    if (!total.aborted && error instanceof Cut)
      throw new ModelError(
        'ERR_NETWORK',
        `The list of files of ${fetching.what} did not arrive (${error.message}); check the ` +
          'network and HF_ENDPOINT, and run the command again.',
        { cause: error },
      );
    if (!total.aborted) throw error;
    throw new ModelError(
      'ERR_NETWORK',
      `The list of files of ${fetching.what} was not complete after ${listingMs / 1000} s; ` +
        'check the network and HF_ENDPOINT.',
    );
  }
}

async function parseListing(bytes: Buffer, fetching: Fetching): Promise<Listing> {
  const json = (await parseJson(bytes, fetching)) as { siblings?: unknown } | null;
  const count = Array.isArray(json?.siblings) ? json.siblings.length : 0;
  if (count > MOST_FILES)
    throw new ModelError(
      'ERR_NETWORK',
      `${fetching.what} lists ${count} files, and at most ${MOST_FILES} are read; name local ` +
        'files.',
    );
  const { success, data } = LISTING.safeParse(json);
  if (!success)
    throw new ModelError(
      'ERR_NETWORK',
      `${fetching.endpoint} did not answer like a Hugging Face hub; check HF_ENDPOINT and ` +
        'the network (a sign-in page or proxy may be in between).',
    );
  const files = data.siblings.map(({ rfilename, size, blobId, lfs }): HubFile => {
    refuseEscape(rfilename, fetching);
    return { name: rfilename, oid: lfs?.sha256 ?? blobId ?? '', size: lfs?.size ?? size ?? -1 };
  });
  const licence = data.cardData?.license;
  return { commit: data.sha, files, licence: typeof licence === 'string' ? licence : undefined };
}

async function parseJson(bytes: Buffer, { signal }: Fetching): Promise<unknown> {
  try {
    return await inTurns(parseJsonInSteps(bytes), signal);
  } catch {
    signal?.throwIfAborted();
    return null;
  }
}

/** A file that cannot be verified is not fetched. @throws ModelError */
export function requireChecksum(
  { name, oid, size }: HubFile,
  { what }: Pick<Fetching, 'what'>,
): void {
  const known = /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(oid);
  if (known && size >= 0) return;
  throw new ModelError(
    'ERR_CHECKSUM',
    `The hub gives no ${known ? 'size' : 'checksum'} for ${name} of ${what}, so it cannot be ` +
      'verified; download it by other means and name the local files.',
  );
}

/** Longest name that file systems take. */
const MOST_BYTES = 255;

function refuseEscape(name: unknown, fetching: Fetching): asserts name is string {
  if (
    typeof name !== 'string' ||
    name === '' ||
    posix.isAbsolute(name) ||
    /[\\\x00-\x1f\x7f]|^[A-Za-z]:/.test(name) ||
    name
      .split('/')
      .some((part) => ['', '.', '..'].includes(part) || Buffer.byteLength(part) > MOST_BYTES)
  ) {
    throw new ModelError(
      'ERR_UNSAFE_PATH',
      `${fetching.what} lists a file named ${JSON.stringify(name)?.slice(0, 100)}, which lies ` +
        'outside the repository or is no name of a file; nothing was downloaded: do not use it.',
    );
  }
}
