/** Makes θ_1 in `sft/`: θ_0 fine-tuned on demonstrations, or a copy of an existing checkpoint. */
import { constants, existsSync } from 'node:fs';
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DemonstrationRecord } from '../data/records.js';
import type { RunContext } from './context.js';
import { chooseDemonstrations } from './data.js';
import { RunError } from './errors.js';
import { evaluateModel } from './evaluation.js';
import { sft } from './stages/sft.js';
import { makeFolder, readRecords, writeRecords } from './store.js';
import { trainCheckpoint } from './training.js';

export async function fineTune(run: RunContext): Promise<void> {
  const settings = run.recipe.sft;
  if (settings.checkpoint === null) await train(run);
  else await take(run, settings.checkpoint);
  await evaluateModel(run, 'sft', 1);
}

/**
 * Checks `sft.checkpoint` before the run starts.
 * @throws RunError if its shape differs from θ_0's, CreamError if it cannot be loaded.
 */
export async function checkStart(run: RunContext): Promise<void> {
  const {
    recipe: {
      sft: { checkpoint: source },
      model: name,
    },
    models,
  } = run;
  if (source === null) return;
  if (!['config.json', 'adapter_config.json'].some((file) => existsSync(join(source, file)))) {
    throw new RunError(
      'ERR_RUN_DATA',
      `sft.checkpoint: ${source} is no model folder (it has no config.json): name a ` +
        'checkpoint such as runs/mine/sft/checkpoint.',
    );
  }
  const { config: base } = await models.model(run.checkpoint(0));
  const { config } = await models.model(source);
  const differs = SHAPE.find((key) => config[key] !== base[key]);
  await models.keep([run.checkpoint(0)]);
  if (differs)
    throw new RunError(
      'ERR_RUN_DATA',
      `sft.checkpoint: ${source} is not made of ${name}: its ${differs} is ` +
        `${config[differs]}, the base model's ${base[differs]}. Name a checkpoint of this ` +
        'model, or the model it was made of.',
    );
}

const SHAPE = [
  'modelType',
  'vocabSize',
  'hiddenSize',
  'numLayers',
  'numHeads',
  'numKvHeads',
  'headDim',
  'intermediateSize',
] as const;

async function train(run: RunContext): Promise<void> {
  const settings = run.recipe.sft;
  const demonstrations = await demonstrationsOf(run);
  await trainCheckpoint(
    run,
    { phase: 'sft', stage: 'sft' },
    {
      from: 0,
      to: 1,
      settings,
      examples: demonstrations.length,
      unit: 'demonstrations',
      work: (policy, common, state, hooks) =>
        sft(demonstrations, policy, { ...common, settings }, state, hooks),
    },
  );
}

/** Copies the checkpoint at `source`, so that the run does not depend on it later. */
async function take(run: RunContext, source: string): Promise<void> {
  const of = { phase: 'sft', stage: 'sft' } as const;
  const to = run.checkpoint(1);
  if (existsSync(to)) return run.tellKept(of);
  await run.stage(of, { done: 0, total: 1, unit: 'checkpoint' }, async ({ progress }) => {
    await makeFolder(to, async (folder) => {
      for (const entry of await readdir(source, { withFileTypes: true })) {
        if (!entry.isDirectory())
          await copyFile(
            join(source, entry.name),
            join(folder, entry.name),
            constants.COPYFILE_FICLONE,
          );
      }
    });
    progress(1, 0);
    return { result: undefined, note: `taken from ${source}` };
  });
}

async function demonstrationsOf(run: RunContext): Promise<DemonstrationRecord[]> {
  const path = run.file('sft', 'demonstrations.jsonl');
  if (existsSync(path)) return readRecords(path);
  const { records: demonstrations } = await chooseDemonstrations(
    run.recipe,
    await run.models.policy(run.checkpoint(0)),
  );
  await writeRecords(path, demonstrations);
  return demonstrations;
}
