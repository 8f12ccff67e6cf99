/**
 * Evaluation of a model in training (`evaluate.every`) and early stopping. The values are columns
 * of their steps. So the steps alone determine which step is the best and whether training stops,
 * also in a resumed stage.
 */
import type { PairRecord } from '../../data/records.js';
import { accuracyOf } from '../../evaluate/intervals.js';
import { mean } from '../../evaluate/iteration.js';
import type { LanguageModel } from '../../lm/language-model.js';
import type { RunContext } from '../context.js';
import { shuffled } from '../keys.js';
import type { Recipe } from '../recipe.js';
import { evaluate, evaluateSettings } from './evaluate.js';
import type { StepRecord } from './optimise.js';

/** Columns of a step that was evaluated. */
export interface EvaluationColumns {
  'eval/rewards/margins'?: number;
  'eval/rewards/accuracies'?: number;
  'eval/accuracy'?: number;
}

export interface InTraining {
  /** Steps between two evaluations. */
  every: number;
  /** Evaluations without a new best value before training stops; 0 never stops. */
  patience: number;
  /** The column that is compared; higher is better. */
  column: keyof EvaluationColumns;
  measure: (policy: LanguageModel, signal: AbortSignal) => Promise<EvaluationColumns>;
}

/** Whether the newest step is due for an evaluation and has none yet. */
export const isUnmeasured = (
  { every, column }: InTraining,
  steps: readonly StepRecord[],
  total: number,
): boolean =>
  steps.length > 0 &&
  (steps.length % every === 0 || steps.length === total) &&
  steps.at(-1)![column] === undefined;

/** The step with the best value, the first of equal ones; undefined before an evaluation. */
export function bestStep(
  { column }: Pick<InTraining, 'column'>,
  steps: readonly StepRecord[],
): number | undefined {
  let best: StepRecord | undefined;
  for (const step of steps)
    if (step[column] !== undefined && (best === undefined || step[column] > best[column]!))
      best = step;
  return best?.step;
}

/** Whether the last `patience` evaluations brought no new best value. */
export function stopsAfter(
  { column, patience }: Pick<InTraining, 'column' | 'patience'>,
  steps: readonly StepRecord[],
): boolean {
  const measured = steps.filter((step) => step[column] !== undefined);
  const best = measured.findIndex(({ step }) => step === bestStep({ column }, steps));
  return patience > 0 && measured.length - 1 - best >= patience;
}

/** The pairs of iteration `t` that are trained on, and how the model is evaluated meanwhile. */
export async function inTraining(
  run: RunContext,
  t: number,
  pairs: readonly PairRecord[],
): Promise<{ trained: readonly PairRecord[]; evaluation?: InTraining }> {
  const { seed, evaluate: settings, train } = run.recipe;
  const { every, patience, metric } = settings;
  if (every === 0) return { trained: pairs };
  if (metric === 'accuracy') {
    const questions = await run.inputs.questions();
    return {
      trained: pairs,
      evaluation: {
        every,
        patience,
        column: 'eval/accuracy',
        measure: async (policy, signal) => {
          const hooks = { signal, progress: () => {} };
          const answers = await evaluate(questions, policy, evaluateSettings(run.recipe), hooks);
          return { 'eval/accuracy': accuracyOf(answers).accuracy };
        },
      },
    };
  }
  const count = Math.min(settings.pairs, Math.floor(pairs.length / 4));
  if (count < settings.pairs)
    run.emit({ type: 'warning', message: tooFew(t, count, pairs.length) });
  if (count === 0) return { trained: pairs };
  const ids = shuffled(pairs, ({ prompt_id }) => prompt_id, seed, 'evaluate', t)
    .slice(0, count)
    .map(({ prompt_id }) => prompt_id);
  const left = new Set(ids);
  const held = pairs.filter(({ prompt_id }) => left.has(prompt_id));
  return {
    trained: pairs.filter(({ prompt_id }) => !left.has(prompt_id)),
    evaluation: {
      every,
      patience,
      column: 'eval/rewards/margins',
      measure: (policy, signal) =>
        heldOutMargin(held, policy, train, run.recipe.score.max_num_batched_tokens, signal),
    },
  };
}

const tooFew = (t: number, count: number, pairs: number): string =>
  count === 0
    ? `Iteration ${t} has ${pairs} pairs, too few to leave any out of training: it is trained ` +
      'to the end, without evaluation. Use more prompts, or set evaluate.metric to accuracy.'
    : `Iteration ${t} has ${pairs} pairs, so only ${count} are left out of training for ` +
      'evaluation (evaluate.pairs).';

/** Mean reward of chosen minus rejected, as the loss defines it, and the share of it above 0. */
async function heldOutMargin(
  held: readonly PairRecord[],
  policy: LanguageModel,
  { loss, beta, reference }: Pick<Recipe['train'], 'loss' | 'beta' | 'reference'>,
  limit: number | 'auto',
  signal: AbortSignal,
): Promise<EvaluationColumns> {
  const { sums } = await policy.model.score(
    {
      groups: held.map(({ prompt_token_ids, chosen_token_ids, rejected_token_ids }) => ({
        prompt: prompt_token_ids,
        completions: [chosen_token_ids, rejected_token_ids],
      })),
      ...(limit !== 'auto' && { maxNumBatchedTokens: limit }),
    },
    { signal },
  );
  const reward = (logp: number, reference: number, tokens: readonly number[]) =>
    beta * (loss === 'simpo' ? logp / tokens.length : logp - reference);
  const margins = held.map((pair, i) => {
    const base = reference === 'base';
    const chosen = base ? pair.base_chosen_logps! : pair.ref_chosen_logps;
    const rejected = base ? pair.base_rejected_logps! : pair.ref_rejected_logps;
    return (
      reward(sums[2 * i]!, chosen, pair.chosen_token_ids) -
      reward(sums[2 * i + 1]!, rejected, pair.rejected_token_ids)
    );
  });
  return {
    'eval/rewards/margins': mean(margins)!,
    'eval/rewards/accuracies': mean(margins.map((margin) => Number(margin > 0)))!,
  };
}
