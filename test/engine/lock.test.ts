import { expect, it } from '@jest/globals';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from '../../src/engine/lock.js';
import { temporaryFolder } from '../support/folders.js';

const HOLD = `
  import { withLock } from '${new URL('../../dist/engine/lock.js', import.meta.url).href}';
  await withLock(process.argv[1], () => {
    console.log('held');
    return new Promise(() => setInterval(() => {}, 1000));
  });`;

it('a lock in the cache is waited for, and passes on when its holder is killed', async () => {
  const folder = temporaryFolder('cream-lock-');
  const path = join(folder, 'cache/lock');
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLD, path]);
  expect(String((await once(child.stdout, 'readable'), child.stdout.read()))).toBe('held\n');
  const stop = new AbortController();
  const stopped = withLock(path, () => Promise.resolve(), stop.signal);
  stop.abort(new Error('stopped'));
  await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
  const told = await new Promise<string>((resolve, reject) => {
    const told = (sentence: string): void => {
      child.kill('SIGKILL');
      resolve(sentence);
    };
    withLock(path, () => Promise.resolve(), undefined, told).catch(reject);
  });
  expect(told).toBe(`Waiting for process ${child.pid}, which holds ${path} and fetches the same.`);
  expect(await withLock(path, () => Promise.resolve('taken'))).toBe('taken');
  expect(readdirSync(join(folder, 'cache'))).toEqual([]);
});
