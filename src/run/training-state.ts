/**
 * A training stage in progress: `training/state.safetensors` (master weights, moments, step count)
 * and `training/progress.json` (the metrics of the steps). progress.json is written first and may
 * be some steps ahead; the new state then replaces the old one by a rename, so at most one complete
 * state exists. The record of the state contains its number of steps.
 */
import { existsSync } from 'node:fs';
import { readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory, syncFolder } from '../files/files.js';
import { digestFile, Records, RECORDS } from './records.js';
import { onDisk } from './store.js';
import type { StepRecord, TrainingState } from './stages/optimise.js';

const STATE = 'state.safetensors';
const NEXT = 'next.safetensors';
const PROGRESS = 'progress.json';

/**
 * The state kept in `folder`; a state of another `plan` (other settings, other data) is not used.
 */
export function trainingState(
  folder: string,
  plan: string,
): TrainingState & { steps(): Promise<number> } {
  const remedy = `remove ${folder} and run the same command again to train from the beginning`;
  const saved = async (
    content: boolean,
  ): Promise<{ records: Records; steps: number } | undefined> => {
    const records = await Records.open(folder, plan);
    if (!records?.newest(STATE) || !existsSync(join(folder, STATE))) return undefined;
    const state = await records.demand(STATE, remedy, { content });
    return { records, steps: state.rows ?? 0 };
  };
  return {
    async steps() {
      return (await saved(false))?.steps ?? 0;
    },
    async restore(trainer) {
      const found = await saved(true);
      if (!found) return [];
      await found.records.demand(PROGRESS, remedy);
      const steps = JSON.parse(await readFile(join(folder, PROGRESS), 'utf8')) as StepRecord[];
      await trainer.loadState(join(folder, STATE));
      return steps.slice(0, found.steps);
    },
    async save(trainer, steps) {
      await onDisk(folder, async () => {
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
          if (![STATE, PROGRESS, RECORDS].includes(name))
            await rm(join(folder, name), { force: true });
      });
    },
  };
}

async function openOrClear(folder: string, plan: string): Promise<Records> {
  const records = await Records.open(folder, plan);
  if (records) return records;
  await rm(folder, { recursive: true, force: true });
  return Records.create(folder, plan);
}
