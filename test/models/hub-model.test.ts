import { createHash, randomBytes } from 'node:crypto';
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { parseHubId } from '../../src/hub/listing.js';
import { cachedHubModel, fetchHubModel } from '../../src/models/hub-model.js';
import { resolveModel } from '../../src/models/resolve.js';
import { COMMIT, standInHub, type StandIn } from '../hub/stand-in.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-hub-');

const weights = randomBytes(300_000);
const sha256 = createHash('sha256').update(weights).digest('hex');
const model = {
  'config.json': '{"model_type": "llama"}',
  'tokenizer.json': '{"model": {"vocab": {}}}',
  'tokenizer_config.json': '{}',
  'model.safetensors': weights,
  'pytorch_model.bin': 'pickle',
  'README.md': '# hi',
  'original/consolidated.00.pth': 'x',
  'onnx/model.onnx': 'x',
  'model-00001-of-00002.safetensors': 'a shard of the same',
  '.gitattributes': 'x',
};

let hub: StandIn;
let env: Record<string, string>;
let repository: string;
beforeEach(async () => {
  hub = await standInHub(model);
  const home = mkdtempSync(join(root, 'home-'));
  env = {
    HF_ENDPOINT: hub.endpoint,
    HF_HOME: home,
    HOME: home,
    CREAM_CACHE: join(home, 'cream'),
    PATH: process.env['PATH'] ?? '',
  };
  hub.home = home;
  repository = join(home, 'hub', 'models--org--name');
});
afterEach(() => hub.close());

const fetch = (options = {}): ReturnType<typeof fetchHubModel> =>
  fetchHubModel('org/name', 'main', { env, ...options });
const fileRequests = (): string[] => hub.log.filter((line) => line.includes('model.safetensors'));

