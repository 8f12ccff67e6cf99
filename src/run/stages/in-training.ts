/**
 * Evaluation of a model in training (`evaluate.every`) and early stopping. The values are columns
 * of their steps. So the steps alone determine which step is the best and whether training stops,
 * also in a resumed stage.
 */
import type { PairRecord } from '../../data/records.js';
import { accuracyOf } from '../../evaluate/intervals.js';
import { mean } from '../../evaluate/iteration.js';
import type { Question } from '../../evaluate/task.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import type { RunContext, WorkContext } from '../context.js';
import { shuffled } from '../keys.js';
import type { Recipe } from '../recipe.js';
import { evaluate, evaluateSettings } from './evaluate.js';
import type { StepRecord } from './objective.js';
import type { BlockedStage, MakeBlocks } from './stage.js';

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
  /** The records of some items of an evaluation, for the ranks that share it. */
  make: (items: never[], policy: LanguageModel, hooks: WorkHooks) => Promise<object[]>;
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

/** The pairs of an iteration that are trained on, and those that are evaluated instead. */
interface Split {
  trained: readonly PairRecord[];
  held: readonly PairRecord[];
}

/** Depends on the recipe and the pairs alone, so that all ranks split them alike. */
function splitPairs(
  { seed, evaluate: { every, metric, pairs: wanted } }: Recipe,
  t: number,
  pairs: readonly PairRecord[],
): Split {
  const count =
    every > 0 && metric === 'margin' ? Math.min(wanted, Math.floor(pairs.length / 4)) : 0;
  const ids = shuffled(pairs, ({ prompt_id }) => prompt_id, seed, 'evaluate', t)
    .slice(0, count)
    .map(({ prompt_id }) => prompt_id);
  const left = new Set(ids);
  return {
    trained: pairs.filter(({ prompt_id }) => !left.has(prompt_id)),
    held: pairs.filter(({ prompt_id }) => left.has(prompt_id)),
  };
}

/** The pairs of iteration `t` that are trained on, read from the run directory. */
export async function trainedPairs(run: WorkContext, t: number): Promise<readonly PairRecord[]> {
  return splitPairs(run.recipe, t, await run.read<PairRecord>(t, 'pairs.jsonl')).trained;
}

/** The pairs of iteration `t` that are trained on, and how the model is evaluated meanwhile. */
export async function inTraining(
  run: RunContext,
  t: number,
  pairs: readonly PairRecord[],
): Promise<{ trained: readonly PairRecord[]; evaluation?: InTraining }> {
  const { every, metric, pairs: wanted } = run.recipe.evaluate;
  if (every === 0) return { trained: pairs };
  const { trained, held } = splitPairs(run.recipe, t, pairs);
  if (metric === 'margin' && held.length < wanted)
    run.emit({ type: 'warning', message: tooFew(t, held.length, pairs.length) });
  if (metric === 'margin' && held.length === 0) return { trained };
  const questions = metric === 'accuracy' ? await run.inputs.questions() : [];
  return {
    trained,
    evaluation: evaluationInTraining(run.recipe, { held, questions }, run.makeBlocks),
  };
}

/**
 * How a model in training is evaluated. A rank that follows gets its items from rank 0, so it gives
 * none itself.
 */
export function evaluationInTraining(
  recipe: Recipe,
  { held, questions }: { held: readonly PairRecord[]; questions: readonly Question[] },
  makeAll?: MakeBlocks,
): InTraining {
  const { every, patience, metric } = recipe.evaluate;
  const common = { every, patience };
  if (metric === 'accuracy')
    return {
      ...common,
      column: 'eval/accuracy',
      ...shared(
        questions,
        (some, policy, hooks) => evaluate(some, policy, evaluateSettings(recipe), hooks),
        (answers) => ({ 'eval/accuracy': accuracyOf(answers).accuracy }),
        makeAll,
      ),
    };
  return {
    ...common,
    column: 'eval/rewards/margins',
    ...shared(
      held,
      (some, policy, { signal }) =>
        heldOutMargins(some, policy, recipe.train, recipe.score.max_num_batched_tokens, signal),
      (margins) => ({
        'eval/rewards/margins': mean(margins.map(({ margin }) => margin))!,
        'eval/rewards/accuracies': mean(margins.map(({ margin }) => Number(margin > 0)))!,
      }),
      makeAll,
    ),
  };
}

/** Runs `make` on all `items`, on all ranks if there are several, and joins the results. */
function shared<Item, Made extends object>(
  items: readonly Item[],
  make: (some: readonly Item[], policy: LanguageModel, hooks: WorkHooks) => Promise<Made[]>,
  columns: (made: Made[]) => EvaluationColumns,
  makeAll?: MakeBlocks,
): Pick<InTraining, 'make' | 'measure'> {
  return {
    make,
    measure: async (policy, signal) => {
      const hooks = { signal, progress: () => {} };
      if (!makeAll) return columns(await make(items, policy, hooks));
      const stage: BlockedStage<Item, Made> = {
        items,
        size: items.length,
        unit: 'items',
        work: () => Promise.resolve({ stage: 'evaluate in training' }),
        make: (some, its) => make(some, policy, its),
      };
      let all: Made[] = [];
      const keep = (_: unknown, made: Made[]) => Promise.resolve(void (all = made));
      await makeAll(stage, [{ number: 0, items }], keep, hooks);
      return columns(all);
    },
  };
}

const tooFew = (t: number, count: number, pairs: number): string =>
  count === 0
    ? `Iteration ${t} has ${pairs} pairs, too few to leave any out of training: it is trained ` +
      'to the end, without evaluation. Use more prompts, or set evaluate.metric to accuracy.'
    : `Iteration ${t} has ${pairs} pairs, so only ${count} are left out of training for ` +
      'evaluation (evaluate.pairs).';

/** The reward of chosen minus rejected of each pair, as the loss defines it. */
async function heldOutMargins(
  held: readonly PairRecord[],
  policy: LanguageModel,
  { loss, beta, reference }: Pick<Recipe['train'], 'loss' | 'beta' | 'reference'>,
  limit: number | 'auto',
  signal: AbortSignal,
): Promise<{ margin: number }[]> {
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
  return held.map((pair, i) => {
    const base = reference === 'base';
    const chosen = base ? pair.base_chosen_logps! : pair.ref_chosen_logps;
    const rejected = base ? pair.base_rejected_logps! : pair.ref_rejected_logps;
    return {
      margin:
        reward(sums[2 * i]!, chosen, pair.chosen_token_ids) -
        reward(sums[2 * i + 1]!, rejected, pair.rejected_token_ids),
    };
  });
}
