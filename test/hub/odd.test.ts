/** The hub client where the storage, the listing, the cache folder or another process is odd. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import type { ServerResponse } from 'node:http';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { withLock } from '../../src/engine/lock.js';
import { fetchingOf, listRepository, type HubProgress } from '../../src/hub/listing.js';
import { damagedFiles, fetchFiles } from '../../src/hub/repository.js';
import { temporaryFolder } from '../support/folders.js';
import { COMMIT, cutAfter, standInHub, type StandIn } from './stand-in.js';

const root = temporaryFolder('cream-odd-');
const weights = randomBytes(3_000_000);
const oid = createHash('sha256').update(weights).digest('hex');
const repository = { kind: 'models', id: 'org/name' } as const;

let hub: StandIn;
let env: Record<string, string>;
let blobs: string;
let notes: string[];
beforeEach(async () => {
  hub = await standInHub({ 'model.safetensors': weights });
  const home = mkdtempSync(join(root, 'home-'));
  env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, CREAM_CACHE: join(home, 'cream') };
  blobs = join(home, 'hub/models--org--name/blobs');
  notes = [];
});
afterEach(() => hub.close());

const isListing = (url: URL): boolean => url.pathname.startsWith('/api/');

async function list(): ReturnType<typeof listRepository> {
  const fetching = await fetchingOf(repository, 'main', { env, limits: { backoffMs: 1 } });
  return listRepository(repository, 'main', fetching);
}
async function fetchModel(): Promise<string> {
  const options = {
    env,
    limits: { backoffMs: 1 },
    onProgress: ({ stage, file }: HubProgress) => void (stage === 'note' && notes.push(file)),
  };
  const fetching = await fetchingOf(repository, 'main', options);
  const listing = await listRepository(repository, 'main', fetching);
  return fetchFiles(repository, listing, fetching, options);
}
const isWhole = (): boolean => readFileSync(join(blobs, oid)).equals(weights);
const asked = (): number => hub.log.filter((line) => line.includes('model.safetensors')).length;

describe('the storage that the hub redirects to', () => {
  it('may refuse a link once, and is then not taken for a model without access', async () => {
    const storage = await standInHub({ 'model.safetensors': weights });
    try {
      hub.storage = storage.endpoint;
      let left = 1;
      storage.intercept = (_, __, response) => left-- > 0 && !!response.writeHead(403).end();
      await fetchModel();
      expect(isWhole()).toBe(true);
      rmSync(join(blobs, oid));
      storage.intercept = (_, __, response) => !!response.writeHead(404).end();
      await expect(fetchModel()).rejects.toMatchObject({
        code: 'ERR_NETWORK',
        message: expect.stringMatching(/failed 5 times in a row \(127\.0\.0\.1:\d+, to which the/),
      });
    } finally {
      await storage.close();
    }
  });

  it('may change the file between two answers: it is fetched once more as a whole', async () => {
    const before = randomBytes(weights.length);
    let first = true;
    hub.intercept = (url, _, response) => {
      if (isListing(url) || !first) return false;
      first = false;
      response.writeHead(200, { 'content-length': before.length });
      cutAfter(response, before.subarray(0, 1_500_000), env['HF_HOME']!, 1_500_000);
      return true;
    };
    await fetchModel();
    expect(isWhole()).toBe(true);
  });
});

describe('Retry-After', () => {
  /** Answers the first request with 429 and these headers. */
  function once(headers: Record<string, string>): void {
    let first = true;
    hub.intercept = (_, __, response: ServerResponse) => {
      if (!first) return false;
      first = false;
      response.sendDate = false;
      response.writeHead(429, headers).end();
      return true;
    };
  }

  it('as a date is one of the clock of the hub, which may be wrong', async () => {
    const early = (ms: number) => new Date(1_000_000_000_000 + ms).toUTCString();
    once({ date: early(0), 'retry-after': early(1000) });
    const began = performance.now();
    expect((await list()).commit).toBe(COMMIT);
    expect(performance.now() - began).toBeGreaterThan(900);
    once({ date: early(0), 'retry-after': early(3_600_000) });
    await expect(list()).rejects.toThrow('asks to wait 3600 s; run the command again after that');
  });

  it.each([
    ['9'.repeat(400), 'asks to wait for days'],
    ['Fri, 31 Dec 9999 23:59:59 GMT', 'asks to wait for days'],
  ])('of %s is not waited for', async (after, message) => {
    once({ 'retry-after': after });
    await expect(list()).rejects.toThrow(message);
  });

  it.each(['', 'soon', '-5', 'NaN'])('of %j is as none', async (after) => {
    once({ 'retry-after': after });
    expect((await list()).commit).toBe(COMMIT);
  });
});

