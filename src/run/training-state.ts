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
import { RunError } from './errors.js';
import { digestFile, type Digest } from './digest.js';
import { Records, RECORDS } from './records.js';
import { readOwnText } from './own-files.js';
import { makeFolder, onDisk } from './store.js';
import type { StepRecord } from './stages/objective.js';
import type { TrainingState } from './stages/optimise.js';
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
  signal: AbortSignal,
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
      // The ranks finish together what they have begun.
      await trainer.loadState(files, team ? {} : { signal });
    },
  };
}

/**
 * The state kept in `folder`; a state of another `plan` (other settings, other data) is not used.
 * An aborted `signal` ends the reading of a state.
 */
export function trainingState(folder: string, plan: string, signal?: AbortSignal): TrainingState {
  return new StateFolder(folder, plan, signal);
}

/** Said where a stop has to save `steps` optimizer steps, of which `saved` are on disk. */
export const savingNote = (steps: number, saved: number): string =>
  `Saving the state of step ${steps} first; once more stops at once, and resuming then repeats ` +
  `the steps from ${saved + 1} on.`;

/** A saved state: its files and the optimizer steps that it has taken. */
interface SavedState {
  files: string[];
  steps: number;
}

class StateFolder implements TrainingState {
  /** The advice at the end of an error about a damaged file. */
  readonly #remedy: string;

  constructor(
    private readonly folder: string,
    private readonly plan: string,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#remedy = `remove ${folder} and run the same command again to train from the beginning`;
  }

  async steps(): Promise<number> {
    return (await this.#saved({ content: false }))?.steps ?? 0;
  }

  async restore(trainer: Stateful): Promise<StepRecord[]> {
    const saved = await this.#saved({ content: true });
    if (!saved) return [];
    await saved.records.demand(PROGRESS, this.#remedy);
    const steps = JSON.parse(readOwnText(join(this.folder, PROGRESS))) as StepRecord[];
    await trainer.load(saved.files.map((file) => join(this.folder, file)));
    return steps.slice(0, saved.steps);
  }

  save(trainer: Stateful, steps: readonly StepRecord[]): Promise<void> {
    return onDisk(this.folder, () => this.#write(trainer, steps));
  }

  saveBest(
    trainer: Stateful,
    steps: readonly StepRecord[],
    build: (folder: string) => Promise<void>,
  ): Promise<void> {
    return onDisk(this.folder, async () => {
      await makeDirectory(this.folder);
      const records = await openOrClear(this.folder, this.plan);
      const best = `${BEST}${steps.length}`;
      const path = join(this.folder, best);
      await build(path);
      await recordFolder(records, path, path);
      await this.#write(trainer, steps);
      // The older checkpoint is removed last, since an older state would need it.
      for (const name of await readdir(this.folder))
        if (name.startsWith(BEST) && name !== best)
          await rm(join(this.folder, name), { recursive: true, force: true });
    });
  }

  takeBest(step: number, to: string): Promise<void> {
    return makeFolder(to, async (copies) => {
      const records = await openOrClear(this.folder, this.plan);
      const best = `${BEST}${step}`;
      const files = records.all().filter(({ file }) => file.startsWith(`${best}/`));
      if (files.length === 0)
        throw new RunError(
          'ERR_RUN_DATA',
          `${join(this.folder, best)} is missing: ${this.#remedy}.`,
        );
      for (const { file } of files) {
        await records.demand(file, this.#remedy);
        const copy = join(copies, basename(file));
        await copyFile(join(this.folder, file), copy, constants.COPYFILE_FICLONE);
      }
    });
  }

  async #write(trainer: Stateful, steps: readonly StepRecord[]): Promise<void> {
    const { folder } = this;
    await makeDirectory(folder);
    const records = await openOrClear(folder, this.plan);
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
  }

  /** The newest state, checked against its record; by size alone unless `content`. */
  async #saved(how: {
    content: boolean;
  }): Promise<(SavedState & { records: Records }) | undefined> {
    const records = await Records.open(this.folder, this.plan);
    const state = records && (await this.#newest(records));
    if (!state) return undefined;
    for (const file of state.files)
      await records.demand(file, this.#remedy, { ...how, signal: this.signal });
    return { records, ...state };
  }

  async #newest(records: Records): Promise<SavedState | undefined> {
    const there = records.all().filter(({ file }) => existsSync(join(this.folder, file)));
    const states = there.flatMap(({ file }): SavedState[] => {
      const [, steps, shards] = SHARD.exec(file) ?? [];
      if (steps === undefined) return [];
      const files = shardNames(Number(steps), Number(shards));
      // A power cut may leave only the first lines of those that record a state.
      if (!files.every((shard) => records.newest(shard))) return [];
      return [{ files, steps: Number(steps) }];
    });
    if (there.some(({ file }) => file === STATE)) {
      // While there is a next state, the record may be ahead of the file, which has the same size.
      const content = existsSync(join(this.folder, NEXT));
      const { rows = 0 } = await records.demand(STATE, this.#remedy, { content });
      states.push({ files: [STATE], steps: rows });
    }
    return states.sort((one, other) => other.steps - one.steps)[0];
  }
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
