/**
 * The training that SFT and preference training share: batches in a keyed order, one trainer call
 * per step, saved state in between, a checkpoint at the end. The order of an
 * epoch depends on the key and the records' ids only, so a resumed stage takes the same steps as an
 * uninterrupted one.
 */
import { average } from '../../data/average.js';
import { TRAINER_FIELDS } from '../../engine/requests.js';
import type { Trainer, TrainerParams } from '../../engine/trainer.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { saveCheckpoint } from '../checkpoint.js';
import { Interrupted, RunError } from '../errors.js';
import { promptKey, shuffled } from '../keys.js';
import type { OptimisationSettings } from '../recipe.js';
import { savingNote, statefulOf, type Stateful } from '../training-state.js';
import {
  bestStep,
  isUnmeasured,
  stopsAfter,
  type EvaluationColumns,
  type InTraining,
} from './in-training.js';
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

/** The state from which an interrupted loop continues; training-state.ts keeps it on disk. */
export interface TrainingState {
  /** The steps of the saved state; 0 if there is none. */
  steps(): Promise<number>;
  /** Restores the last saved step into a new trainer and returns the steps taken before it. */
  restore(trainer: Stateful): Promise<StepRecord[]>;
  save(trainer: Stateful, steps: readonly StepRecord[]): Promise<void>;
  /** Keeps the checkpoint of the newest step, which `build` saves, in place of an older one. */
  saveBest(
    trainer: Stateful,
    steps: readonly StepRecord[],
    build: (folder: string) => Promise<void>,
  ): Promise<void>;
  /** Copies the checkpoint of `step` that saveBest() kept. */
  takeBest(step: number, to: string): Promise<void>;
}

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

export interface TrainingHooks extends WorkHooks {
  /** Called with the steps of an earlier call. */
  onRestore?: (steps: readonly StepRecord[]) => void;
  onStep?: (record: StepRecord, cost: { tokens: number; seconds: number }) => void;
  /** The ranks that train together; undefined for a single process. */
  team?: Team | undefined;
  /** Whether the checkpoint of the last step may be saved later; asked when it has to be. */
  savesLater?: () => boolean;
}

/** A training that has ended. */
export interface Optimised {
  steps: StepRecord[];
  /** The step of the checkpoint: the last, or the best if training stops early. */
  best: number;
  /**
   * Saves the checkpoint, which is not written yet. The model may compute meanwhile, but not be
   * trained.
   */
  save?: () => Promise<void>;
}

/**
 * Trains `policy.model` in place and saves it to `checkpoint`, unless that is left to the caller.
 * @throws Interrupted if the signal stopped it; its state is then saved
 */
