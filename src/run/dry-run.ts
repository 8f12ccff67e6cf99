/**
 * What a run would do: its stages with the number of items of each, and how far they are. Reads the
 * inputs and checks them as a run does, and writes nothing.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isExternal, JUDGED_REWARDS } from '../reward/reward.js';
import { readInputs } from './check.js';
import { begunWith, checkDirectory } from './directory.js';
import type { StageName } from './events.js';
import { RunInputs } from './inputs.js';
import type { Recipe } from './recipe.js';
import { stepsPerEpoch } from './stages/optimise.js';
import { phaseFolder, SUMMARY, type Phase } from './store.js';

export interface PlannedStage {
  phase: Phase;
  stage: StageName;
  /** Items; of a stage that depends on the ones before, the most there can be. */
  count: number;
  unit: string;
  /** Optimizer steps of a training stage, at most. */
  steps?: number;
  state: 'finished' | 'begun' | 'to do';
}

export interface DryRun {
  directory: string;
  state: 'new' | 'begun' | 'finished';
  stages: PlannedStage[];
}

/** @throws RunError or DataError as run() does for a wrong directory or input */
export async function dryRun(recipe: Recipe, directory: string): Promise<DryRun> {
  checkDirectory(directory);
  const begun = await begunWith(directory, recipe);
  const inputs = await readInputs(recipe, new RunInputs(recipe));
  const { iterations, sft, sample, reward, train, pairs: given, evaluate } = recipe;
  const judged = (JUDGED_REWARDS as readonly string[]).includes(reward.source);
  const stages: PlannedStage[] = [];
  const add = (phase: Phase, stage: StageName, count: number, unit: string, steps?: number) => {
    if (count === 0) return;
    const state = stateOf(join(directory, phaseFolder(phase)), stage);
    stages.push({ phase, stage, count, unit, ...(steps !== undefined && { steps }), state });
  };
  const test = (phase: Phase) => add(phase, 'evaluate', inputs.questions.length, 'questions');
  const stepsOf = (examples: number, settings: { batch_size: number; epochs: number }) =>
    stepsPerEpoch(examples, settings) * settings.epochs;
  if (evaluate.baseline) test(0);
  if (sft.enabled) {
    const count = inputs.demonstrations.length;
    if (sft.checkpoint !== null) add('sft', 'sft', 1, 'checkpoint');
    else add('sft', 'sft', count, 'demonstrations', stepsOf(count, sft));
    test('sft');
  }
  const prompts = iterations > 0 ? Math.floor(inputs.prompts.length / iterations) : 0;
  const rows = given.source === null ? prompts : given.count || inputs.preferences.length;
  for (let t = 1; t <= iterations; t++) {
    const completions = given.source === null ? prompts * sample.samples : 2 * rows;
    if (given.source === null) add(t, 'sample', completions, 'completions');
    add(t, 'score', completions, 'completions');
    if (given.source === null && judged)
      add(t, 'reward', completions * reward.judgements, 'judgements');
    if (given.source === null && isExternal(reward.source))
      add(t, 'reward', completions, 'completions');
    if (given.source === null) add(t, 'rank', prompts, 'prompts');
    add(t, 'train', rows, 'pairs', stepsOf(rows, train));
    test(t);
  }
  const finished = existsSync(join(directory, SUMMARY)) && begun === 'same';
  return { directory, state: finished ? 'finished' : begun === 'new' ? 'new' : 'begun', stages };
}

/** The artefacts of which one means that the stage is finished. */
const ARTEFACTS: Readonly<Record<Exclude<StageName, 'sft' | 'train'>, readonly string[]>> = {
  sample: ['completions.jsonl'],
  score: ['scores.jsonl'],
  reward: ['judgements.jsonl', 'rewards.jsonl'],
  rank: ['pairs.jsonl'],
  evaluate: ['answers.jsonl'],
};

function stateOf(folder: string, stage: StageName): PlannedStage['state'] {
  const training = existsSync(join(folder, 'training'));
  if (stage === 'sft' || stage === 'train') {
    const copied = stage === 'sft' && !training && existsSync(join(folder, 'checkpoint'));
    if (existsSync(join(folder, 'steps.jsonl')) || copied) return 'finished';
    return training ? 'begun' : 'to do';
  }
  const paths = ARTEFACTS[stage].map((name) => join(folder, name));
  if (paths.some((path) => existsSync(path))) return 'finished';
  return paths.some((path) => existsSync(`${path}.parts`)) ? 'begun' : 'to do';
}
