/**
 * The run directory: its file names, and the only code that writes them.
 *
 *   recipe.yaml run.json records.jsonl lock events.jsonl metrics.jsonl summary.json report.html
 *   sinks.json                                    rows of metrics.jsonl that each sink has taken
 *   tensorboard/events.out.tfevents.cream   metrics.jsonl for TensorBoard
 *   iteration-0/answers.jsonl               the base model
 *   sft/{demonstrations,steps,answers}.jsonl sft/checkpoint/
 *   iteration-t/{prompts,completions,scores,rankings,pairs,steps,answers}.jsonl
 *   iteration-t/checkpoint/
 *   iteration-t/sampler-check.jsonl         θ_t's log-probs of a few prompts by sampler and scorer
 *   iteration-t/gold.jsonl                  known answers of the prompts, if there are any
 *   iteration-t/{judgements,rewards}.jsonl  for `judge`, and for external rewards
 *   iteration-1/preferences.jsonl           given pairs, in place of prompts, completions, rankings
 *
 * A file under its own name is complete: it is written to a temporary name, synced, and renamed,
 * and records.jsonl contains its digest (records.ts). A stage in progress keeps its finished blocks
 * in a folder beside the artefact, `completions.jsonl.parts/00003.jsonl`, and a resumed stage
 * continues with the first missing one. Blocks are cut by position alone, so a resumed stage
 * computes the same records as an uninterrupted one. No artefact contains times, except
 * events.jsonl and separate columns of metrics.jsonl (timing.ts).
 */
import { existsSync } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ARTEFACT_COLUMNS, type Columns } from '../data/columns.js';
import { readRecords as readChecked, serialize } from '../data/jsonl.js';
import { systemReason } from '../files/errors.js';
import { makeDirectory, syncFolder, writeAtomic as write } from '../files/files.js';
import { FileError } from '../files/read.js';
import { RunError } from './errors.js';
import { whileHeld } from './held.js';
import { Records } from './records.js';

export const RECIPE = 'recipe.yaml';
export const RUN = 'run.json';
export const LOCK = 'lock';
export const EVENTS = 'events.jsonl';
export const METRICS = 'metrics.jsonl';
export const TENSORBOARD = 'tensorboard/events.out.tfevents.cream';
export const SINKS = 'sinks.json';
export const SUMMARY = 'summary.json';
export const REPORT = 'report.html';
/** The page of a folder of runs. */
export const COMPARISON = 'compare.html';

/** Folder of SFT (`'sft'`) or of iteration t. */
export type Phase = 'sft' | number;
export const phaseFolder = (phase: Phase): string =>
  phase === 'sft' ? 'sft' : `iteration-${phase}`;
export const isPhaseFolder = (name: string): boolean => /^(sft|iteration-\d+)$/.test(name);

/** files.ts's writeAtomic, with one sentence for a full or read-only disk. */
export const writeAtomic = (path: string, data: string | Uint8Array, begun = true): Promise<void> =>
  onDisk(path, () => write(path, data), begun);

/**
 * Renames a finished folder into place: `build` fills `target`.tmp, whose files are synced and
 * recorded before the rename.
 */
export async function makeFolder(
  target: string,
  build: (temporary: string) => Promise<unknown>,
  record: (temporary: string) => Promise<void> = async () => {},
): Promise<void> {
  const temporary = `${resolve(target)}.tmp`; // without a slash at its end
  await onDisk(target, async () => {
    await rm(temporary, { recursive: true, force: true });
    await makeDirectory(temporary);
    await build(temporary).catch(async (error: unknown) => {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    });
    for (const name of await readdir(temporary)) {
      const file = await open(join(temporary, name), 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    }
    await syncFolder(temporary);
    await record(temporary);
    await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
    await syncFolder(dirname(target));
  });
}

/** One JSON object per line. */
export async function writeRecords(path: string, records: readonly object[]): Promise<void> {
  await writeAtomic(path, toJsonl(records));
}

/**
 * Records of an artefact; columns are checked if its name determines them. @throws DataError naming
 * file, line and column
 */
export const readRecords = <T extends object>(path: string): Promise<T[]> =>
  readAs(path, ARTEFACT_COLUMNS[basename(path)] ?? {});

const readAs = <T extends object>(path: string, columns: Columns<object>): Promise<T[]> =>
  readChecked(path, columns as Columns<T>, { allowEmpty: true });

/** The file that a blocked stage writes. */
export interface Artefact {
  path: string;
  /** Identifies everything that the records depend on; parts of another plan are discarded. */
  plan: string;
  /** Compute it again even if it is complete. */
  replace?: boolean;
  /** Awaited before anything is written: what the records come from is on disk. */
  ready?: () => Promise<void>;
  /** Writes the whole artefact; default writeRecords(). */
  write?: (records: readonly object[]) => Promise<void>;
}

export interface Blocks<Item, Made> extends Artefact {
  items: readonly Item[];
  /** Items of one block. */
  size: number;
  /** Makes the blocks that are not on disk and saves each, one after the other in any order. */
  make: (missing: readonly Block<Item>[], save: SaveBlock<Made>) => Promise<void>;
}

/** Items that are saved together. */
export interface Block<Item> {
  /** Its number in the artefact. */
  number: number;
  items: readonly Item[];
}

/** Cuts items into blocks of `size`. */
export function blocksOf<Item>(items: readonly Item[], size: number): Block<Item>[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, number) => ({
    number,
    items: items.slice(number * size, (number + 1) * size),
  }));
}