export async function optimise<Example>(
  policy: LanguageModel,
  objective: Objective<Example>,
  checkpoint: string,
  state: TrainingState,
  hooks: TrainingHooks,
): Promise<Optimised> {
  const { settings, evaluation } = objective;
  const { team } = hooks;
  const trainer = await policy.model.trainer(
    trainerParams(objective),
    team ? {} : { signal: hooks.signal },
  );
  const done = await state.steps();
  const stateful = statefulOf(trainer, policy, team, done, hooks.signal);
  const save = (steps: readonly StepRecord[]) => state.save(stateful, steps);
  const build = async (folder: string, signal?: AbortSignal) => {
    // Saved while the trainer still holds its fp32 master weights.
    await team?.order({ do: 'save weights' });
    // The ranks finish together what they have begun.
    const within = team ? undefined : signal;
    await saveCheckpoint(policy, policy.model, folder, settings.checkpoint_dtype, within);
  };
  try {
    const steps = await state.restore(stateful);
    let saved = steps.length;
    let tokens = 0;
    const interrupted = async (): Promise<never> => {
      if (steps.length > saved) hooks.onStopping?.(savingNote(steps.length, saved));
      if (steps.length > saved) await save(steps);
      throw new Interrupted();
    };
    const measured = async (): Promise<void> => {
      const gather = async () => {
        await team?.order({ do: 'gather weights' });
        await trainer.gatherWeights();
      };
      const before = steps.at(-1);
      const result = await evaluateNewest(objective, policy, steps, hooks.signal, gather);
      if (result === 'aborted') await interrupted();
      if (result !== 'best') return;
      try {
        await state.saveBest(stateful, steps, (folder) => build(folder, hooks.signal));
      } catch (error) {
        if (!hooks.signal.aborted) throw error;
        // The next call evaluates this step again, and then keeps it.
        steps[steps.length - 1] = before!;
        await interrupted();
      }
      saved = steps.length;
    };
    await measured(); // an earlier call may have been stopped within an evaluation
    hooks.onRestore?.(steps);
    for (const batch of batchesAfter(steps.length, objective)) {
      if (evaluation && stopsAfter(evaluation, steps)) break;
      const metrics = await takeStep(
        objective,
        { trainer, batch, policy, before: steps.length },
        hooks,
      );
      if (metrics === 'aborted') return await interrupted();
      tokens += metrics.tokens;
      steps.push(stepRecord(metrics, objective, steps, batch));
      if (steps.length === 1) objective.checkFirst?.(steps[0]!);
      await measured();
      hooks.onStep?.(steps.at(-1)!, metrics);
      hooks.progress(steps.length, tokens);
      if (saved < steps.length && isDue(settings.save_steps, steps.length, objective)) {
        await save(steps);
        saved = steps.length;
      }
    }
    const best = evaluation && evaluation.patience > 0 ? bestStep(evaluation, steps)! : undefined;
    // A stop would have to save the trainer state, which is larger than the checkpoint, unless it
    // is on disk already.
    const stop = saved === steps.length ? hooks.signal : undefined;
    if (best !== undefined) await state.takeBest(best, checkpoint);
    else if (hooks.savesLater?.() && (await keepsMasters(trainer, settings)))
      return { steps, best: steps.length, save: saveLater(policy, checkpoint, settings, stop) };
    else await build(checkpoint, stop);
    return { steps, best: best ?? steps.length };
  } finally {
    await trainer.dispose();
  }
}

/** Ends the trainer; its model keeps what its checkpoint needs. False if memory lacks for that. */
async function keepsMasters(
  trainer: Trainer,
  { checkpoint_dtype: dtype }: OptimisationSettings,
): Promise<boolean> {
  try {
    await trainer.dispose({ keepMasters: dtype === 'float32' });
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_OUT_OF_MEMORY') return false;
    throw error;
  }
}

/** Saves a snapshot of the trained model, on a thread of its own. */
function saveLater(
  policy: LanguageModel,
  checkpoint: string,
  { checkpoint_dtype: dtype }: OptimisationSettings,
  stop: AbortSignal | undefined,
): () => Promise<void> {
  const snapshot = policy.model.snapshot();
  return async () => {
    try {
      await saveCheckpoint(policy, snapshot, checkpoint, dtype, stop);
    } catch (error) {
      throw stop?.aborted ? new Interrupted() : error;
    } finally {
      await snapshot.dispose();
    }
  };
}

/** Evaluates the newest step if that is due. `best` means that the step's weights must be kept. */
async function evaluateNewest<Example>(
  objective: Objective<Example>,
  policy: LanguageModel,
  steps: StepRecord[],
  signal: AbortSignal,
  gather: () => Promise<void>,
): Promise<'aborted' | 'best' | 'done'> {
  const { evaluation } = objective;
  if (!evaluation || !isUnmeasured(evaluation, steps, totalSteps(objective))) return 'done';
  await gather();
  try {
    const columns = await evaluation.measure(policy, signal);
    steps[steps.length - 1] = { ...steps.at(-1)!, ...columns };
  } catch (error) {
    if (signal.aborted) return 'aborted';
    throw error;
  }
  const best = evaluation.patience > 0 && bestStep(evaluation, steps) === steps.length;
  return best ? 'best' : 'done';
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

const isDue = <Example>(every: number, done: number, objective: Objective<Example>): boolean =>
  every > 0 && done % every === 0 && done < totalSteps(objective);

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
  { signal, team }: Pick<TrainingHooks, 'signal' | 'team'>,
): Promise<StepMetrics | 'aborted'> {
  const diverged = (cause?: unknown) =>
    new RunError(
      'ERR_DIVERGED',
      `Training stopped at step ${before + 1}: the loss or its gradient is not a finite ` +
        'number. Earlier stages and the last saved state are kept; lower learning_rate (a ' +
        'new --out directory) or look for a broken example.',
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

function stepRecord<Example>(
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
