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
import type { BlockedStage } from './stages/stage.js';
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

/** The part of a stage that another rank executes; its items come from JSON. */
export interface Making extends Pick<BlockedStage<never, object>, 'atOnce' | 'units'> {
  make: (items: never[], hooks: WorkHooks) => Promise<object[]>;
}

/** Calls `use` with the stage of `work`; what it loads for this work alone is freed afterwards. */
export async function withMaker(
  run: WorkContext,
  work: Exclude<Work, { stage: 'evaluate in training' }>,
  use: (stage: Making) => Promise<void>,
): Promise<void> {
  if (work.stage !== 'reward') return use(await stageOf(run, work));
  await withRewardModel(run, (score) =>
    use({ make: (groups: CompletionGroup[], hooks) => score(groups.flat(), hooks) }),
  );
}

async function stageOf(
  run: WorkContext,
  work: Exclude<Work, { stage: 'reward' | 'evaluate in training' }>,
): Promise<Making> {
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
