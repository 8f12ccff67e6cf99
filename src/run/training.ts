/** Runs a training stage (SFT or DPO): resumes its saved state and writes its checkpoint. */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Model } from '../engine/model.js';
import type { LanguageModel } from '../lm/language-model.js';
import type { OfStage, RunContext } from './context.js';
import { stepsPerEpoch, type StepRecord, type TrainingState } from './stages/optimise.js';
import type { OptimisationSettings } from './recipe.js';
import type { StageHooks } from './stages/stage.js';
import { saveCheckpoint } from './checkpoint.js';
import { writeRecords } from './store.js';
import { trainingState } from './training-state.js';

/** Arguments of the training loop that SFT and DPO share. */
export interface CommonWork {
  key: readonly (string | number)[];
  onStep: (record: StepRecord) => void;
  save: (model: Model) => Promise<void>;
}

export interface Training {
  /** Trains θ_from into θ_to. */
  from: number;
  to: number;
  settings: OptimisationSettings;
  examples: number;
  unit: string;
  work: (
    policy: LanguageModel,
    common: CommonWork,
    state: TrainingState,
    hooks: StageHooks,
  ) => Promise<StepRecord[]>;
}

/** Skipped if `steps.jsonl` exists, since that is written after the checkpoint is complete. */
export async function trainCheckpoint(
  run: RunContext,
  of: OfStage,
  training: Training,
): Promise<void> {
  const { settings } = training;
  const { phase } = of;
  const stepsFile = run.file(phase, 'steps.jsonl');
  const folder = run.file(phase, 'training');
  if (existsSync(stepsFile)) {
    run.tellKept(of);
    return rm(folder, { recursive: true, force: true });
  }
  const state = trainingState(folder, run.plan);
  const from = run.checkpoint(training.from);
  const to = run.checkpoint(training.to);
  const total = stepsPerEpoch(training.examples, settings) * settings.epochs;
  await run.stage(of, { done: await state.steps(), total, unit: 'steps' }, async (hooks) => {
    const steps = await run.models.train(from, to, settings.checkpoint_dtype, (policy) =>
      training.work(
        policy,
        {
          key: [run.recipe.seed, of.stage, phase],
          onStep: (metrics) => run.tellStep(of, metrics),
          save: (model) => saveCheckpoint(policy, model, to, settings.checkpoint_dtype),
        },
        state,
        hooks,
      ),
    );
    await writeRecords(stepsFile, steps);
    await rm(folder, { recursive: true, force: true });
    return { result: undefined, note: noteOn(steps, training) };
  });
}

function noteOn(steps: readonly StepRecord[], { examples, unit }: Training): string {
  const last = steps.at(-1)!;
  const margin = last['rewards/margins'];
  return (
    `${examples} ${unit}, loss ${steps[0]!.loss.toFixed(3)} → ` +
    `${last.loss.toFixed(3)}${margin === undefined ? '' : `, margin ${margin.toFixed(3)}`}`
  );
}
