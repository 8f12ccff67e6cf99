/**
 * A training stage in progress: `training/state.safetensors` (master weights, moments, step count)
 * and `training/progress.json` (the metrics of the steps). progress.json is written first and may
 * be some steps ahead; the new state then replaces the old one by a rename, so at most one complete
 * state exists. The record of the state contains its number of steps.
 *
 * Ranks that shard the state write a file each, `state-12.00001-of-00008.safetensors` after 12
 * steps. Those of a state are recorded together once all are there, and the older ones are removed
 * after that.
 */
import { constants, existsSync } from 'node:fs';
import { copyFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Trainer } from '../engine/trainer.js';
import { makeDirectory, syncFolder } from '../files/files.js';
import type { LanguageModel } from '../lm/language-model.js';
import { digestFile, Records, RECORDS, type Digest } from './records.js';
import { readOwnText } from './own-files.js';
import { onDisk } from './store.js';
import type { StepRecord, TrainingState } from './stages/optimise.js';
import type { Team } from './team.js';
import { recordFolder } from './verify.js';

const STATE = 'state.safetensors';
const NEXT = 'next.safetensors';
const SHARD = /^state-(\d+)\.\d{5}-of-(\d{5})\.safetensors$/;
const PROGRESS = 'progress.json';
/** `best-20`: the checkpoint of step 20, whose evaluation was the best so far. */
const BEST = 'best-';

/** Saves and loads a trainer's state; with several ranks, the state of all ranks' trainers. */
export interface Stateful {
  /** The files of its state. */
  shards: number;
  save(files: readonly string[]): Promise<Digest[]>;
  load(files: readonly string[]): Promise<void>;
}

/**
 * The state of a trainer. Full fine-tuning shards it over the ranks, each of which saves its shard;
 * of an adapter every rank has the whole state. `done` is the step count of the state to load.
 */
export function statefulOf(
  trainer: Trainer,
  { model }: LanguageModel,
  team: Team | undefined,
  done: number,
): Stateful {
  const shards = team && model.adapter === null ? team.size : 1;
  const saveOwn = async (file: string) => {
    await trainer.saveState(file);
    return digestFile(file);
  };
  return {
    shards,
    save: async (files) =>
      team && shards > 1
        ? team.saveShards(
            files.map((file) => resolve(file)),
            saveOwn,
          )
        : [await saveOwn(files[0]!)],
    load: async (files) => {
      await team?.order({ do: 'load state', files: files.map((file) => resolve(file)), done });
      await trainer.loadState(files);
    },
  };
}

/**
 * The state kept in `folder`; a state of another `plan` (other settings, other data) is not used.
 */
export function trainingState(folder: string, plan: string): TrainingState {
  const remedy = `remove ${folder} and run the same command again to train from the beginning`;
  /** The files of the newest state. */
  const newest = async (
    records: Records,
  ): Promise<{ files: string[]; steps: number } | undefined> => {
    const there = records.all().filter(({ file }) => existsSync(join(folder, file)));
    const states = there.flatMap(({ file }) => {
      const [, steps, shards] = SHARD.exec(file) ?? [];
      return steps === undefined
        ? []
        : [{ files: shardNames(Number(steps), Number(shards)), steps: Number(steps) }];
    });
    if (there.some(({ file }) => file === STATE)) {
      const { rows = 0 } = await records.demand(STATE, remedy, { content: false });
      states.push({ files: [STATE], steps: rows });
    }
    return states.sort((one, other) => other.steps - one.steps)[0];
  };
  const saved = async (content: boolean) => {
    const records = await Records.open(folder, plan);
    const state = records && (await newest(records));
    if (!state) return undefined;
    for (const file of state.files) await records.demand(file, remedy, { content });
    return { records, ...state };
  };
  const save = async (trainer: Stateful, steps: readonly StepRecord[]): Promise<void> => {
    await makeDirectory(folder);
    const records = await openOrClear(folder, plan);
    const whole = trainer.shards === 1;
    const files = whole ? [STATE] : shardNames(steps.length, trainer.shards);
    const written = (whole ? [NEXT] : files).map((file) => join(folder, file));
    const digests = await trainer.save(written);
    await records.write(PROGRESS, JSON.stringify(steps));
    await records.add(files.map((file, i) => ({ file, ...digests[i]!, rows: steps.length })));
    if (whole) await rename(join(folder, NEXT), join(folder, STATE));
    await syncFolder(folder);
    // Older shards, and files that a killed save left half-written.
    for (const name of await readdir(folder))
      if (![...files, PROGRESS, RECORDS].includes(name) && !name.startsWith(BEST))
        await rm(join(folder, name), { force: true });
  };
  return {
    async steps() {
      return (await saved(false))?.steps ?? 0;
    },
    async restore(trainer) {
      const found = await saved(true);
      if (!found) return [];
      await found.records.demand(PROGRESS, remedy);
      const steps = JSON.parse(readOwnText(join(folder, PROGRESS))) as StepRecord[];
      await trainer.load(found.files.map((file) => join(folder, file)));
      return steps.slice(0, found.steps);
    },
    save: (trainer, steps) => onDisk(folder, () => save(trainer, steps)),
    saveBest: (trainer, steps, build) =>
      onDisk(folder, async () => {
        await makeDirectory(folder);
        const records = await openOrClear(folder, plan);
        const best = `${BEST}${steps.length}`;
        await build(join(folder, best));
        await recordFolder(records, join(folder, best), join(folder, best));
        await save(trainer, steps);
        // The older checkpoint is removed last, since an older state would need it.
        for (const name of await readdir(folder))
          if (name.startsWith(BEST) && name !== best)
            await rm(join(folder, name), { recursive: true, force: true });
      }),
    takeBest: (step, to) =>
      onDisk(to, async () => {
        const best = `${BEST}${step}`;
        const records = await openOrClear(folder, plan);
        const files = records.all().filter(({ file }) => file.startsWith(`${best}/`));
        await rm(to, { recursive: true, force: true });
        await makeDirectory(to);
        for (const { file } of files) {
          await records.demand(file, remedy);
          await copyFile(join(folder, file), join(to, basename(file)), constants.COPYFILE_FICLONE);
        }
        await syncFolder(to);
      }),
  };
}

const shardNames = (steps: number, shards: number): string[] => {
  const five = (number: number) => String(number).padStart(5, '0');
  return Array.from(
    { length: shards },
    (_, i) => `state-${steps}.${five(i + 1)}-of-${five(shards)}.safetensors`,
  );
};

async function openOrClear(folder: string, plan: string): Promise<Records> {
  const records = await Records.open(folder, plan);
  if (records) return records;
  await rm(folder, { recursive: true, force: true });
  return Records.create(folder, plan);
}
