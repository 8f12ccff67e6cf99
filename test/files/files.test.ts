import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { withLock } from '../../src/engine/lock.js';
import { makeDirectory, sweep, writeAtomic } from '../../src/files/files.js';
import { resolveModel } from '../../src/models/resolve.js';
import { writeAtomic as writeInRun } from '../../src/run/store.js';
import { temporaryFolder } from '../support/folders.js';

const root = temporaryFolder('cream-files-');

describe('whole files', () => {
  it('replace the old one, make their folders and leave no temporary', async () => {
    const path = join(root, 'a/b/c');
    // several writers at once: one wins, whole
    await Promise.all([...'abcdefgh'].map((letter) => writeAtomic(path, letter.repeat(10_000))));
    expect(readFileSync(path, 'utf8')).toMatch(/^([a-h])\1{9999}$/);
    expect(readdirSync(join(root, 'a/b'))).toEqual(['c']);
  });
  it('what a killed writer left is swept, and nothing else', async () => {
    mkdirSync(join(root, 's/t'), { recursive: true });
    for (const name of [
      'x.jsonl',
      'x.tmp',
      'x.jsonl.tmp-4711',
      `t/y.json.tmp-${'0'.repeat(8)}-1111-4222-8333-${'a'.repeat(12)}`,
      't/tmp-notes.txt',
    ])
      writeFileSync(join(root, 's', name), '');
    await sweep(join(root, 's'));
    expect(readdirSync(join(root, 's'), { recursive: true }).sort()).toEqual([
      't',
      't/tmp-notes.txt',
      'x.jsonl',
      'x.tmp',
    ]);
  });
});

describe('a folder', () => {
  it('is made with those above it; one that is there is left', async () => {
    await makeDirectory(join(root, 'd/e/f'));
    await makeDirectory(join(root, 'd/e/f'));
    expect(existsSync(join(root, 'd/e/f'))).toBe(true);
    const same = join(root, 'p/q/r/s');
    await Promise.all(Array.from({ length: 20 }, () => makeDirectory(same))); // processes
    expect(existsSync(same)).toBe(true);
    writeFileSync(join(root, 'd/file'), '');
    await expect(makeDirectory(join(root, 'd/file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeDirectory(join(root, 'd/file/g'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  // Node's own recursive mkdir never returns from there.
  const onProc = existsSync('/proc/self') ? it : it.skip;
  onProc('under /proc is refused in a sentence, as cache and as run folder', async () => {
    const message =
      /^The cache folder \/proc\/cream\S* is not writable; make it writable or point CREAM_CACHE/;
    await expect(withLock('/proc/cream/models/x.lock', async () => {})).rejects.toMatchObject({
      code: 'ERR_LOCKED',
      message: expect.stringMatching(message),
    });
    await expect(
      resolveModel('org/name', {
        env: { HF_HOME: '/proc/cream', HF_ENDPOINT: 'http://127.0.0.1:9' },
        offline: true,
      }),
    ).rejects.toMatchObject({ code: 'ERR_OFFLINE' });
    await expect(
      resolveModel('smollm2-135m-instruct', {
        cacheDir: '/proc/cream',
        env: { HF_HOME: '/proc/cream' },
        offline: true,
      }),
    ).rejects.toMatchObject({ code: 'ERR_LOCKED', message: expect.stringMatching(message) });
    await expect(writeInRun('/proc/cream/run/recipe.yaml', '')).rejects.toMatchObject({
      code: 'ERR_DISK',
      message: expect.stringContaining(
        'Cannot write /proc/cream/run/recipe.yaml: its folder is missing and cannot be made.',
      ),
    });
  });
});
