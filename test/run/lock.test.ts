import { beforeEach, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { takeLock } from '../../src/run/lock.js';
import { temporaryFolder } from '../support/folders.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = temporaryFolder('cream-lock-');
  path = join(folder, 'lock');
});

const deadPid = (): number => spawnSync(process.execPath, ['-e', '']).pid;

describe('the lock of a run directory', () => {
  it('is taken, refused to a second taker by pid, and released', () => {
    const release = takeLock(path);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({
      pid: process.pid,
      host: hostname(),
    });
    expect(() => takeLock(path)).toThrow(
      `The run directory is in use by process ${process.pid}: wait for it or stop it.`,
    );
    release();
    expect(readdirSync(folder)).toEqual([]);
    takeLock(path)();
  });

  it('does not depend on what the file of an ended process holds', () => {
    const left = { pid: deadPid(), host: hostname() };
    for (const text of [JSON.stringify(left), '{"pid":1,"host":"elsewhere"}', 'null', 'no', '']) {
      writeFileSync(path, text);
      takeLock(path)();
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it('of a living process is refused, and taken once that is killed', async () => {
    const lockModule = new URL('../../dist/run/lock.js', import.meta.url).href;
    const child = spawn(process.execPath, [
      '--input-type=module',
      '-e',
      `import { takeLock } from '${lockModule}';
       takeLock(process.argv[1]);
       console.log('held');
       setInterval(() => {}, 1000);`,
      path,
    ]);
    expect(String((await once(child.stdout, 'readable'), child.stdout.read()))).toBe('held\n');
    expect(() => takeLock(path)).toThrow(`in use by process ${child.pid}: wait for it or stop it.`);
    const gone = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    takeLock(path)();
  });

  it.each([
    ['a folder', () => mkdirSync(path)],
    ['a link to nothing', () => symlinkSync(join(folder, 'nothing'), path)],
    ['a pipe', () => spawnSync('mkfifo', [path])],
  ])('that is %s is refused at once', (_, make) => {
    make();
    expect(() => takeLock(path)).toThrow(
      `${path} is not a regular file, so it cannot be locked; remove it.`,
    );
  });
});
