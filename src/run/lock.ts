/**
 * Locks a run directory for one process. The lock file holds pid, host and the process's start
 * time, which detects a reused pid. The lock of a dead process is replaced; that of another host is
 * respected, since its process cannot be checked.
 */
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { RunError } from './errors.js';

interface Holder {
  pid: number;
  host: string;
  started: string;
}

/**
 * Takes the lock at `path`; the returned function releases it. @throws RunError `ERR_RUN_LOCKED`
 * naming the holder.
 */
export function takeLock(path: string): () => void {
  const me: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) ?? '' };
  const mine = `${path}.${process.pid}`;
  const text = JSON.stringify(me);
  writeFileSync(mine, text);
  try {
    // link(2) fails if the name exists, so the lock appears atomically with its content.
    while (!linked(mine, path)) {
      const found = readHolder(path);
      if (found === undefined) continue; // released meanwhile
      if (alive(found.holder)) throw new RunError('ERR_RUN_LOCKED', refusal(path, found.holder));
      clearStale(path, found.text);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return () => {
    if (readHolder(path)?.text === text) rmSync(path, { force: true });
  };
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes the lock if it still is the stale one: two processes may find it at the same time, and
 * one may hold it by now.
 */
function clearStale(path: string, stale: string): void {
  const aside = `${path}.stale-${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // another process was faster
  }
  if (readFileSync(aside, 'utf8') !== stale) linked(aside, path); // a live lock: put it back
  unlinkSync(aside);
}

function readHolder(path: string): { holder: Partial<Holder>; text: string } | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  try {
    return { holder: JSON.parse(text) as Partial<Holder>, text };
  } catch {
    return { holder: {}, text };
  }
}

function alive(holder: Partial<Holder>): boolean {
  if (holder.pid === undefined) return false; // not a lock of ours: nothing can be alive behind it
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const started = startOf(holder.pid);
  return started === undefined || !holder.started || started === holder.started;
}

/**
 * Start time of a process in clock ticks since boot, with the boot's id; undefined where the system
 * does not tell.
 */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets and may hold anything; the start time is
    // field 22.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return 'ended'; // a zombie works on nothing
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

function refusal(path: string, holder: Partial<Holder>): string {
  const where =
    holder.host === hostname()
      ? `process ${holder.pid}`
      : `process ${holder.pid} on ${holder.host}`;
  const cure =
    holder.host === hostname()
      ? 'wait for it or stop it'
      : `if that machine no longer works on it, delete ${path}`;
  return `The run directory is in use by ${where}: ${cure}.`;
}
