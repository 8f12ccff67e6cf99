/** Supervised fine-tuning before the first iteration: θ_0 → θ_1 in `sft/`. */
import { existsSync } from 'node:fs';
import type { DemonstrationRecord } from '../data/records.js';
import type { RunContext } from './context.js';
import { chooseDemonstrations } from './data.js';
import { evaluateModel } from './evaluation.js';
import { sft } from './stages/sft.js';
import { readRecords, writeRecords } from './store.js';
import { trainCheckpoint } from './training.js';

export async function fineTune(run: RunContext): Promise<void> {
  const settings = run.recipe.sft;
  const demonstrations = await demonstrationsOf(run);
  await trainCheckpoint(run, { phase: 'sft', stage: 'sft' }, {
    from: 0, to: 1, settings, examples: demonstrations.length, unit: 'demonstrations',
    work: (policy, common, state, hooks) => sft(demonstrations, policy, { ...common, settings }, state, hooks),
  });
  await evaluateModel(run, 'sft', 1);
}

async function demonstrationsOf(run: RunContext): Promise<DemonstrationRecord[]> {
  const path = run.file('sft', 'demonstrations.jsonl');
  if (existsSync(path)) return readRecords(path);
  const { records: demonstrations } = await chooseDemonstrations(run.recipe);
  await writeRecords(path, demonstrations);
  return demonstrations;
}
