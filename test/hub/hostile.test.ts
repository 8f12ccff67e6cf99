/**
 * The hub client against servers that flood, send slowly, stall, lie about sizes and never stop.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Limits } from '../../src/hub/http.js';
import { fetchingOf, listRepository, type HubProgress } from '../../src/hub/listing.js';
import { fetchFiles } from '../../src/hub/repository.js';
import { COMMIT, cutAfter, standInHub, type StandIn } from './stand-in.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-hostile-');

const weights = randomBytes(3_000_000);
const oid = createHash('sha256').update(weights).digest('hex');
const repository = { kind: 'models', id: 'org/name' } as const;
const QUICK: Partial<Limits> = { backoffMs: 1 };

let hub: StandIn;
let env: Record<string, string>;
let blobs: string;
let notes: HubProgress[];
beforeEach(async () => {
  hub = await standInHub({ 'model.safetensors': weights, 'config.json': '{}' });
  const home = mkdtempSync(join(root, 'home-'));
  env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, CREAM_CACHE: join(home, 'cream') };
  blobs = join(home, 'hub/models--org--name/blobs');
  notes = [];
});
afterEach(() => hub.close());

type Handler = (url: URL, request: IncomingMessage, response: ServerResponse) => void;
const isListing = (url: URL): boolean => url.pathname.startsWith('/api/');
/** Answers listings (or files) by `handler`. */
function hostile(what: 'listing' | 'file', handler: Handler): void {
  hub.intercept = (url, request, response) => {
    if (isListing(url) !== (what === 'listing')) return false;
    handler(url, request, response);
    return true;
  };
}
const asked = (part: string): number => hub.log.filter((line) => line.includes(part)).length;

async function list(limits: Partial<Limits> = {}, from = env): ReturnType<typeof listRepository> {
  const fetching = await fetchingOf(repository, 'main', {
    env: from,
    limits: { ...QUICK, ...limits },
  });
  return listRepository(repository, 'main', fetching, limits.headersMs);
}

async function fetchModel(limits: Partial<Limits> = {}, from = env): Promise<string> {
  const options = {
    env: from,
    limits: { ...QUICK, ...limits },
    onProgress: (progress: HubProgress) => void notes.push(progress),
  };
  const fetching = await fetchingOf(repository, 'main', options);
  const listing = await listRepository(repository, 'main', fetching);
  const files = listing.files.filter(({ name }) => name === 'model.safetensors');
  return fetchFiles(repository, { ...listing, files }, fetching, options);
}
const isWhole = (): boolean => readFileSync(join(blobs, oid)).equals(weights);
const leftovers = (): string[] => (existsSync(blobs) ? readdirSync(blobs) : []);

/** Writes until the other side hangs up; `sent` counts. */
function flood(response: ServerResponse, chunk: Buffer, sent: { bytes: number }): void {
  const more = (): void => {
    while (!response.destroyed) {
      sent.bytes += chunk.length;
      if (!response.write(chunk)) return void response.once('drain', more);
    }
  };
  more();
}

/** One byte now and then. */
function trickle(response: ServerResponse, everyMs: number): void {
  response.writeHead(200);
  const timer = setInterval(() => response.write(' '), everyMs);
  response.on('close', () => clearInterval(timer));
}

