/** The work of a stage that all ranks share: as rank 0 describes it, and as a rank executes it. */
import type { WorkHooks } from '../lm/hooks.js';
import type { WorkContext } from './context.js';
import { withRewardModel } from './reward-model.js';
import { evaluationOf } from './stages/evaluate.js';
import { givenScoringOf } from './stages/given-pairs.js';
import { trainedPairs } from './stages/in-training.js';
import { mismatchedScoringOf } from './stages/mismatched.js';
import { judgingOf } from './stages/reward.js';
import { samplingOf } from './stages/sample.js';
import { scoringOf, type CompletionGroup } from './stages/score.js';
import { samplingFrom, type Origin } from './temporal.js';

/** A description of work that rank 0 sends to the other ranks. */
export type Work =
  | { stage: 'sample' | 'judge' | 'given pairs' | 'mismatched'; t: number }
  /** `sampled`: the sampler's log-probs stand for θ_t's. */
  | { stage: 'score'; t: number; sampled: boolean }
  | { stage: 'evaluate'; n: number }
  /** Evaluates the model in training. */
  | { stage: 'evaluate in training' }
  /** Another model samples for iteration t; see temporal.ts. */
  | { stage: 'sample others'; t: number; origin: Origin }
  /** Rewards by the recipe's reward model. */
  | { stage: 'reward' };

/** Makes the records of some items of a stage, which come from JSON. */
export type Maker = (items: never[], hooks: WorkHooks) => Promise<object[]>;

/** Calls `use` with the maker of `work`; what it loads for this work alone is freed afterwards. */
export async function withMaker(
  run: WorkContext,
  work: Exclude<Work, { stage: 'evaluate in training' }>,
  use: (make: Maker) => Promise<void>,
): Promise<void> {
  if (work.stage !== 'reward') return use((await stageOf(run, work)).make);
  await withRewardModel(run, (score) =>
    use((groups: CompletionGroup[], hooks) => score(groups.flat(), hooks)),
  );
}

async function stageOf(
  run: WorkContext,
  work: Exclude<Work, { stage: 'reward' | 'evaluate in training' }>,
): Promise<{ make: Maker }> {
  switch (work.stage) {
    case 'sample':
      return samplingOf(run, work.t, []);
    case 'sample others':
      return samplingFrom(run, work.t, work.origin, []);
    case 'score':
      return scoringOf(run, work);
    case 'judge':
      return judgingOf(run, work.t, []);
    case 'evaluate':
      return evaluationOf(run, work.n, []);
    case 'given pairs':
      return givenScoringOf(run, work.t, []);
    case 'mismatched':
      return mismatchedScoringOf(run, work.t, await trainedPairs(run, work.t));
  }
}
