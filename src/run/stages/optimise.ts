/**
 * The training that SFT and preference training share: one trainer call per step, saved state in
 * between, a checkpoint at the end.
 */
import type { Trainer } from '../../engine/trainer.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { saveCheckpoint } from '../checkpoint.js';
import { Interrupted } from '../errors.js';
import type { OptimisationSettings } from '../recipe.js';
import { savingNote, statefulOf, type Stateful } from '../training-state.js';
import { bestStep, isUnmeasured, stopsAfter } from './in-training.js';
import {
  batchesAfter,
  stepRecord,
  takeStep,
  totalSteps,
  trainerParams,
  type Objective,
  type StepRecord,
} from './objective.js';
import type { Team } from '../team.js';

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
  const { team, signal } = hooks;
  const trainer = await policy.model.trainer(trainerParams(objective), team ? {} : { signal });
  try {
    const stateful = statefulOf(trainer, policy, team, await state.steps(), signal);
    const training = new Training(policy, objective, { trainer, stateful, state, hooks });
    await training.restore();
    await training.takeSteps();
    return await training.keep(checkpoint);
  } finally {
    await trainer.dispose();
  }
}

/** What a training works with. */
interface Tools {
  trainer: Trainer;
  stateful: Stateful;
  state: TrainingState;
  hooks: TrainingHooks;
}

/** The steps of a training, taken and saved. */
class Training<Example> {
  private steps: StepRecord[] = [];
  /** How many of the steps are in the state on disk. */
  private saved = 0;
  /** Tokens of the steps that this process has taken. */
  private tokens = 0;

  constructor(
    private readonly policy: LanguageModel,
    private readonly objective: Objective<Example>,
    private readonly tools: Tools,
  ) {}

  /** Goes on from the state of an earlier call. */
  async restore(): Promise<void> {
    const { state, stateful, hooks } = this.tools;
    this.steps = await state.restore(stateful);
    this.saved = this.steps.length;
    await this.evaluate(); // an earlier call may have been stopped within an evaluation
    hooks.onRestore?.(this.steps);
  }

  /** Takes the steps that remain. */
  async takeSteps(): Promise<void> {
    const { policy, objective, steps } = this;
    const { trainer, hooks } = this.tools;
    for (const batch of batchesAfter(steps.length, objective)) {
      if (objective.evaluation && stopsAfter(objective.evaluation, steps)) break;
      const input = { trainer, batch, policy, before: steps.length };
      const metrics = await takeStep(objective, input, hooks);
      if (metrics === 'aborted') return await this.stop();
      this.tokens += metrics.tokens;
      steps.push(stepRecord(metrics, objective, steps, batch));
      if (steps.length === 1) objective.checkFirst?.(steps[0]!);
      await this.evaluate();
      hooks.onStep?.(steps.at(-1)!, metrics);
      hooks.progress(steps.length, this.tokens);
      if (this.isSaveDue()) await this.saveState();
    }
  }

  /** Makes the checkpoint, of the best step or the last. */
  async keep(checkpoint: string): Promise<Optimised> {
    const { policy, steps } = this;
    const { evaluation, settings } = this.objective;
    const { trainer, state, hooks } = this.tools;
    const best = evaluation && evaluation.patience > 0 ? bestStep(evaluation, steps) : undefined;
    if (best !== undefined) {
      await state.takeBest(best, checkpoint);
      return { steps, best };
    }
    // A stop would have to save the trainer state, which is larger than the checkpoint, unless it
    // is on disk already.
    const stop = this.saved === steps.length ? hooks.signal : undefined;
    if (hooks.savesLater?.() && (await keepsMasters(trainer, settings)))
      return { steps, best: steps.length, save: saveLater(policy, checkpoint, settings, stop) };
    await this.save(checkpoint, stop);
    return { steps, best: steps.length };
  }

  /** Evaluates the newest step if that is due, and keeps its checkpoint if it is the best. */
  private async evaluate(): Promise<void> {
    const { policy, steps } = this;
    const { state, stateful, hooks } = this.tools;
    const before = steps.at(-1);
    const result = await evaluateNewest(this.objective, policy, steps, hooks.signal, () =>
      this.gather(),
    );
    if (result === 'aborted') await this.stop();
    if (result !== 'best') return;
    try {
      await state.saveBest(stateful, steps, (folder) => this.save(folder, hooks.signal));
    } catch (error) {
      if (!hooks.signal.aborted) throw error;
      // The next call evaluates this step again, and then keeps it.
      steps[steps.length - 1] = before!;
      await this.stop();
    }
    this.saved = steps.length;
  }

  /** Brings the weights of all ranks together. */
  private async gather(): Promise<void> {
    await this.tools.hooks.team?.order({ do: 'gather weights' });
    await this.tools.trainer.gatherWeights();
  }

  /** Saves the checkpoint, while the trainer still holds its fp32 master weights. */
  private async save(folder: string, signal?: AbortSignal): Promise<void> {
    const { policy, objective } = this;
    const { team } = this.tools.hooks;
    await team?.order({ do: 'save weights' });
    // The ranks finish together what they have begun.
    const within = team ? undefined : signal;
    const dtype = objective.settings.checkpoint_dtype;
    await saveCheckpoint(policy, policy.model, folder, dtype, within);
  }

  private isSaveDue(): boolean {
    const every = this.objective.settings.save_steps;
    const taken = this.steps.length;
    return (
      this.saved < taken && every > 0 && taken % every === 0 && taken < totalSteps(this.objective)
    );
  }

  private async saveState(): Promise<void> {
    const { state, stateful } = this.tools;
    await state.save(stateful, this.steps);
    this.saved = this.steps.length;
  }

  /** Ends an interrupted training, its state saved. */
  private async stop(): Promise<never> {
    if (this.steps.length > this.saved) {
      this.tools.hooks.onStopping?.(savingNote(this.steps.length, this.saved));
      await this.saveState();
    }
    throw new Interrupted();
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
