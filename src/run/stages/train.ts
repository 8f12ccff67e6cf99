/**
 * Train: pairs → θ_{t+1} by a consistency-regularised loss, C · loss + (1 − C) · loss with the
 * roles reversed; the reference is θ_t by its scores.
 */
import type { MismatchedRecord, PairRecord } from '../../data/records.js';
import type { RunContext } from '../context.js';
import { RunError } from '../errors.js';
import { startsAtReference } from '../models.js';
import type { Recipe } from '../recipe.js';
import { inTraining } from './in-training.js';
import { klBaseline, scoreMismatched } from './mismatched.js';
import type { Objective, StepRecord } from './objective.js';
import { trainCheckpoint } from './train-checkpoint.js';

/** Trains θ_t into θ_{t+1} on the pairs of iteration `t`. */
export async function trainOnPairs(run: RunContext, t: number, pairs: PairRecord[]): Promise<void> {
  const of = { phase: t, stage: 'train' } as const;
  const { trained, evaluation } = await inTraining(run, t, pairs);
  const mismatched = run.recipe.train.loss === 'kto' ? await scoreMismatched(run, t, trained) : [];
  const objective = preferenceObjective(
    { pairs: trained, mismatched },
    run.recipe,
    [run.recipe.seed, 'train', t],
    (message) => run.emit({ type: 'warning', message }),
  );
  return trainCheckpoint(
    run,
    of,
    { from: t, to: t + 1, unit: 'pairs' },
    isStationary(trained, run.recipe)
      ? withoutUpdate(objective)
      : { ...objective, ...(evaluation && { evaluation }) },
  );
}

/**
 * Whether θ_t is a minimum of the loss, because every weight is ½ and training starts at the
 * reference. AdamW would still move the weights: by weight decay, and from then on by gradients of
 * almost 0, whose size it divides by.
 */
function isStationary(pairs: readonly PairRecord[], recipe: Recipe): boolean {
  const { loss, kl_coefficient: kl } = recipe.train;
  return (
    startsAtReference(recipe) &&
    loss !== 'simpo' &&
    kl === 0 &&
    pairs.every(({ weight }) => weight === 0.5)
  );
}

/** One step that reports the loss and leaves the weights as they are. */
function withoutUpdate<Example>(objective: Objective<Example>): Objective<Example> {
  const { examples, settings } = objective;
  return {
    ...objective,
    examples: examples.slice(0, settings.batch_size),
    settings: { ...settings, epochs: 1, learning_rate: 0 },
  };
}

/**
 * The recipe's loss on `pairs`; kto also needs their `mismatched` completions. `warn` is called
 * if the first step contradicts the reference log-probs.
 */
export function preferenceObjective(
  { pairs, mismatched }: { pairs: readonly PairRecord[]; mismatched: readonly MismatchedRecord[] },
  recipe: Pick<Recipe, 'train' | 'lora' | 'dtype' | 'score'>,
  key: readonly (string | number)[],
  warn: (message: string) => void,
): Objective<PairRecord> {
  const settings = recipe.train;
  const baselineOf =
    settings.loss === 'kto' ? klBaseline(pairs, mismatched, recipe.score) : undefined;
  return {
    examples: pairs,
    id: (pair) => pair.prompt_id,
    key,
    settings,
    rewards: true,
    weight: (pair) => pair.weight,
    step: async (trainer, batch, policy, signal) => {
      if (baselineOf) await trainer.gatherWeights(); // the policy scores mismatched completions
      const kl = await baselineOf?.(batch, policy.model, signal);
      const metrics = await trainer.preferenceStep(
        batch.map((pair) => ({
          ...pairInput(pair, settings),
          ...(kl && { klBaseline: kl.baseline }),
        })),
        { signal },
      );
      return kl
        ? { ...metrics, tokens: metrics.tokens + kl.tokens, klBaseline: kl.baseline }
        : metrics;
    },
    checkFirst: (first) => {
      // SimPO's rewards are mean log-probs without a reference, so its first margin is not 0.
      if (settings.loss !== 'simpo' && startsAtReference(recipe))
        checkReference(first, pairs, recipe, warn);
    },
  };
}

/** @throws RunError naming a pair whose log-probs under θ_0 are needed and missing */
function pairInput(pair: PairRecord, { reference, kl_coefficient: kl }: Recipe['train']) {
  const base = reference === 'base' || kl > 0 ? baseOf(pair) : undefined;
  return {
    prompt: pair.prompt_token_ids,
    chosen: pair.chosen_token_ids,
    rejected: pair.rejected_token_ids,
    referenceChosen: reference === 'base' ? base!.chosen : pair.ref_chosen_logps,
    referenceRejected: reference === 'base' ? base!.rejected : pair.ref_rejected_logps,
    weight: pair.weight,
    ...(kl > 0 && { baseChosen: base!.chosen, baseRejected: base!.rejected }),
  };
}

function baseOf({
  prompt_id,
  base_chosen_logps: chosen,
  base_rejected_logps: rejected,
}: PairRecord): { chosen: number; rejected: number } {
  if (chosen !== undefined && rejected !== undefined) return { chosen, rejected };
  throw new RunError(
    'ERR_RUN_DATA',
    `The pair of prompt ${JSON.stringify(prompt_id)} has no base_chosen_logps and ` +
      'base_rejected_logps, which train.reference base and train.kl_coefficient above 0 ' +
      'need: rank this iteration again, or set reference to current and kl_coefficient to 0.',
  );
}

/**
 * Before the first step the policy equals its reference, so both rewards are 0 up to rounding.
 * Larger rewards, or a larger margin, mean that the scores come from other weights. The rounding
 * error of a log-prob is about 0.05 nats per token in bf16 and 1e-3 in fp32, and grows as a random
 * walk.
 */
function checkReference(
  first: StepRecord,
  pairs: readonly PairRecord[],
  { train: settings, dtype }: Pick<Recipe, 'train' | 'dtype'>,
  warn: (message: string) => void,
): void {
  const pairNoise =
    settings.beta *
    (dtype === 'bfloat16' ? 0.05 : 1e-3) *
    Math.sqrt(2 * Math.max(1, batchTokens(pairs)));
  // Four standard deviations of the batch mean, but at least one of a single pair.
  const noise = pairNoise * Math.max(1, 4 / Math.sqrt(Math.min(pairs.length, settings.batch_size)));
  const [largest] = [
    { name: 'reward margin', value: first['rewards/margins'] ?? 0 },
    { name: 'reward of the chosen completions', value: first['rewards/chosen'] ?? 0 },
    { name: 'reward of the rejected completions', value: first['rewards/rejected'] ?? 0 },
  ].sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  if (Math.abs(largest!.value) > noise)
    warn(
      `At the first step the ${largest!.name} is ${largest!.value.toPrecision(3)}, above the ` +
        `rounding noise of ${noise.toPrecision(2)}: the reference log-probs of the pairs seem to ` +
        'come from other weights than the model in training.',
    );
}

function batchTokens(pairs: readonly PairRecord[]): number {
  return (
    pairs.reduce(
      (sum, pair) => sum + Math.max(pair.chosen_token_ids.length, pair.rejected_token_ids.length),
      0,
    ) / pairs.length
  );
}