describe('a listing', () => {
  it('without an end is cut off at the limit', async () => {
    const sent = { bytes: 0 };
    hostile('listing', (_, __, response) => flood(response, Buffer.alloc(65_536, 0x20), sent));
    await expect(list({ listingBytes: 1_000_000 })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: expect.stringMatching(/^The list of files of org\/name@main is longer than 1000000/),
    });
    expect(sent.bytes).toBeLessThan(30_000_000); // what fits the sockets' buffers, at most
  });

  it('that trickles, stalls or never begins ends by a time limit', async () => {
    hostile('listing', (_, __, response) => trickle(response, 20));
    await expect(list({ listingMs: 300 })).rejects.toThrow(/was not complete after 0.3 s; check/);
    hostile('listing', (_, __, response) => void response.writeHead(200).write('{'));
    await expect(list({ idleMs: 200 })).rejects.toThrow(/\(nothing was received in 0.2 s\)/);
    hostile('listing', () => {});
    await expect(list({ headersMs: 200 })).rejects.toThrow(/could not be reached .*no answer in 0/);
  });

  it('that is packed is refused, not unpacked', async () => {
    hostile('listing', (_, __, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(1e7))),
    );
    await expect(list()).rejects.toThrow(
      'The answer for org/name@main is packed (content-encoding "gzip") although that was not ' +
        'asked for; check HF_ENDPOINT and the proxy in between.',
    );
  });

  it.each([429, 503, 500, 408])('is asked for again after a passing %d', async (status) => {
    let left = 2;
    hub.intercept = (_, __, response) => {
      if (left-- <= 0) return false;
      response.writeHead(status, { 'retry-after': '0' }).end();
      return true;
    };
    expect((await list()).commit).toBe(COMMIT);
    expect(asked('/api/')).toBe(3);
  });

  it.each([300, 304, 400, 410, 451])('is not asked for again after %d', async (status) => {
    hostile('listing', (_, __, response) => response.writeHead(status).end());
    await expect(list()).rejects.toThrow(
      `The hub answered ${status} for org/name@main, which another try would not change; check`,
    );
    expect(asked('/api/')).toBe(1);
  });

  it('that switches to another protocol is told on one line', async () => {
    hostile('listing', (_, __, response) => response.writeHead(101).end());
    await expect(list()).rejects.toThrow(/^127\.0\.0\.1:\d+ could not be reached [^\n]+ files\.$/);
  });

  it('waits as Retry-After says, in seconds or as a date', async () => {
    for (const after of [() => '1', () => new Date(Date.now() + 2_000).toUTCString()]) {
      let first = true;
      hub.intercept = (_, __, response) => {
        if (!first) return false;
        first = false;
        response.writeHead(429, { 'retry-after': after() }).end();
        return true;
      };
      const before = performance.now();
      await list();
      expect(performance.now() - before).toBeGreaterThan(400);
    }
  });

  it('is given up after five refusals, and at once where the wait is long', async () => {
    hostile('listing', (_, __, response) => response.writeHead(429).end());
    await expect(list()).rejects.toThrow('The hub answered 429 for org/name@main; try again later');
    expect(asked('/api/')).toBe(5);
    hostile('listing', (_, __, response) =>
      response.writeHead(503, { 'retry-after': '3600' }).end(),
    );
    await expect(list()).rejects.toThrow(
      'The hub answered 503 for org/name@main and asks to wait 3600 s; run the command again',
    );
    expect(asked('/api/')).toBe(6);
  });

  it('that redirects in a circle, or to something else than http, is not followed', async () => {
    hostile('listing', (url, _, response) =>
      response.writeHead(302, { location: url.pathname }).end(),
    );
    await expect(list()).rejects.toThrow('redirects org/name@main more than 8 times');
    expect(asked('/api/')).toBe(9);
    for (const location of ['file:///etc/passwd', 'ftp://host/x', 'http://[']) {
      hostile('listing', (_, __, response) => response.writeHead(302, { location }).end());
      await expect(list()).rejects.toThrow(/^The hub redirects org\/name@main from http:\/\/ to /);
    }
  });

  it.each([
    '',
    'null',
    '{"sha": 5}',
    `{"sha": "${COMMIT}", "siblings": [null]}`,
    `{"sha": "${COMMIT}", "siblings": [{"rfilename": "a", "size": -1}]}`,
    `{"sha": "${COMMIT}", "siblings": [{"rfilename": "a", "lfs": 3}]}`,
    '['.repeat(100_000),
    '<html>sign in</html>',
    `{"sha": "${COMMIT}", "siblings": [${'{},'.repeat(6_000_000)}{}]}`,
  ])('that is none is refused: %#', async (body) => {
    hostile('listing', (_, __, response) => response.end(body));
    await expect(list()).rejects.toThrow(/did not answer like a Hugging Face hub; check/);
  });
});