describe('a listing', () => {
  it('with more files than a model or data set has is refused', async () => {
    hub.intercept = (_, __, response) => {
      const siblings = Array.from({ length: 100_001 }, (___, i) => ({
        rfilename: `${i}`,
        size: 1,
      }));
      return !!response.end(JSON.stringify({ sha: COMMIT, siblings }));
    };
    await expect(list()).rejects.toThrow('org/name@main lists 100001 files, and at most 100000');
  });

  it.each(['a//b', 'a/', '/a', `${'x'.repeat(300)}.json`, '..', 'a/../b', 'a\\b', 'C:x', 'a\0b'])(
    'with a file named %j is refused',
    async (name) => {
      hub.extraNames = [name];
      await expect(list()).rejects.toMatchObject({ code: 'ERR_UNSAFE_PATH' });
    },
  );

  it('that is cut is told as that, with what to do', async () => {
    hub.intercept = (_, __, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      return response.write('{', () => response.destroy());
    };
    await expect(list()).rejects.toThrow(
      /^The list of files of org\/name@main did not arrive \(the connection was cut.*again\.$/,
    );
  });
});

describe('the cache folder', () => {
  it.each<[string, (path: string) => void]>([
    ['a folder', (path) => mkdirSync(join(path, 'x'), { recursive: true })],
    ['a pipe', (path) => spawnSync('mkfifo', [path])],
    ['a link to nothing', (path) => symlinkSync('nothing', path)],
    ['a longer file', (path) => writeFileSync(path, Buffer.alloc(4_000_000))],
  ])('may hold %s in place of a partial file', async (_, make) => {
    mkdirSync(blobs, { recursive: true });
    make(join(blobs, `${oid}.incomplete`));
    await fetchModel();
    expect([isWhole(), readdirSync(blobs)]).toEqual([true, [oid]]);
  });

  it('is filled once by two that fetch at the same time', async () => {
    await Promise.all([fetchModel(), fetchModel()]);
    expect([isWhole(), asked()]).toEqual([true, 1]);
  });

  it.each<[string, (path: string) => void]>([
    ['a folder', (path) => mkdirSync(path)],
    ['a pipe', (path) => spawnSync('mkfifo', [path])],
    ['a link to nothing', (path) => symlinkSync('nothing', path)],
  ])('with %s as its lock is refused, not waited for', async (_, make) => {
    const lock = join(env['HF_HOME']!, 'hub/.locks/models--org--name/cream-lm.lock');
    mkdirSync(dirname(lock), { recursive: true });
    make(lock);
    await expect(fetchModel()).rejects.toMatchObject({
      code: 'ERR_LOCKED',
      message: `${lock} is not a regular file, so it cannot be locked; remove it.`,
    });
  });

  it.each<[string, (path: string) => void]>([
    ['a gigabyte', (path) => (writeFileSync(path, ''), truncateSync(path, 2 ** 30))],
    ['null', (path) => writeFileSync(path, 'null')],
    ['nothing', (path) => writeFileSync(path, '')],
    ['a process of another host', (path) => writeFileSync(path, '{"pid":1,"host":"elsewhere"}')],
  ])('is locked at once where the lock of an ended process holds %s', async (_, make) => {
    const lock = join(env['HF_HOME']!, 'lock');
    make(lock);
    expect(await withLock(lock, () => Promise.resolve('held'))).toBe('held');
    expect(readdirSync(env['HF_HOME']!)).toEqual([]);
  });

  it('tells that it waits for another process', async () => {
    const lock = join(env['HF_HOME']!, 'lock');
    let release = (): void => {};
    let first = Promise.resolve();
    await new Promise<void>((held) => {
      first = withLock(lock, () => {
        held();
        return new Promise<void>((resolve) => (release = resolve));
      });
    });
    let second = Promise.resolve();
    const told = await new Promise<string>((resolve) => {
      second = withLock(lock, () => Promise.resolve(), undefined, resolve);
    });
    expect(told).toBe(
      `Waiting for process ${process.pid}, which holds ${lock} and fetches the same.`,
    );
    release();
    await Promise.all([first, second]);
  });
});

describe('a cached file', () => {
  it('that was damaged is reported and fetched again', async () => {
    const snapshot = await fetchModel();
    expect(await damagedFiles(snapshot, ['model.safetensors'], { env })).toEqual([]);
    const bytes = Buffer.from(weights);
    bytes[1_234_567]! ^= 1;
    writeFileSync(join(blobs, oid), bytes);
    expect(await damagedFiles(snapshot, ['model.safetensors'], { env })).toEqual([
      join(snapshot, 'model.safetensors'),
    ]);
    notes = [];
    await fetchModel();
    expect(isWhole()).toBe(true);
    expect(notes).toEqual([
      `model.safetensors of org/name@main was damaged in the cache (${join(blobs, oid)}); it is ` +
        'fetched again.',
    ]);
  });

  it('is hashed once, and again only where it changed', async () => {
    const snapshot = await fetchModel();
    const hashed: string[] = [];
    const check = () =>
      damagedFiles(snapshot, ['model.safetensors'], {
        env,
        onProgress: ({ stage, file }) => void hashed.push(`${stage} ${file}`),
      });
    await check();
    expect(hashed).toEqual([]);
    rmSync(join(env['CREAM_CACHE']!, 'verified'), { recursive: true }); // as Python leaves it
    await check();
    await check();
    expect(hashed).toEqual(['verify model.safetensors']);
    writeFileSync(join(blobs, oid), weights.subarray(1));
    expect(await check()).toHaveLength(1);
  });
});