describe('a download from the hub', () => {
  it('brings only the needed files, in the layout that huggingface_hub shares', async () => {
    const progress: { file: string; received: number; total: number | null }[] = [];
    const { path, commit, licence } = await fetch({
      onProgress: (p: (typeof progress)[0]) => progress.push(p),
    });
    expect({ commit, licence, path }).toEqual({
      commit: COMMIT,
      licence: 'apache-2.0',
      path: join(repository, 'snapshots', COMMIT),
    });
    expect(readdirSync(path).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(readFileSync(join(repository, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(lstatSync(join(path, 'model.safetensors')).isSymbolicLink()).toBe(true);
    expect(readlinkSync(join(path, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256));
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(progress.at(-1)).toEqual({
      stage: 'download',
      file: 'model.safetensors',
      received: weights.length,
      total: weights.length,
    });
    const cached = await cachedHubModel('org/name', 'main', { env });
    expect(cached?.path).toBe(path);
    const before = hub.log.length;
    expect(await resolveModel('org/name', { env })).toEqual({
      path,
      name: 'org/name',
      source: 'cache',
      digest: `hub:${COMMIT}`,
    });
    expect(hub.log.length).toBe(before); // a cached model needs no network
  });

  it('goes on after cut connections with a range request, and across runs', async () => {
    hub.cuts = [100_000, 50_000];
    await fetch();
    expect(fileRequests().map((line) => line.split(' ')[2])).toEqual([
      '-',
      expect.stringMatching(/^bytes=\d+-$/),
      expect.stringMatching(/^bytes=\d+-$/),
    ]);
    expect(readFileSync(join(repository, 'blobs', sha256)).equals(weights)).toBe(true);
    rmSync(join(repository, 'blobs', sha256));
    // what a killed run left
    writeFileSync(join(repository, 'blobs', `${sha256}.incomplete`), weights.subarray(0, 123_456));
    await fetch();
    expect(fileRequests().at(-1)).toContain('bytes=123456-');
    expect(readFileSync(join(repository, 'blobs', sha256)).equals(weights)).toBe(true);
  });

  it('starts over where the server knows no ranges, or the part is too long', async () => {
    mkdirSync(join(repository, 'blobs'), { recursive: true });
    writeFileSync(join(repository, 'blobs', `${sha256}.incomplete`), 'not the beginning of it');
    hub.ignoreRanges = true;
    await fetch();
    expect(readFileSync(join(repository, 'blobs', sha256)).equals(weights)).toBe(true);
    rmSync(join(repository, 'blobs', sha256));
    hub.ignoreRanges = false;
    writeFileSync(join(repository, 'blobs', `${sha256}.incomplete`), randomBytes(400_000));
    await fetch();
    expect(readFileSync(join(repository, 'blobs', sha256)).equals(weights)).toBe(true);
  });

  it('refuses bytes that are not the promised ones, and leaves none behind', async () => {
    const other = Buffer.from(weights);
    other[150_000]! ^= 1;
    hub.swapped.set('model.safetensors', other);
    await expect(fetch()).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining(
        'model.safetensors of org/name@main arrived with another checksum',
      ),
    });
    hub.swapped.set('config.json', Buffer.from('{"model_type": "evil!"}'));
    rmSync(repository, { recursive: true });
    await expect(fetch()).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining('config.json'),
    }); // small files by their git blob id
    expect(readdirSync(join(repository, 'blobs'))).toEqual(expect.not.arrayContaining([sha256]));
    expect(await cachedHubModel('org/name', 'main', { env })).toBeNull();
  });

  it('gives up on a connection that is cut again and again, and keeps what came', async () => {
    hub.cuts = [1000, 0, 0, 0, 0, 0, 0, 0];
    await expect(fetch()).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: expect.stringContaining('run the command again: it resumes where it stopped'),
    });
    expect(readdirSync(join(repository, 'blobs'))).toContain(`${sha256}.incomplete`);
    expect(readdirSync(join(repository, 'snapshots', COMMIT))).not.toContain('model.safetensors');
  });

  it('sends the token to the hub alone, not to the storage it redirects to', async () => {
    const storage = await standInHub(model);
    hub.storage = storage.endpoint;
    hub.token = 'hf_secret';
    try {
      await fetch({ env: { ...env, HF_TOKEN: 'hf_secret' } });
      expect(hub.log.every((line) => line.endsWith('Bearer hf_secret'))).toBe(true);
      expect(storage.log.length).toBeGreaterThan(0);
      expect(storage.log.every((line) => line.endsWith(' -'))).toBe(true);
    } finally {
      await storage.close();
    }
  });

  it('finds the token in HF_TOKEN_PATH and HF_HOME, and follows a renamed repository', async () => {
    hub.token = 'hf_file';
    writeFileSync(join(env['HF_HOME'] as string, 'token'), 'hf_file\n');
    await fetchHubModel('old/name', 'main', { env });
    writeFileSync(join(root, 'elsewhere'), 'wrong');
    await expect(
      fetch({ env: { ...env, HF_TOKEN_PATH: join(root, 'elsewhere') } }),
    ).rejects.toMatchObject({
      code: 'ERR_GATED',
      message: expect.stringContaining('refuses your token'),
    });
  });

  it.each([
    [401, 'ERR_GATED', 'wants a token for org/name@main (401)'],
    [403, 'ERR_GATED', 'set HF_TOKEN'],
    [404, 'ERR_NOT_FOUND', 'org/name@main was not found'],
    [500, 'ERR_NETWORK', 'answered 500'],
  ])('explains status %d', async (status, code, message) => {
    hub.status = status;
    await expect(fetch()).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it.each(['../../evil.json', '/etc/passwd', 'a/../../b', 'C:\\x', 'a\\..\\b', ''])(
    'refuses a repository that lists %j',
    async (name) => {
      hub.extraNames = [name];
      await expect(fetch()).rejects.toMatchObject({ code: 'ERR_UNSAFE_PATH' });
      expect(fileRequests()).toEqual([]);
    },
  );

  it('refuses repositories without safetensors, and answers that are not a hub’s', async () => {
    hub.files.delete('model.safetensors');
    hub.files.delete('model-00001-of-00002.safetensors');
    await expect(fetch()).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
      message: expect.stringContaining('has no model.safetensors on the hub'),
    });
    await expect(
      fetch({ env: { ...env, HF_ENDPOINT: `${hub.endpoint}/storage` } }),
    ).rejects.toMatchObject({ code: expect.stringMatching(/ERR_N/) });
  });

  it('takes every shard where there is no single file, and reports a missing one', async () => {
    hub.files.delete('model.safetensors');
    hub.files.set('model-00002-of-00002.safetensors', Buffer.from('second'));
    hub.files.set(
      'model.safetensors.index.json',
      Buffer.from(
        JSON.stringify({
          weight_map: {
            a: 'model-00001-of-00002.safetensors',
            b: 'model-00002-of-00002.safetensors',
          },
        }),
      ),
    );
    const { path } = await fetch();
    expect(readdirSync(path).filter((name) => name.includes('model'))).toEqual([
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
    hub.files.delete('model-00002-of-00002.safetensors');
    rmSync(repository, { recursive: true });
    await expect(fetch()).rejects.toMatchObject({
      code: 'ERR_INCOMPLETE_MODEL',
      message: expect.stringContaining('1 of 2 weight files are missing'),
    });
  });

  it('is refused at once on a hub that does not answer, and stops when aborted', async () => {
    await expect(
      fetch({ env: { ...env, HF_ENDPOINT: 'http://127.0.0.1:9' } }),
    ).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: expect.stringContaining('could not be reached'),
    });
    const abort = new AbortController();
    await expect(
      fetch({ signal: abort.signal, onProgress: () => abort.abort() }),
    ).rejects.toMatchObject({ name: 'AbortError' });
    expect(await cachedHubModel('org/name', 'main', { env })).toBeNull();
    await fetch();
  });

  it('downloads once when several processes want the same model', async () => {
    const module = JSON.stringify(new URL('../../dist/models/hub-model.js', import.meta.url));
    const script =
      `const { fetchHubModel } = await import(${module}); ` +
      `console.log((await fetchHubModel('org/name', 'main')).path);`;
    const runs = await Promise.all(
      [1, 2, 3].map(() =>
        promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env }),
      ),
    );
    expect(new Set(runs.map(({ stdout }) => realpathSync(stdout.trim()))).size).toBe(1);
    expect(fileRequests().length).toBe(1);
    expect(
      readdirSync(join(env['HF_HOME'] as string, 'hub', '.locks', 'models--org--name')),
    ).toEqual([]);
  });

  it('takes over the lock of a process that died', async () => {
    const locks = join(env['HF_HOME'] as string, 'hub', '.locks', 'models--org--name');
    mkdirSync(locks, { recursive: true });
    writeFileSync(
      join(locks, 'cream-lm.lock'),
      JSON.stringify({ pid: 2 ** 22 + 1, host: (await import('node:os')).hostname(), id: 'x' }),
    );
    await fetch();
    expect(readdirSync(locks)).toEqual([]);
  });
});