export type SaveBlock<Made> = (block: Block<unknown>, records: Made[]) => Promise<void>;

/**
 * The records of `path`: read if it is complete, otherwise computed in blocks, each on disk once it
 * is computed. After an interruption, a call with the same arguments computes the missing blocks.
 */
export async function inBlocks<Item, Made extends object>({
  path,
  items,
  size,
  plan,
  replace = false,
  ready = () => Promise.resolve(),
  write = (records) => writeRecords(path, records),
  make,
}: Blocks<Item, Made>): Promise<Made[]> {
  if (existsSync(path) && !replace) return readRecords<Made>(path);
  const parts = `${path}.parts`;
  // A command names its file, and before its first block nothing is kept.
  const begun = !replace || existsSync(parts);
  const saved = await onDisk(begun ? parts : path, () => openParts(parts, plan), begun);
  const made: Made[][] = [];
  const missing: Block<Item>[] = [];
  for (const block of blocksOf(items, size)) {
    const { number } = block;
    const name = partName(number);
    const part = join(parts, name);
    if (!saved.newest(name) || !existsSync(part)) {
      missing.push(block);
      continue;
    }
    await saved.demand(name, `remove it and run the same command again to make it again`);
    // Its digest is that of what was written, which a command may give any name.
    made[number] = await readAs(part, {});
  }
  await make(missing, async ({ number }, records) => {
    const name = partName(number);
    await ready();
    await onDisk(join(parts, name), () => saved.write(name, toJsonl(records)));
    made[number] = records;
  });
  const all = made.flat();
  await write(all);
  await rm(parts, { recursive: true, force: true });
  return all;
}

/** Discards the blocks of another plan, so that none of them counts as done. */
export const discardOthers = async ({ path, plan }: Artefact): Promise<void> => {
  const parts = `${path}.parts`;
  if (existsSync(parts)) await onDisk(parts, () => openParts(parts, plan));
};

async function openParts(parts: string, plan: string): Promise<Records> {
  const saved = await Records.open(parts, plan);
  if (saved) return saved;
  await rm(parts, { recursive: true, force: true });
  return Records.create(parts, plan);
}

export const toJsonl = (records: readonly object[]): string => records.map(serialize).join('');

/** The items that `inBlocks` would still compute: none if the artefact is complete. */
export function remainingItems<Item>(
  { path, replace = false }: Pick<Artefact, 'path' | 'replace'>,
  items: readonly Item[],
  size: number,
): Item[] {
  if (existsSync(path) && !replace) return [];
  return blocksOf(items, size)
    .filter(({ number }) => !existsSync(join(`${path}.parts`, partName(number))))
    .flatMap((block) => block.items);
}

const partName = (block: number): string => `${String(block).padStart(5, '0')}.jsonl`;

/**
 * Runs file work on `path`, which a stop waits for; a full or read-only disk becomes one clear
 * sentence, which says that finished work is kept if any has `begun`.
 */
export async function onDisk<T>(path: string, work: () => Promise<T>, begun = true): Promise<T> {
  try {
    return await whileHeld(work);
  } catch (error) {
    throw explainDisk(path, error, begun);
  }
}

/** What the system's codes mean for a write, where that differs from systemReason(). */
const DISK_FAULTS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the disk is read-only',
  EIO: 'the disk reports an error',
  EACCES: 'writing is not allowed',
  EPERM: 'writing is not allowed',
  ENOTDIR: 'part of this path is a file',
  EEXIST: 'part of this path is a file',
  ENOTREG: 'it is not a regular file',
  ENOENT: 'its folder is missing and cannot be made',
};

/** Explains a failed write to the user; returns any other error unchanged. */
export function explainDisk(path: string, error: unknown, begun = true): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const what = DISK_FAULTS[code ?? ''] ?? systemReason(code);
  if (what === undefined || error instanceof FileError) return error; // a FileError is of a read
  return new RunError(
    'ERR_DISK',
    `Cannot write ${path}: ${what}. ` +
      (begun
        ? 'Finished work is kept: remove the cause and run the same command again.'
        : 'Remove the cause, or name another file.'),
    { cause: error },
  );
}
