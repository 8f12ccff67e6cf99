/**
 * HTTP for the hub client: redirects followed by hand (a token goes to the hub alone, never to the
 * storage it redirects to), ranges to go on after a cut, and a digest over the whole file before it
 * counts as downloaded.
 */
import { createHash } from 'node:crypto';
import { open, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { hashInto } from '../files/cache.js';
import { ModelError } from '../files/errors.js';

export interface Fetching {
  endpoint: string;
  token: string | null;
  /** `id@revision`, for messages. */
  what: string;
  signal?: AbortSignal | undefined;
}

const ATTEMPTS = 5;
const MAX_REDIRECTS = 8;
const STALL_MS = 30_000;

/**
 * GET with redirects. Resolves for 2xx and 416; every other status and a silent host become a
 * ModelError.
 */
export async function request(
  url: string,
  headers: Record<string, string>,
  fetching: Fetching,
  timeoutMs: number,
): Promise<Response> {
  let target = new URL(url);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const response = await ask(target, headers, fetching, timeoutMs);
    const location = response.headers.get('location');
    if (response.status < 300 || response.status >= 400 || location === null)
      return refuse(response, fetching);
    await response.body?.cancel();
    const next = new URL(location, target);
    if (
      !/^https?:$/.test(next.protocol) ||
      (target.protocol === 'https:' && next.protocol === 'http:')
    ) {
      throw new ModelError(
        'ERR_NETWORK',
        `The hub redirects ${fetching.what} from ${target.protocol}// to ` +
          `${next.protocol}//, which is not followed; check HF_ENDPOINT.`,
      );
    }
    target = next;
  }
  throw new ModelError(
    'ERR_NETWORK',
    `The hub redirects ${fetching.what} more than ${MAX_REDIRECTS} times; check HF_ENDPOINT.`,
  );
}

