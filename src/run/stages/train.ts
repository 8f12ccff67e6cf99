/** Train: pairs → θ_{t+1} by consistency-regularised DPO, C · DPO + (1 − C) · reverse DPO; the reference is θ_t by its scores. */
import type { PairRecord } from '../../data/records.js';
import type { Recipe } from '../recipe.js';
import { optimise, type Optimisation, type StepRecord, type TrainingState } from './optimise.js';
import type { Policy, StageHooks } from './stage.js';

export interface TrainWork extends Pick<Optimisation<PairRecord>, 'onStep' | 'save' | 'key'> {
  settings: Recipe['train'];
  onWarning: (message: string) => void;
}

/** Trains `policy.model` in place and returns its steps. */
export async function train(pairs: readonly PairRecord[], policy: Policy, work: TrainWork, state: TrainingState, hooks: StageHooks): Promise<StepRecord[]> {
  return optimise(policy.model, {
    ...work,
    examples: pairs,
    id: (pair) => pair.prompt_id,
    beta: work.settings.beta,
    step: async (trainer, batch) => ({ rewards: true, metrics: await trainer.preferenceStep(batch.map(pairInput)) }),
    onStep: (record) => {
      if (record.step === 1) checkReference(record, batchTokens(pairs), policy.model.dtype, work);
      work.onStep(record);
    },
  }, state, hooks);
}

function pairInput(pair: PairRecord) {
  return {
    prompt: pair.prompt_token_ids,
    chosen: pair.chosen_token_ids,
    rejected: pair.rejected_token_ids,
    referenceChosen: pair.ref_chosen_logps,
    referenceRejected: pair.ref_rejected_logps,
    consistency: pair.weight,
  };
}

/**
 * Before the first step the policy is its reference, so both rewards are 0 up to rounding. More than that means that scores and weights do
 * not belong together. Rounding of a token's log-prob is some 0.05 nats in bf16 and 1e-3 in fp32, and adds up as a random walk.
 */
function checkReference(first: StepRecord, meanTokens: number, dtype: string, { settings, onWarning }: TrainWork): void {
  const noise = settings.beta * (dtype === 'bfloat16' ? 0.05 : 1e-3) * Math.sqrt(2 * Math.max(1, meanTokens));
  const margin = Math.abs(first['rewards/margins'] ?? 0);
  if (margin > noise) {
    onWarning(`At the first step the reward margin is ${margin.toPrecision(3)}, above the rounding noise of ${noise.toPrecision(2)}: the reference log-probs of the pairs seem to come from other weights than the model in training.`);
  }
}

function batchTokens(pairs: readonly PairRecord[]): number {
  return pairs.reduce((sum, pair) => sum + Math.max(pair.chosen_token_ids.length, pair.rejected_token_ids.length), 0) / pairs.length;
}
