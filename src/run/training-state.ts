/**
 * A training stage in progress: `training/state.safetensors` (master weights, moments, step count)
 * and `training/progress.json` (the metrics of the steps). progress.json is written first and may
 * be some steps ahead; the new state then replaces the old one by a rename, so at most one complete
 * state exists. The record of the state contains its number of steps.
 */
import { constants, existsSync } from 'node:fs';
import { copyFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { makeDirectory, syncFolder } from '../files/files.js';
import { digestFile, Records, RECORDS } from './records.js';
import { readOwnText } from './own-files.js';
import { onDisk } from './store.js';
import type { Stateful, StepRecord, TrainingState } from './stages/optimise.js';
import { recordFolder } from './verify.js';

const STATE = 'state.safetensors';
const NEXT = 'next.safetensors';
const PROGRESS = 'progress.json';
/** `best-20`: the checkpoint of step 20, whose evaluation was the best so far. */
const BEST = 'best-';

/**
 * The state kept in `folder`; a state of another `plan` (other settings, other data) is not used.
 */
export function trainingState(folder: string, plan: string): TrainingState {
  const remedy = `remove ${folder} and run the same command again to train from the beginning`;
  const saved = async (
    content: boolean,
  ): Promise<{ records: Records; steps: number } | undefined> => {
    const records = await Records.open(folder, plan);
    if (!records?.newest(STATE) || !existsSync(join(folder, STATE))) return undefined;
    const state = await records.demand(STATE, remedy, { content });
    return { records, steps: state.rows ?? 0 };
  };
  const save = async (trainer: Stateful, steps: readonly StepRecord[]): Promise<void> => {
    await makeDirectory(folder);
    const records = await openOrClear(folder, plan);
    const next = join(folder, NEXT);
    await trainer.saveState(next);
    const digest = await digestFile(next);
    await records.write(PROGRESS, JSON.stringify(steps));
    await records.add([{ file: STATE, ...digest, rows: steps.length }]);
    await rename(next, join(folder, STATE));
    await syncFolder(folder);
    // Files that a killed save left half-written.
    for (const name of await readdir(folder))
      if (![STATE, PROGRESS, RECORDS].includes(name) && !name.startsWith(BEST))
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
      await trainer.loadState(join(folder, STATE));
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

async function openOrClear(folder: string, plan: string): Promise<Records> {
  const records = await Records.open(folder, plan);
  if (records) return records;
  await rm(folder, { recursive: true, force: true });
  return Records.create(folder, plan);
}