async function ask(
  target: URL,
  headers: Record<string, string>,
  fetching: Fetching,
  timeoutMs: number,
): Promise<Response> {
  const atHome = target.origin === new URL(fetching.endpoint).origin;
  // only until the headers are there: a body may take as long as it flows
  const own = new AbortController();
  const timer = setTimeout(
    () => own.abort(new Error(`no answer in ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  const signal = fetching.signal ? AbortSignal.any([fetching.signal, own.signal]) : own.signal;
  try {
    return await fetch(target, {
      redirect: 'manual',
      signal,
      headers: {
        'user-agent': 'cream-lm',
        'accept-encoding': 'identity',
        ...headers,
        ...(atHome && fetching.token ? { authorization: `Bearer ${fetching.token}` } : {}),
      },
    });
  } catch (error) {
    fetching.signal?.throwIfAborted();
    const reason =
      ((error as Error).cause as Error | undefined)?.message ?? (error as Error).message;
    throw new ModelError(
      'ERR_NETWORK',
      `${target.host} could not be reached for ${fetching.what} (${reason}); check the ` +
        'network and HF_ENDPOINT (HTTPS_PROXY is not used), or name local files.',
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}

async function refuse(response: Response, { what, token, endpoint }: Fetching): Promise<Response> {
  const { status } = response;
  if (response.ok || status === 416) return response;
  await response.body?.cancel();
  if (status === 401 || status === 403) {
    throw new ModelError(
      'ERR_GATED',
      token === null
        ? `The hub wants a token for ${what} (${status}): it does not exist, is private, or ` +
            'asks you to accept its licence; set HF_TOKEN to a token that may read it.'
        : `The hub refuses your token for ${what} (${status}): accept the licence on its ` +
            `page with the token's account, or set another HF_TOKEN.`,
    );
  }
  if (status === 404)
    throw new ModelError(
      'ERR_NOT_FOUND',
      `${what} was not found at ${endpoint} (404); check the name and the revision.`,
    );
  throw Object.assign(
    new ModelError('ERR_NETWORK', `The hub answered ${status} for ${what}; try again later.`),
    { retry: status >= 500 || status === 429 || status === 408 },
  );
}

/**
 * Downloads `url` into `partial`, going on after what is already there, and checks size and digest.
 * `oid` is a SHA-256 (64 hex digits) or a git blob id (40). A cut connection is tried again up to 5
 * times; the partial file outlives a failure.
 */
export async function download(
  url: string,
  partial: string,
  file: { name: string; oid: string; size: number },
  fetching: Fetching,
  onProgress: (received: number) => void,
): Promise<void> {
  let failures = 0;
  for (;;) {
    const before = await sizeOf(partial);
    try {
      if (before < file.size || before === 0)
        await fetchRest(url, partial, before, fetching, onProgress);
      const size = await sizeOf(partial);
      if (file.size > 0 && size < file.size)
        throw new ModelError(
          'ERR_NETWORK',
          `The connection was cut ${size} of ${file.size} bytes into ${file.name}`,
        );
      break;
    } catch (error) {
      fetching.signal?.throwIfAborted();
      if (!isTransient(error)) throw error;
      failures = (await sizeOf(partial)) > before ? 1 : failures + 1; // progress resets the count
      if (failures >= ATTEMPTS) {
        throw new ModelError(
          'ERR_NETWORK',
          `The download of ${file.name} of ${fetching.what} was cut ${ATTEMPTS} times ` +
            `(${(error as Error).message}); run the command again: it goes on where it ` +
            'stopped.',
          { cause: error },
        );
      }
      await sleep(
        Math.min(4000, 200 * 2 ** failures),
        undefined,
        fetching.signal && { signal: fetching.signal },
      );
    }
  }
  await verify(partial, file, fetching);
}

function isTransient(error: unknown): boolean {
  const { code, retry } = error as { code?: string; retry?: boolean };
  if (error instanceof ModelError) return code === 'ERR_NETWORK' && retry !== false;
  return !['ENOSPC', 'EDQUOT', 'EACCES', 'EROFS', 'EIO'].includes(code ?? '');
}

async function fetchRest(
  url: string,
  partial: string,
  start: number,
  fetching: Fetching,
  onProgress: (received: number) => void,
): Promise<void> {
  const response = await request(
    url,
    start > 0 ? { range: `bytes=${start}-` } : {},
    fetching,
    STALL_MS,
  );
  const from =
    response.status === 206
      ? Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1] ?? -1)
      : 0;
  if (response.status === 416 || (response.status === 206 && from !== start)) {
    await response.body?.cancel();
    await rm(partial, { force: true }); // the part we hold does not belong to this file
    throw new ModelError('ERR_NETWORK', `The hub cannot continue at byte ${start}`);
  }
  // 200 to a range request: the server starts over, and so do we
  const output = await open(partial, from > 0 ? 'a' : 'w');
  let received = from;
  const reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader();
  try {
    for (;;) {
      const read = await withStallTimer(reader?.read(), () => reader?.cancel());
      if (read === undefined || read.done) break;
      await output.write(read.value);
      received += read.value.length;
      onProgress(received);
    }
    await output.sync();
  } finally {
    await reader?.cancel().catch(() => {});
    await output.close();
  }
}

/** A connection that is open but silent counts as cut. */
async function withStallTimer<T>(
  reading: Promise<T> | undefined,
  cancel: () => unknown,
): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      cancel();
      reject(new ModelError('ERR_NETWORK', `nothing received in ${STALL_MS / 1000} s`));
    }, STALL_MS);
  });
  return Promise.race([reading, stalled]).finally(() => clearTimeout(timer));
}

async function verify(
  partial: string,
  file: { name: string; oid: string; size: number },
  fetching: Fetching,
): Promise<void> {
  const size = await sizeOf(partial);
  const hash = createHash(file.oid.length === 64 ? 'sha256' : 'sha1');
  if (file.oid.length === 40) hash.update(`blob ${size}\0`); // git's blob id
  await hashInto(hash, partial, fetching.signal);
  const digest = hash.digest('hex');
  if (digest === file.oid && (file.size === 0 || size === file.size)) return;
  await rm(partial, { force: true });
  throw new ModelError(
    'ERR_CHECKSUM',
    `${file.name} of ${fetching.what} arrived with checksum ${digest}, expected ` +
      `${file.oid}; the damaged file was deleted: run the command again, and look at the ` +
      'proxy in between if it happens twice.',
  );
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (info) => info.size,
    () => 0,
  );
}
