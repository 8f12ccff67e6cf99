/**
 * The optimisation loop that SFT and preference training share: batches in a keyed order, one
 * trainer call a step, state saved on the way. The order of an epoch depends on the key and the
 * records' ids only, so a resumed loop takes the same steps as one never stopped.
 */
import type { Trainer, TrainerParams } from '../../engine/trainer.js';
import type { Model } from '../../engine/model.js';
import { Interrupted, RunError } from '../errors.js';
import { promptKey, shuffled } from '../keys.js';
import type { OptimisationSettings } from '../recipe.js';
import type { StageHooks } from './stage.js';

/** One optimizer step in TRL's metric names: what does not depend on the machine's speed. */
export interface StepRecord {
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
  /** Mean estimate of KL(π_θ ‖ π_θ0), nats a response; where train.kl_coefficient is above 0. */
  kl?: number;
}

export type StepMetrics = Awaited<ReturnType<Trainer['preferenceStep']>>;

/** Where a stopped loop goes on: training-state.ts keeps it on disk. */
export interface TrainingState {
  /** Brings a new trainer to the last saved step and returns the steps it has behind it. */
  restore(trainer: Trainer): Promise<StepRecord[]>;
  save(trainer: Trainer, steps: readonly StepRecord[]): Promise<void>;
}

export interface Optimisation<Example> {
  examples: readonly Example[];
  id: (example: Example) => string;
  /** What the order of an epoch is keyed by: seed, stage, iteration. */
  key: readonly (string | number)[];
  settings: OptimisationSettings;
  beta?: number;
  klCoefficient?: number;
  step: (trainer: Trainer, batch: Example[]) => Promise<{ metrics: StepMetrics; rewards: boolean }>;
  onStep: (record: StepRecord) => void;
  /** Called with the trained model while the trainer still holds its fp32 master weights. */
  save: (model: Model) => Promise<void>;
}

/**
 * Trains `model` in place and returns its steps. @throws Interrupted after the step in progress,
 * its state saved.
 */
export async function optimise<Example>(
  model: Model,
  work: Optimisation<Example>,
  state: TrainingState,
  hooks: StageHooks,
): Promise<StepRecord[]> {
  const { settings, examples } = work;
  const perEpoch = stepsPerEpoch(examples.length, settings);
  const totalSteps = perEpoch * settings.epochs;
  const trainer = await model.trainer(trainerParams(work, totalSteps));
  try {
    const steps = await state.restore(trainer);
    let tokens = 0;
    for (let epoch = Math.floor(steps.length / perEpoch); epoch < settings.epochs; epoch++) {
      const order = shuffled(examples, work.id, ...work.key, epoch);
      for (let index = steps.length - epoch * perEpoch; index < perEpoch; index++) {
        const batch = order.slice(index * settings.batch_size, (index + 1) * settings.batch_size);
        const { metrics, rewards } = await finite(work.step(trainer, batch), steps.length + 1);
        tokens += metrics.tokens;
        steps.push(stepRecord(metrics, rewards, steps, (steps.length + 1) / perEpoch));
        work.onStep(steps.at(-1)!);
        hooks.progress(steps.length, tokens);
        const due =
          settings.save_steps > 0 &&
          steps.length % settings.save_steps === 0 &&
          steps.length < totalSteps;
        if (due || hooks.signal.aborted) await state.save(trainer, steps);
        if (hooks.signal.aborted) throw new Interrupted();
      }
    }
    await work.save(model);
    return steps;
  } finally {
    await trainer.dispose();
  }
}

/** Optimizer steps of one pass; the last batch may be smaller. */
export function stepsPerEpoch(examples: number, settings: { batch_size: number }): number {
  return Math.ceil(examples / settings.batch_size);
}

function trainerParams(
  {
    settings,
    beta,
    klCoefficient,
    key,
  }: Pick<Optimisation<never>, 'settings' | 'beta' | 'klCoefficient' | 'key'>,
  totalSteps: number,
): TrainerParams {
  return {
    learningRate: settings.learning_rate,
    weightDecay: settings.weight_decay,
    maxGradNorm: settings.max_grad_norm,
    schedule: settings.schedule,
    // Rounded as transformers does, but the rate of a run's only step must not be 0.
    warmupSteps: Math.min(Math.ceil(settings.warmup_ratio * totalSteps), totalSteps - 1),
    totalSteps,
    microBatchTokens: settings.micro_batch_tokens,
    activationCheckpointing: settings.activation_checkpointing,
    optimizerStates: settings.optimizer_states,
    masterWeights: settings.master_weights,
    gradientDtype: settings.gradient_dtype,
    ...(beta === undefined ? {} : { beta }),
    ...(klCoefficient ? { klCoefficient } : {}),
    dropoutSeed: promptKey(JSON.stringify(['dropout', ...key])),
  };
}

/** One sentence for a loss that is no number, whichever side notices it. */
async function finite(
  step: Promise<{ metrics: StepMetrics; rewards: boolean }>,
  number: number,
): Promise<{ metrics: StepMetrics; rewards: boolean }> {
  const diverged = (cause?: unknown) =>
    new RunError(
      'ERR_DIVERGED',
      `Training stopped at step ${number}: the loss or its gradient is not a finite ` +
        'number. Earlier stages and the last saved state are kept; lower learning_rate (a ' +
        'new --out directory) or look for a broken example.',
      { cause },
    );
  try {
    const result = await step;
    if (!Number.isFinite(result.metrics.loss)) throw diverged();
    return result;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_NON_FINITE') throw diverged(error);
    throw error;
  }
}

function stepRecord(
  metrics: StepMetrics,
  rewards: boolean,
  before: readonly StepRecord[],
  epoch: number,
): StepRecord {
  const record: StepRecord = {
    step: before.length + 1,
    epoch,
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
    ...(metrics.kl !== undefined && { kl: metrics.kl }),
  };
}
