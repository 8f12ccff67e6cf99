/**
 * Files of a run that other commands read: they must be as the run wrote them, like those that the
 * run reads itself. Hashing a large checkpoint takes seconds, so a file that was found whole is
 * noted in the user's cache and hashed again only where it changed.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isStamped, setStamp, type Stamp } from '../files/stamps.js';
import { lostRecords } from './directory.js';
import { RunError } from './errors.js';
import { takeLock } from './lock.js';
import { readOwnText } from './own-files.js';
import { hasLineOf, nameIn, Records, RECORDS } from './records.js';
import { LOCK, SUMMARY } from './store.js';
import {
  hindersResume,
  refuseDamaged,
  RUN_RECORDS,
  verifyFiles,
  type Damage,
  type Known,
} from './verify.js';

/** A file of a part of an iteration is this far below the run directory. */
const MAX_DEPTH = 3;
/** Smaller files are hashed each time. */
const LARGE = 16 << 20;

/**
 * Checks a file or a checkpoint of a run against the run's record; any other path is left alone.
 * @throws RunError naming a file that is not as the run wrote it
 */
export async function requireRecorded(path: string, signal?: AbortSignal): Promise<void> {
  const target = resolve(path);
  const info = statSync(target, { throwIfNoEntry: false });
  if (!info?.isFile() && !info?.isDirectory()) return;
  const records = await recordsAround(target);
  if (!records) return;
  const name = records.nameOf(target);
  await refuseDamaged(records, name, info.isDirectory(), { signal, known: notes(records) });
}

/**
 * The damages of a run that no process works on: of checkpoints their sizes, of all other files
 * their content. None where the run is at work or has no record. @throws RunError
 */
export async function damagesAtRest(directory: string, signal: AbortSignal): Promise<Damage[]> {
  let release: () => void;
  try {
    release = takeLock(join(directory, LOCK));
  } catch (error) {
    if (!(error instanceof RunError) || error.code !== 'ERR_RUN_LOCKED') release = () => {};
    else return [];
  }
  try {
    const records = await Records.look(directory, RUN_RECORDS);
    if (!records) return lostRecords(directory);
    const all = await verifyFiles(records, { checkpoints: false, signal });
    const finished = existsSync(join(directory, SUMMARY));
    return finished ? all : all.filter((damage) => hindersResume(records, damage));
  } finally {
    release();
  }
}

/** Whether a run has written the file at `path` and keeps a record of it. */
export function isRecorded(path: string): boolean {
  const target = resolve(path);
  const folder = folderAround(target);
  return (
    folder !== undefined && hasLineOf(readOwnText(join(folder, RECORDS)), nameIn(folder, target))
  );
}

async function recordsAround(path: string): Promise<Records | undefined> {
  const folder = folderAround(path);
  return folder === undefined ? undefined : Records.look(folder, RUN_RECORDS);
}

/** The nearest folder with records that `path` may belong to. */
function folderAround(path: string): string | undefined {
  let folder = path;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    folder = dirname(folder);
    if (existsSync(join(folder, RECORDS))) return folder;
  }
  return undefined;
}

/** Whether a large file was found whole before, and how to note that it was. */
function notes({ folder }: Records): Known {
  const stampOf = (digest: string): Stamp => ({ kind: 'recorded', digest });
  return {
    isKnown: ({ file, bytes, sha256 }) =>
      bytes < LARGE ? Promise.resolve(false) : isStamped(join(folder, file), stampOf(sha256)),
    note: async ({ file, bytes, sha256 }) => {
      if (bytes >= LARGE) await setStamp(join(folder, file), stampOf(sha256));
    },
  };
}
