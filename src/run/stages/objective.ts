/**
 * What a training optimises: its examples in a keyed order, the trainer's parameters, one step and
 * its record. The order of an epoch depends on the key and the records' ids only, so a resumed
 * stage takes the same steps as an uninterrupted one.
 */
import { average } from '../../data/average.js';
import { TRAINER_FIELDS } from '../../engine/requests.js';
import type { Trainer, TrainerParams } from '../../engine/trainer.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { RunError } from '../errors.js';
import { promptKey, shuffled } from '../keys.js';
import type { OptimisationSettings } from '../recipe.js';
import type { EvaluationColumns, InTraining } from './in-training.js';
import type { Team } from '../team.js';

/** One optimizer step in TRL's metric names, without values that depend on the machine's speed. */
export interface StepRecord extends EvaluationColumns {
  step: number;
  epoch: number;
  loss: number;
  grad_norm: number;
  learning_rate: number;
  num_tokens: number;
  'rewards/chosen'?: number;
  'rewards/rejected'?: number;
  'rewards/margins'?: number;
  'rewards/accuracies'?: number;
  'logps/chosen'?: number;
  'logps/rejected'?: number;
  /** Weights of the batch's pairs. */
  'weights/mean'?: number;
  'weights/min'?: number;
  'weights/max'?: number;
  /** Mean estimate of KL(π_θ ‖ π_θ0), nats per completion, if train.kl_coefficient is above 0. */
  kl?: number;
  /** KTO's estimate of KL(π_θ ‖ π_ref), nats per completion (TRL's `kl`). */
  'kto/kl'?: number;
}

export type StepMetrics = Awaited<ReturnType<Trainer['preferenceStep']>> & {
  /** KTO's z_0, in nats. */
  klBaseline?: number;
};

/** The examples of a training, and the step that trains on them. */
export interface Objective<Example> {
  examples: readonly Example[];
  id: (example: Example) => string;
  /** The key of an epoch's order: seed, stage, iteration. */
  key: readonly (string | number)[];
  settings: OptimisationSettings;
  /** Whether the metrics of a step include rewards. */
  rewards: boolean;
  /** The factor of an example's loss. */
  weight?: (example: Example) => number;
  /** One optimizer step; if aborting `signal` stops it, it changes nothing. */
  step: (
    trainer: Trainer,
    batch: readonly Example[],
    policy: LanguageModel,
    signal: AbortSignal,
  ) => Promise<StepMetrics>;
  evaluation?: InTraining;
  /** Called with the first step, to warn. */
  checkFirst?: (first: StepRecord) => void;
}

/** The batches that remain after `done` steps. */
export function* batchesAfter<Example>(
  done: number,
  { examples, id, key, settings: { epochs, batch_size: size } }: Objective<Example>,
): Generator<Example[]> {
  const perEpoch = stepsPerEpoch(examples.length, { batch_size: size });
  for (let epoch = Math.floor(done / perEpoch); epoch < epochs; epoch++) {
    const order = shuffled(examples, id, ...key, epoch);
    for (let index = Math.max(0, done - epoch * perEpoch); index < perEpoch; index++)
      yield order.slice(index * size, (index + 1) * size);
  }
}

/** Optimizer steps of all epochs. */
export function totalSteps<Example>({ examples, settings }: Objective<Example>): number {
  return stepsPerEpoch(examples.length, settings) * settings.epochs;
}

/** Optimizer steps of one pass; the last batch may be smaller. */
export function stepsPerEpoch(examples: number, settings: { batch_size: number }): number {
  return Math.ceil(examples / settings.batch_size);
}

/** The trainer's parameters for an objective, with the warmup and length of its schedule. */
export function trainerParams<Example>(objective: Objective<Example>): TrainerParams {
  const { settings, key } = objective;
  const total = totalSteps(objective);
  return {
    ...trainerFields(settings),
    learningRate: settings.learning_rate,
    // Rounded as in transformers, but the learning rate of a run's only step must not be 0.
    warmupSteps: Math.min(Math.ceil(settings.warmup_ratio * total), total - 1),
    totalSteps: total,
    dropoutSeed: promptKey(JSON.stringify(['dropout', ...key])),
  };
}

/** The trainer's fields that have a key of the same name: `simpo_gamma` sets simpoGamma. */
function trainerFields(settings: object): Partial<TrainerParams> {
  const values = new Map(Object.entries(settings));
  const keyOf = (field: string) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(
    Object.keys(TRAINER_FIELDS)
      .filter((field) => values.has(keyOf(field)))
      .map((field) => [field, values.get(keyOf(field))]),
  );
}

/** The inputs of one optimizer step. */
interface StepInput<Example> {
  trainer: Trainer;
  batch: readonly Example[];
  policy: LanguageModel;
  /** Steps taken before. */
  before: number;
}

/** One step. @throws RunError in one sentence for a loss or gradient that is not finite. */
export async function takeStep<Example>(
  objective: Objective<Example>,
  { trainer, batch, policy, before }: StepInput<Example>,
  { signal, team }: { signal: AbortSignal; team?: Team | undefined },
): Promise<StepMetrics | 'aborted'> {
  const diverged = (cause?: unknown) =>
    new RunError(
      'ERR_DIVERGED',
      `Training stopped at step ${before + 1}: the loss or its gradient is not a finite ` +
        'number. Earlier stages and the last saved state are kept; lower learning_rate (in a ' +
        'new run directory) or look for a broken example.',
      { cause },
    );
  if (signal.aborted) return 'aborted';
  await team?.order({ do: 'step' });
  // A step that the ranks have begun is finished by all of them.
  const within = team ? new AbortController().signal : signal;
  let metrics: StepMetrics;
  try {
    metrics = await objective.step(trainer, batch, policy, within);
  } catch (error) {
    if (within.aborted) return 'aborted';
    throw (error as { code?: string }).code === 'ERR_NON_FINITE' ? diverged(error) : error;
  }
  if (!Number.isFinite(metrics.loss)) throw diverged();
  return metrics;
}

/** The record of the step after those of `before`. */
export function stepRecord<Example>(
  metrics: StepMetrics,
  { examples, settings, rewards, weight }: Objective<Example>,
  before: readonly StepRecord[],
  batch: readonly Example[],
): StepRecord {
  const record: StepRecord = {
    step: before.length + 1,
    epoch: (before.length + 1) / stepsPerEpoch(examples.length, settings),
    loss: metrics.loss,
    grad_norm: metrics.gradNorm,
    learning_rate: metrics.learningRate,
    num_tokens: (before.at(-1)?.num_tokens ?? 0) + metrics.tokens,
  };
  if (!rewards) return record;
  return {
    ...record,
    'rewards/chosen': metrics.rewardChosen,
    'rewards/rejected': metrics.rewardRejected,
    'rewards/margins': metrics.rewardMargin,
    'rewards/accuracies': metrics.rewardAccuracy,
    'logps/chosen': metrics.logpChosen,
    'logps/rejected': metrics.logpRejected,
    ...(weight && weightColumns(batch.map(weight))),
    ...(metrics.kl !== undefined && { kl: metrics.kl }),
    ...(metrics.klBaseline !== undefined && { 'kto/kl': metrics.klBaseline }),
  };
}

const weightColumns = (weights: readonly number[]) => ({
  'weights/mean': average(weights),
  'weights/min': Math.min(...weights),
  'weights/max': Math.max(...weights),
});
