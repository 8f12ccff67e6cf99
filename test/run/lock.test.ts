import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { takeLock } from '../../src/run/lock.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cream-lock-'));
  path = join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

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

  it('of a dead process is taken over', () => {
    writeFileSync(path, JSON.stringify({ pid: deadPid(), host: hostname(), started: '' }));
    takeLock(path)();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('of a pid that another process has by now is taken over', () => {
    writeFileSync(
      path,
      JSON.stringify({ pid: process.pid, host: hostname(), started: 'another boot 12345' }),
    );
    if (existsSync('/proc/self/stat')) takeLock(path)();
    else expect(() => takeLock(path)).toThrow('in use');
  });

  it('of a living child is refused, and taken once it is killed', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    writeFileSync(path, JSON.stringify({ pid: child.pid, host: hostname(), started: '' }));
    expect(() => takeLock(path)).toThrow(`process ${child.pid}`);
    const gone = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    takeLock(path)();
  });

  it('of another machine is refused with what to do', () => {
    writeFileSync(path, JSON.stringify({ pid: 1, host: 'elsewhere', started: '' }));
    expect(() => takeLock(path)).toThrow(
      `in use by process 1 on elsewhere: if that machine no longer works on it, delete ${path}.`,
    );
  });

  it('that holds nonsense is taken over', () => {
    writeFileSync(path, 'not a lock');
    takeLock(path)();
    expect(existsSync(path)).toBe(false);
  });
});