describe('a file', () => {
  it('that goes on beyond its size is cut off there and not kept', async () => {
    const sent = { bytes: 0 };
    hostile('file', (_, __, response) => flood(response, randomBytes(65_536), sent));
    await expect(fetchModel()).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining(
        'model.safetensors of org/name@main is sent with more than 3000000 bytes, and the hub ' +
          'lists 3000000; nothing of it was kept',
      ),
    });
    expect(leftovers()).toEqual([]);
    expect(sent.bytes).toBeLessThan(33_000_000);
    expect(notes.every(({ received }) => received <= weights.length)).toBe(true);
  });

  it('of another size than listed is reported as that', async () => {
    hub.swapped.set('model.safetensors', Buffer.from('<html>sign in</html>'));
    await expect(fetchModel()).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining('is sent with 20 bytes, and the hub lists 3000000'),
    });
    expect(asked('model.safetensors')).toBe(1);
  });

  it('that is packed is refused', async () => {
    hostile('file', (_, __, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(1e7))),
    );
    await expect(fetchModel()).rejects.toThrow('is packed (content-encoding "gzip")');
    expect(leftovers()).toEqual([]);
  });

  it('whose part is answered from the start, or not at all, is given up', async () => {
    mkdirSync(blobs, { recursive: true });
    for (const status of [206, 416]) {
      writeFileSync(join(blobs, `${oid}.incomplete`), weights.subarray(0, 1000));
      hub.log.length = 0;
      hostile('file', (_, __, response) => {
        response.writeHead(status, { 'content-range': 'bytes 0-999/3000000' });
        response.write(weights.subarray(0, 1000), () => response.destroy());
      });
      await expect(fetchModel()).rejects.toMatchObject({
        code: 'ERR_NETWORK',
        message: expect.stringContaining('failed 5 times in a row'),
      });
      expect(asked('model.safetensors')).toBeLessThan(8);
    }
  });

  it('that comes a byte for each connection is given up', async () => {
    hostile('file', (_, request, response) => {
      const start = Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0);
      response.writeHead(start ? 206 : 200, {
        'content-range': `bytes ${start}-2999999/3000000`,
        'content-length': weights.length - start,
      });
      cutAfter(response, weights.subarray(start, start + 1), env['HF_HOME']!, start + 1);
    });
    await expect(fetchModel()).rejects.toThrow('failed 5 times in a row');
    expect(asked('model.safetensors')).toBe(5);
    expect(leftovers()).toEqual([`${oid}.incomplete`]); // and goes on there next time
  });

  it('that trickles, stalls or takes for ever is given up', async () => {
    hostile('file', (_, __, response) => trickle(response, 20));
    const slow = { attempts: 2, slowMs: 100, slowBytes: 1000 };
    await expect(fetchModel(slow)).rejects.toThrow(/only \d+ bytes were received in 0.1 s/);
    hostile('file', (_, __, response) => void response.writeHead(200).flushHeaders());
    await expect(fetchModel({ attempts: 2, idleMs: 100 })).rejects.toThrow(
      'failed 2 times in a row (nothing was received in 0.1 s); run the command again',
    );
    hostile('file', (_, __, response) => trickle(response, 20));
    await expect(fetchModel({ fileMs: 200, slowestBytesPerMs: 1e9 })).rejects.toThrow(
      'model.safetensors of org/name@main took too long (the connection is too slow)',
    );
  });

  it('is asked for again after 429 and 503, as often as a cut is allowed', async () => {
    let left = 3;
    hub.intercept = (url, _, response) => {
      if (isListing(url) || left-- <= 0) return false;
      response.writeHead(left % 2 ? 429 : 503, { 'retry-after': '0' }).end();
      return true;
    };
    await fetchModel();
    expect(isWhole()).toBe(true);
    rmSync(join(blobs, oid));
    hostile('file', (_, __, response) => response.writeHead(503).end());
    hub.log.length = 0;
    await expect(fetchModel()).rejects.toThrow(/failed 5 times in a row \(The hub answered 503/);
    expect(asked('model.safetensors')).toBe(5);
  });

  it('whose first part is of another file is fetched once more from the start', async () => {
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${oid}.incomplete`), randomBytes(1_000_000));
    await fetchModel();
    expect(isWhole()).toBe(true);
    expect(
      hub.log.filter((line) => line.includes('safetensors')).map((l) => l.split(' ')[2]),
    ).toEqual(['bytes=1000000-', '-']);
  });
});

describe('secrets', () => {
  it('the token stays with the hub on every kind of redirect', async () => {
    const other = await standInHub({ 'model.safetensors': weights });
    try {
      hub.intercept = (url, _, response) => {
        response.writeHead(307, { location: `${other.endpoint}${url.pathname}${url.search}` });
        response.end();
        return true;
      };
      await fetchModel({}, { ...env, HF_TOKEN: 'hf_topsecret' });
      expect(hub.log.every((line) => line.endsWith('Bearer hf_topsecret'))).toBe(true);
      expect(other.log.length).toBe(2);
      expect(other.log.every((line) => line.endsWith(' -'))).toBe(true);
    } finally {
      await other.close();
    }
  });

  it.each([
    ['HF_TOKEN', 'hf_top\nsecret', /^HF_TOKEN holds something that cannot be a token/],
    ['HF_TOKEN', 'hf_töpsecret', /^HF_TOKEN holds/],
    ['HF_ENDPOINT', 'https://me:topsecret@127.0.0.1:9', /^HF_ENDPOINT holds a user name or passw/],
    ['HF_ENDPOINT', 'topsecret', /^HF_ENDPOINT is not an http or https address/],
    ['http_proxy', 'http://me:topsecret@127.0.0.1:9', /could not be reached/],
    ['http_proxy', 'topsecret', /HTTP_PROXY is not an http or https address/],
  ])('%s = %j is never shown', async (name, value, message) => {
    const error = (await list({}, { ...env, [name]: value }).catch((e: unknown) => e)) as Error;
    expect(error.message).toMatch(message);
    expect(JSON.stringify([error.message, error.stack, error.cause])).not.toMatch(/secret/);
  });
});

describe('a proxy', () => {
  it('is used for what HTTP_PROXY says, and not for what NO_PROXY names', async () => {
    const tunnels: string[] = [];
    const proxy = createServer().on('connect', (request, socket: Socket) => {
      tunnels.push(`${request.url} ${request.headers['proxy-authorization'] ?? '-'}`);
      const to = connect(Number(new URL(hub.endpoint).port), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        to.pipe(socket).pipe(to);
      });
      for (const end of [to, socket]) end.on('error', () => {});
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = proxy.address() as AddressInfo;
      const through = { ...env, HTTP_PROXY: `http://me:word@127.0.0.1:${port}` };
      // A name that only the proxy knows.
      await list({}, { ...through, HF_ENDPOINT: 'http://hub.invalid' });
      expect(tunnels).toEqual([`hub.invalid:80 Basic ${btoa('me:word')}`]);
      await list({}, { ...through, NO_PROXY: '127.0.0.1' });
      expect(tunnels).toHaveLength(1);
    } finally {
      proxy.closeAllConnections();
      proxy.close();
    }
  });
});
