/**
 * HTTP for the hub client, which trusts no server: redirects are followed by hand (the token goes
 * to the hub alone, never to the storage that it redirects to), and reading a body stops at a size
 * limit, on silence, on slowness and at a deadline. HTTPS_PROXY, HTTP_PROXY and NO_PROXY are
 * honoured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import type { Environment } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { withoutSecrets } from '../files/secrets.js';
import { proxiesOf } from './environment.js';

export interface Limits {
  /** Longest wait for the headers of an answer; a caller may ask for less. */
  headersMs: number;
  /** Longest silence within a body. */
  idleMs: number;
  /** A body that delivers fewer than `slowBytes` in `slowMs` counts as cut. */
  slowMs: number;
  slowBytes: number;
  /** Time for a whole listing, without retries. */
  listingMs: number;
  listingBytes: number;
  /** Time for a file, in addition to that of its size at `slowestBytesPerMs`. */
  fileMs: number;
  slowestBytesPerMs: number;
  /** Requests in a row without data before we give up. */
  attempts: number;
  /** First wait between two of them; doubles each time. */
  backoffMs: number;
  /** Longest Retry-After that we wait for; beyond it the user is asked to try again later. */
  retryAfterMs: number;
}

const LIMITS: Limits = {
  headersMs: 30_000,
  idleMs: 30_000,
  slowMs: 60_000,
  slowBytes: 60_000,
  listingMs: 60_000,
  listingBytes: 64 * 2 ** 20,
  fileMs: 600_000,
  slowestBytesPerMs: 50,
  attempts: 5,
  backoffMs: 200,
  retryAfterMs: 120_000,
};

export const limitsOf = (changed: Partial<Limits> = {}): Limits => ({ ...LIMITS, ...changed });

/** The parameters of requests about a revision of a repository. */
export interface Fetching {
  endpoint: string;
  token: string | null;
  /** `id@revision`, for messages. */
  what: string;
  env: Environment;
  limits: Limits;
  signal?: AbortSignal | undefined;
}

export interface Answer {
  status: number;
  header(name: string): string | null;
  body: Dispatcher.ResponseData['body'];
}

const MAX_REDIRECTS = 8;

/** A temporary failure: a cut connection (`status` null), or a response that says so. */
export class Transient extends ModelError {
  constructor(
    message: string,
    readonly status: number | null = null,
    readonly retryAfterMs = 0,
    options?: ErrorOptions,
  ) {
    super('ERR_NETWORK', message, options);
  }
}

/** A body that ended early or came too slowly. */
export class Cut extends Transient {}

/**
 * GET with redirects. Resolves for 2xx and 416; every other status and a silent host become a
 * ModelError.
 */
export async function request(
  url: string,
  headers: Record<string, string>,
  fetching: Fetching,
  timeoutMs: number,
): Promise<Answer> {
  let target = new URL(url);
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const answer = await ask(target, headers, fetching, timeoutMs);
    const location = answer.header('location');
    if (answer.status < 300 || answer.status >= 400 || location === null)
      return accept(answer, fetching, target);
    discard(answer);
    target = redirected(location, target, fetching);
  }
  throw new ModelError(
    'ERR_NETWORK',
    `The hub redirects ${fetching.what} more than ${MAX_REDIRECTS} times; check HF_ENDPOINT.`,
  );
}

function redirected(location: string, from: URL, { what }: Fetching): URL {
  const next = URL.canParse(location, from.href) ? new URL(location, from) : null;
  if (
    !next ||
    !/^https?:$/.test(next.protocol) ||
    (from.protocol === 'https:' && next.protocol === 'http:')
  )
    throw new ModelError(
      'ERR_NETWORK',
      `The hub redirects ${what} from ${from.protocol}// to ` +
        `${next ? `${next.protocol}//` : 'something that is not an address'}, which is not ` +
        'followed; check HF_ENDPOINT.',
    );
  next.username = next.password = '';
  return next;
}

