/**
 * SFT: makes θ_1 in `sft/`, either θ_0 fine-tuned on demonstrations or a copy of an existing
 * checkpoint. The loss covers the completions' tokens, end-of-turn included.
 */
import { constants, existsSync } from 'node:fs';
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isFile } from '../../files/files.js';
import type { DemonstrationRecord } from '../../data/records.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { completionInSlices, promptInSlices } from '../../lm/sliced.js';
import { mapInSlices, type Slices } from '../../lm/slices.js';
import { CARD } from '../card.js';
import type { RunContext } from '../context.js';
import type { Recipe } from '../recipe.js';
import { RunError } from '../errors.js';
import { requireRecorded } from '../recorded.js';
import { makeFolder } from '../store.js';
import { recordFolder } from '../verify.js';
import type { Objective } from './objective.js';
import { trainCheckpoint } from './train-checkpoint.js';

/** θ_1: θ_0 trained on the demonstrations, or the model of `sft.checkpoint`. */
export async function fineTune(run: RunContext): Promise<void> {
  const { checkpoint } = run.recipe.sft;
  await (checkpoint === null ? train(run) : take(run, checkpoint));
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
  requireModelFolder(source);
  await requireRecorded(source, run.signal);
  const { config: base } = await models.model(run.checkpoint(0));
  const { config } = await models.model(source);
  const differs = SHAPE.find((key) => config[key] !== base[key]);
  await models.keep([run.checkpoint(0)]);
  if (differs)
    throw new RunError(
      'ERR_RUN_DATA',
      `sft.checkpoint: ${source} does not come from ${name}: its ${differs} is ` +
        `${config[differs]}, the base model's ${base[differs]}. Name a checkpoint of this ` +
        'model, or the model that it comes from.',
    );
}

/** @throws RunError if `source`, a recipe's `sft.checkpoint`, is no model */
export function requireModelFolder(source: string): void {
  if (['config.json', 'adapter_config.json'].some((file) => existsSync(join(source, file)))) return;
  throw new RunError(
    'ERR_RUN_DATA',
    `sft.checkpoint: ${source} is not a model folder (it has no config.json): name a ` +
      'checkpoint such as runs/mine/sft/checkpoint.',
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
  const of = { phase: 'sft', stage: 'sft' } as const;
  await trainCheckpoint(
    run,
    of,
    { from: 0, to: 1, unit: 'demonstrations' },
    sftObjective(await demonstrationsOf(run), run.recipe),
  );
}

/** The SFT loss on `demonstrations`: cross-entropy of the completions' tokens. */
export function sftObjective(
  demonstrations: readonly DemonstrationRecord[],
  { seed, sft }: Pick<Recipe, 'seed' | 'sft'>,
): Objective<DemonstrationRecord> {
  return {
    examples: demonstrations,
    id: ({ id }) => id,
    key: [seed, 'sft', 'sft'],
    settings: sft,
    rewards: false,
    step: async (trainer, batch, policy, signal) =>
      trainer.sftStep(
        await mapInSlices(
          batch,
          (demonstration, slices) => encodeDemonstration(demonstration, policy, slices),
          signal,
        ),
        { signal },
      ),
  };
}

/** Copies the checkpoint at `source`, so that the run does not depend on it later. */
async function take(run: RunContext, source: string): Promise<void> {
  const of = { phase: 'sft', stage: 'sft' } as const;
  const to = run.checkpoint(1);
  if (existsSync(to)) return run.tellKept(of);
  await run.stage(of, { done: 0, total: 1, unit: 'checkpoint' }, async ({ progress }) => {
    const copy = async (folder: string) => {
      for (const entry of await readdir(source, { withFileTypes: true })) {
        // The model card of the source does not describe this run.
        if (entry.name !== CARD && isFile(join(source, entry.name)))
          await copyFile(
            join(source, entry.name),
            join(folder, entry.name),
            constants.COPYFILE_FICLONE,
          );
      }
    };
    await makeFolder(to, copy, (folder) => recordFolder(run.records, folder, to));
    progress(1, 0);
    return { result: undefined, note: `taken from ${source}` };
  });
}

async function demonstrationsOf(run: RunContext): Promise<DemonstrationRecord[]> {
  if (existsSync(run.file('sft', 'demonstrations.jsonl')))
    return run.read('sft', 'demonstrations.jsonl');
  const { records: demonstrations } = await run.inputs.demonstrations();
  await run.record('sft', 'demonstrations.jsonl', demonstrations);
  return demonstrations;
}

/** Token ids of a demonstration; its answer ends with the end-of-turn token. */
export async function encodeDemonstration(
  { prompt, completion }: DemonstrationRecord,
  language: LanguageModel,
  slices: Slices,
): Promise<{ prompt: number[]; completion: number[] }> {
  const text = completion.map((message) => message.content).join('\n');
  return {
    prompt: await promptInSlices(language, prompt, slices),
    completion: await completionInSlices(language, text, slices),
  };
}