describe('hub ids', () => {
  it.each([
    ['org/name', { id: 'org/name', revision: 'main' }],
    ['gpt2', { id: 'gpt2', revision: 'main' }],
    ['org/name@v1.0', { id: 'org/name', revision: 'v1.0' }],
    ['o/n@refs/pr/1', { id: 'o/n', revision: 'refs/pr/1' }],
    ['../x', null],
    ['a/b/c', null],
    ['a/..', null],
    ['org/name@../../x', null],
    ['', null],
    ['a b', null],
    ['org/na--me', null],
  ])('%j', (name, expected) => expect(parseHubId(name)).toEqual(expected));

  it('are not fetched offline', async () => {
    await expect(
      resolveModel('org/name', { env: { ...env, HF_HUB_OFFLINE: '1' } }),
    ).rejects.toMatchObject({ code: 'ERR_OFFLINE' });
    await expect(resolveModel('org/name', { env, offline: true })).rejects.toMatchObject({
      code: 'ERR_OFFLINE',
    });
    expect(hub.log).toEqual([]);
  });

  it('may be a misspelt path where the hub does not know them', async () => {
    const unreachable = { ...env, HF_ENDPOINT: 'http://127.0.0.1:9' };
    await expect(resolveModel('runs/recpe', { env: unreachable })).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: expect.stringMatching(
        /^There is no file or folder runs\/recpe, and 127\.0\.0\.1:9 could not be reached for /,
      ),
    });
  });

  it('say where the cache folder cannot be made', async () => {
    const home = env['HOME'] as string;
    writeFileSync(join(home, 'file'), '');
    await expect(
      resolveModel('org/name', { env: { ...env, HF_HOME: join(home, 'file') } }),
    ).rejects.toMatchObject({
      code: 'ERR_LOCKED',
      message: expect.stringMatching(
        /^The cache folder .* is not writable; make it writable or point CREAM_CACHE/,
      ),
    });
  });

  it.each([undefined, 5, ''])('%j is no name', async (name) => {
    await expect(resolveModel(name as string, { env })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(/^The name of a model must be a non-empty string, got /),
    });
  });

  it('keep to their revision', async () => {
    expect(await resolveModel(`org/name@${COMMIT}`, { env })).toMatchObject({
      source: 'hub',
      digest: `hub:${COMMIT}`,
      licence: 'apache-2.0',
    });
    expect(await resolveModel(`org/name@${COMMIT}`, { env, offline: true })).toMatchObject({
      source: 'cache',
    });
    await expect(resolveModel('org/name@other', { env, offline: true })).rejects.toMatchObject({
      code: 'ERR_OFFLINE',
    });
  });
});