async function ask(
  target: URL,
  headers: Record<string, string>,
  fetching: Fetching,
  timeoutMs: number,
): Promise<Answer> {
  const atHome = target.origin === new URL(fetching.endpoint).origin;
  // Only until the headers are there: a body has limits of its own.
  const own = new AbortController();
  const timer = setTimeout(
    () => own.abort(new Error(`no answer in ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  const signal = fetching.signal ? AbortSignal.any([fetching.signal, own.signal]) : own.signal;
  try {
    const { request: send } = await import('undici');
    const {
      statusCode,
      headers: found,
      body,
    } = await send(target, {
      dispatcher: await dispatcherFor(fetching.env),
      signal,
      bodyTimeout: fetching.limits.idleMs,
      headers: {
        'user-agent': 'cream-lm',
        'accept-encoding': 'identity',
        ...headers,
        ...(atHome && fetching.token ? { authorization: `Bearer ${fetching.token}` } : {}),
      },
    });
    body.on('error', () => {}); // a body that is not read to its end
    return { status: statusCode, body, header: (name) => [found[name] ?? null].flat()[0] ?? null };
  } catch (error) {
    fetching.signal?.throwIfAborted();
    throw new Transient(
      `${target.host} could not be reached for ${fetching.what} (${reason(error)}); check the ` +
        'network, HF_ENDPOINT and HTTPS_PROXY, or name local files.',
    );
  } finally {
    clearTimeout(timer);
  }
}

/** The reason of a failure, also for undici's errors, whose cause is more specific. */
function reason(error: unknown): string {
  const { message, cause } = error as Error;
  const said = (cause instanceof Error && cause.message) || message || String(error);
  return withoutSecrets(said.replace(/\s+/g, ' ').trim());
}

const dispatchers = new Map<string, Dispatcher>();
/**
 * The connection pool of the environment's proxies; idle connections keep no process alive.
 * @throws Error if a proxy is not an http or https address
 */
export async function dispatcherFor(env: Environment): Promise<Dispatcher> {
  const { http, https, not } = proxiesOf(env);
  const key = JSON.stringify([http, https, not]);
  const known = dispatchers.get(key);
  if (known) return known;
  for (const [name, proxy] of [
    ['HTTP_PROXY', http],
    ['HTTPS_PROXY', https],
  ] as const)
    if (proxy !== '' && !/^https?:/.test(URL.canParse(proxy) ? new URL(proxy).protocol : ''))
      throw new Error(`${name} is not an http or https address`);
  const { EnvHttpProxyAgent } = await import('undici');
  // Empty texts keep it from reading process.env if `env` differs.
  const made = new EnvHttpProxyAgent({ httpProxy: http, httpsProxy: https, noProxy: not });
  dispatchers.set(key, made);
  return made;
}

function accept(answer: Answer, fetching: Fetching, from: URL): Answer {
  const { status } = answer;
  const encoding = answer.header('content-encoding');
  if ((status >= 200 && status < 300) || status === 416) {
    if (encoding === null || /^identity$/i.test(encoding)) return answer;
    discard(answer);
    throw new ModelError(
      'ERR_NETWORK',
      `The answer for ${fetching.what} is packed (content-encoding ` +
        `${JSON.stringify(encoding.slice(0, 20))}) although that was not asked for; check ` +
        'HF_ENDPOINT and the proxy in between.',
    );
  }
  discard(answer);
  throw refusal(answer, fetching, from);
}

function refusal(
  answer: Answer,
  { what, token, endpoint, limits }: Fetching,
  from: URL,
): ModelError {
  const { status } = answer;
  // A link to the storage holds for a limited time; the next try asks the hub for a new one.
  if (status < 500 && ![408, 429].includes(status) && from.host !== new URL(endpoint).host)
    return new Transient(
      `${from.host}, to which the hub redirects ${what}, answered ${status}; try again later.`,
      status,
    );
  if (status === 401 || status === 403)
    return new ModelError(
      'ERR_GATED',
      token === null
        ? `The hub wants a token for ${what} (${status}): it does not exist, is private, or ` +
            'asks you to accept its licence; set HF_TOKEN to a token that may read it.'
        : `The hub refuses your token for ${what} (${status}): accept the licence on its ` +
            `page with the token's account, or set another HF_TOKEN.`,
    );
  if (status === 404)
    return new ModelError(
      'ERR_NOT_FOUND',
      `${what} was not found at ${endpoint} (404); check the name and the revision.`,
    );
  const wait = retryAfter(answer);
  if (wait > limits.retryAfterMs)
    return new ModelError(
      'ERR_NETWORK',
      `The hub answered ${status} for ${what} and asks to wait ${waitText(wait)}; run the ` +
        'command again after that.',
    );
  const answered = `The hub answered ${status} for ${what}`;
  return status >= 500 || status === 429 || status === 408
    ? new Transient(`${answered}; try again later.`, status, wait)
    : new ModelError(
        'ERR_NETWORK',
        `${answered}, which another try would not change; check the name and HF_ENDPOINT, or ` +
          'name local files.',
      );
}

/** Milliseconds of a Retry-After header, which is in seconds or a date; 0 for none. */
function retryAfter(answer: Answer): number {
  const header = answer.header('retry-after');
  if (header === null) return 0;
  // A date is one of the server's clock.
  const now = Date.parse(answer.header('date') ?? '') || Date.now();
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? 0 : Math.max(0, ms);
}

const DAY_MS = 86_400_000;
const waitText = (ms: number): string =>
  ms > 2 * DAY_MS ? 'for days' : `${Math.ceil(ms / 1000)} s`;

/** Waits before the next try: as long as the hub asked, or twice as long as the last time. */
export async function pause(failures: number, error: Transient, fetching: Fetching): Promise<void> {
  const backoff = Math.min(4000, fetching.limits.backoffMs * 2 ** (failures - 1));
  const { signal } = fetching;
  await sleep(Math.max(error.retryAfterMs, backoff), undefined, signal && { signal });
}

/**
 * The body in chunks, at most `maxBytes` in all. Silence and slowness count as a cut, which is
 * Transient. @throws the error of `excess` if the body is longer
 */
export async function* chunks(
  answer: Answer,
  maxBytes: number,
  excess: () => ModelError,
  fetching: Fetching,
): AsyncGenerator<Uint8Array> {
  const { slowMs, slowBytes, idleMs } = fetching.limits;
  let received = 0;
  let since = performance.now();
  let recent = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      received += chunk.length;
      if (received > maxBytes) throw excess();
      yield chunk;
      recent += chunk.length;
      if (performance.now() - since < slowMs) continue;
      if (recent < slowBytes)
        throw new Cut(`only ${recent} bytes were received in ${slowMs / 1000} s`);
      since = performance.now();
      recent = 0;
    }
  } catch (error) {
    fetching.signal?.throwIfAborted();
    if (error instanceof ModelError) throw error;
    const silent = (error as { code?: string }).code === 'UND_ERR_BODY_TIMEOUT';
    throw new Cut(
      silent
        ? `nothing was received in ${idleMs / 1000} s`
        : `the connection was cut: ${reason(error)}`,
    );
  } finally {
    discard(answer);
  }
}

/** Ends a response whose body is not needed, with its connection. */
export function discard(answer: Answer): void {
  answer.body.destroy();
}
