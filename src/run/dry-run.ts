/**
 * Lists the stages that a run would execute, each with its number of items and its progress so far.
 * Reads and checks the inputs, local models and the device as a run does, and writes nothing.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isExternal, JUDGED_REWARDS } from '../reward/reward.js';
import { readInputs } from './check.js';
import { begunWith, checkDirectory } from './directory.js';
import { checkRewards } from './execute.js';
import type { StageName } from './events.js';
import { RunInputs } from './inputs.js';
import type { Recipe } from './recipe.js';
import { requireDevice } from './placement.js';
import { requireIfLocal } from './sources.js';
import { requireModelFolder } from './stages/sft.js';
import { stepsPerEpoch } from './stages/objective.js';
import { phaseFolder, SUMMARY, type Phase } from './store.js';

type Part = 'initial' | 'future';

export interface PlannedStage {
  phase: Phase;
  /** With `temporal`: the other model of the iteration that samples or is trained. */
  part?: Part;
  stage: StageName;
  /** Number of items; an upper bound for a stage that depends on earlier ones. */
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
  checkRewards(recipe, undefined);
  const source = new RunInputs(recipe);
  const inputs = await readInputs(recipe, source);
  await checkModels(recipe, existsSync(join(directory, 'sft/checkpoint')));
  await requireDevice(recipe.device);
  const { iterations, sft, evaluate } = recipe;
  const stages: PlannedStage[] = [];
  const add: Add = (phase, stage, count, unit, { part, steps } = {}) => {
    if (count === 0) return;
    const state = stateOf(join(directory, phaseFolder(phase), part ?? ''), stage);
    stages.push({
      phase,
      ...(part && { part }),
      stage,
      count,
      unit,
      ...(steps && { steps }),
      state,
    });
  };
  const test = (phase: Phase) => add(phase, 'evaluate', inputs.questions.length, 'questions');
  if (evaluate.baseline) test(0);
  if (sft.enabled) {
    const count = inputs.demonstrations.length;
    if (sft.checkpoint !== null) add('sft', 'sft', 1, 'checkpoint');
    else add('sft', 'sft', count, 'demonstrations', { steps: stepsOf(count, sft) });
    test('sft');
  }
  const given =
    recipe.pairs.source === null ? undefined : (await source.preferences()).records.length;
  for (let t = 1; t <= iterations; t++) {
    if (given === undefined) addOwnPairs(recipe, t, inputs.prompts.length / iterations, add);
    else add(t, 'score', 2 * given, 'completions');
    const pairs = given ?? inputs.prompts.length / iterations;
    add(t, 'train', pairs, 'pairs', { steps: stepsOf(pairs, recipe.train) });
    test(t);
  }
  const finished = existsSync(join(directory, SUMMARY)) && begun === 'same';
  return { directory, state: finished ? 'finished' : begun === 'new' ? 'new' : 'begun', stages };
}

/** As a run does, which reads `sft.checkpoint` only until it has taken it. */
async function checkModels({ model, reward, sft }: Recipe, taken: boolean): Promise<void> {
  await requireIfLocal(model);
  if (reward.source === 'model' && reward.model !== null) await requireIfLocal(reward.model);
  if (sft.enabled && sft.checkpoint !== null && !taken) requireModelFolder(sft.checkpoint);
}

type Add = (
  phase: Phase,
  stage: StageName,
  count: number,
  unit: string,
  more?: { part?: Part; steps?: number },
) => void;

const stepsOf = (examples: number, settings: { batch_size: number; epochs: number }): number =>
  stepsPerEpoch(examples, settings) * settings.epochs;

/** The stages of iteration `t` that make its pairs. */
function addOwnPairs(recipe: Recipe, t: number, prompts: number, add: Add): void {
  const { sample, reward, train, temporal } = recipe;
  const completions = prompts * sample.samples;
  const sampled = (part?: Part): void => {
    add(t, 'sample', completions, 'completions', part && { part });
    add(t, 'score', completions, 'completions', part && { part });
  };
  sampled();
  if (temporal.anchored_rejection) sampled('initial');
  if (temporal.future_chosen) {
    add(t, 'rank', prompts, 'prompts', { part: 'future' });
    add(t, 'train', prompts, 'pairs', { part: 'future', steps: stepsOf(prompts, train) });
    sampled('future');
  }
  if ((JUDGED_REWARDS as readonly string[]).includes(reward.source))
    add(t, 'reward', completions * reward.judgements, 'judgements');
  if (isExternal(reward.source)) add(t, 'reward', completions, 'completions');
  add(t, 'rank', prompts, 'prompts');
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
