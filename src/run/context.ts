/**
 * Shared by the stages of one run: settings, paths and models, and the functions that run a stage,
 * measure its time and emit its events. A finished stage is kept, an unfinished one is resumed.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { WorkHooks } from '../lm/hooks.js';
import type { CheckpointWrites } from './checkpoint-writes.js';
import { Interrupted } from './errors.js';
import { Hold } from './held.js';
import type { RunEvent, StageName } from './events.js';
import type { RunInputs } from './inputs.js';
import type { MetricsLog } from './metrics-log.js';
import type { Models } from './models.js';
import type { RewardFunction } from '../reward/external.js';
import type { Recipe } from './recipe.js';
import type { Records } from './records.js';
import type { StepRecord } from './stages/objective.js';
import type { Team } from './team.js';
import { makeBlocks, progressOf, type BlockedStage, type MakeBlocks } from './stages/stage.js';
import { onDisk, phaseFolder, readRecords, toJsonl, type Phase } from './store.js';
import { measureStep } from './timing.js';

/** A stage of SFT or of iteration t; 0 is the base model. */
export interface OfStage {
  phase: Phase;
  stage: StageName;
}

export interface RunContextFields {
  recipe: Recipe;
  directory: string;
  /** The records of its finished files. */
  records: Records;
  metrics: MetricsLog;
  /** Path of θ_0. */
  base: string;
  /** Digest of the recipe and the base model, on which every artefact depends. */
  plan: string;
  models: Models;
  inputs: RunInputs;
  writes: CheckpointWrites;
  /** The reward function if `reward.source` is `function`. */
  rewards?: RewardFunction | undefined;
  /** The other ranks; undefined for a run in one process. */
  team?: Team | undefined;
  signal: AbortSignal;
  emit: (event: RunEvent) => void;
  /** Set by within(). */
  part?: Part;
}

/** A part of iteration `t`, which has the subfolder `name`. */
export interface Part {
  name: string;
  t: number;
}

/** The parts of a context that the work of a stage may use, on rank 0 and on all other ranks. */
export type WorkContext = Pick<RunContext, 'recipe' | 'models' | 'checkpoint' | 'file' | 'read'>;

/** The context of work on a rank that follows rank 0. */
export function workContext(
  fields: Pick<RunContextFields, 'recipe' | 'base' | 'directory' | 'models'>,
  part?: Part,
): WorkContext {
  const { recipe, directory, models } = fields;
  const file = (phase: Phase, name: string) => join(directory, folderOf(phase, part), name);
  return {
    recipe,
    models,
    file,
    checkpoint: (n) => checkpointPath({ ...fields, file }, n),
    read: (phase, name) => readRecords(file(phase, name)),
  };
}

const folderOf = (phase: Phase, part: Part | undefined): string =>
  part?.t === phase ? `${phaseFolder(phase)}/${part.name}` : phaseFolder(phase);

/**
 * Path of θ_n: θ_0 is the base model, θ_1 the model after SFT (θ_0 without SFT), and θ_{t+1} the
 * model trained in iteration t.
 */
function checkpointPath(
  {
    recipe,
    base,
    file,
  }: Pick<RunContextFields, 'recipe' | 'base'> & { file: (phase: Phase, name: string) => string },
  n: number,
): string {
  if (n >= 2) return file(n - 1, 'checkpoint');
  return n === 1 && recipe.sft.enabled ? file('sft', 'checkpoint') : base;
}

/** Everything that the stages of one run share: recipe, models, inputs, records and events. */
export class RunContext {
  readonly recipe: Recipe;
  readonly models: Models;
  readonly plan: string;
  readonly directory: string;
  readonly records: Records;
  readonly metrics: MetricsLog;
  readonly signal: AbortSignal;
  readonly emit: (event: RunEvent) => void;
  readonly rewards: RewardFunction | undefined;
  readonly inputs: RunInputs;
  readonly team: Team | undefined;
  readonly writes: CheckpointWrites;
  /** The steps of training stages that this call finished; their file may not be written yet. */
  private readonly steps = new Map<Phase, readonly StepRecord[]>();
  private readonly warned = new Set<string>();
  /** A stop waits for the steps of the training in progress to be saved. */
  private readonly unsavedSteps = new Hold();
  /** Accuracies of θ_n by n, as far as they were needed. */
  readonly accuracies: number[] = [];

  constructor(private readonly fields: RunContextFields) {
    ({
      recipe: this.recipe,
      models: this.models,
      inputs: this.inputs,
      plan: this.plan,
      directory: this.directory,
      records: this.records,
      metrics: this.metrics,
      signal: this.signal,
      emit: this.emit,
      rewards: this.rewards,
      team: this.team,
      writes: this.writes,
    } = fields);
  }

  /**
   * This run with the artefacts of iteration `t` in its subfolder `name`: a part of the
   * iteration that trains or samples from another model. The part has a θ_{t+1} of its own; all
   * earlier models are the run's. Its steps are not in the run's metrics.
   */
  within(name: string, t: number): RunContext {
    return new RunContext({ ...this.fields, part: { name, t } });
  }

  file(phase: Phase, name: string): string {
    return join(this.directory, folderOf(phase, this.part), name);
  }

  /** The part of the iteration that this is; undefined for the run itself. */
  get part(): Part | undefined {
    return this.fields.part;
  }

  /** Makes blocks with all ranks; undefined in a single process. */
  get makeBlocks(): MakeBlocks | undefined {
    const { team, part } = this;
    return (
      team && ((stage, missing, save, hooks) => team.makeBlocks(stage, missing, save, hooks, part))
    );
  }

  /** Path of θ_n. */
  checkpoint(n: number): string {
    const file = (phase: Phase, name: string) => this.file(phase, name);
    return checkpointPath({ ...this.fields, file }, n);
  }

  /** Records of an artefact that exists. */
  read<T extends object>(phase: Phase, name: string): Promise<T[]> {
    return readRecords(this.file(phase, name));
  }

  /** Writes records that come from a model, once the model's checkpoint is on disk. */
  async write(phase: Phase, name: string, records: readonly object[]): Promise<void> {
    await this.writes.written();
    await this.record(phase, name, records);
  }

  /** Writes records that come from no model: inputs, and what belongs to a checkpoint. */
  async record(phase: Phase, name: string, records: readonly object[]): Promise<void> {
    const file = `${folderOf(phase, this.part)}/${name}`;
    const before = this.records.newest(file);
    await onDisk(this.file(phase, name), () => this.records.write(file, toJsonl(records)));
    if (before && before.sha256 !== this.records.newest(file)!.sha256)
      this.emit({
        type: 'warning',
        message:
          `${file} was made again and differs from the one that it replaces (another version or ` +
          'number of threads?). Stages that used the older one are kept: remove their files to ' +
          'make them again.',
      });
  }

  /** Whether θ_n was removed because the recipe keeps fewer checkpoints. */
  isPruned(n: number): boolean {
    const entries = this.records.under(this.checkpoint(n));
    return entries.length > 0 && entries.every(({ pruned }) => pruned);
  }

  /** Runs a stage block by block into the artefact `name`, saving each block. */
  async blocks<Item, Made extends object>(
    of: OfStage,
    name: string,
    stage: BlockedStage<Item, Made>,
  ): Promise<Made[]> {
    const path = this.file(of.phase, name);
    if (existsSync(path)) return this.kept(of, name);
    const artefact = {
      path,
      plan: this.plan,
      ready: () => this.writes.written(),
      write: (made: readonly object[]) => this.write(of.phase, name, made),
    };
    const start = { ...progressOf(stage, artefact), unit: stage.unit };
    return this.stage(of, start, async (hooks) => {
      const made = await makeBlocks(stage, artefact, hooks, this.makeBlocks);
      return { result: made, note: stage.note?.(made) ?? '' };
    });
  }

  /** Runs a whole stage with events and timing. @throws Interrupted if the signal aborts it. */
  async stage<T>(
    of: OfStage,
    start: { done: number; total: number; unit: string },
    work: (hooks: WorkHooks) => Promise<{ result: T; note: string }>,
  ): Promise<T> {
    this.checkSignal();
    this.emit({ type: 'stage_started', ...told(of), ...start });
    const began = performance.now();
    let tokens = 0;
    const progress = (done: number, now: number) => {
      tokens = now;
      this.emit({ type: 'stage_progress', ...told(of), done, total: start.total, tokens });
    };
    try {
      const onStopping = (message: string) => this.emit({ type: 'stopping', message });
      const hooks = { signal: this.fields.signal, progress, onStopping };
      const { result, note } = await work(hooks);
      this.emit({
        type: 'stage_finished',
        ...told(of),
        seconds: (performance.now() - began) / 1000,
        tokens,
        note,
      });
      return result;
    } catch (error) {
      if (this.fields.signal.aborted) throw new Interrupted();
      throw error;
    } finally {
      this.unsavedSteps.end();
    }
  }

  /** Records of a stage that an earlier call finished. */
  async kept<Made extends object>(of: OfStage, name: string): Promise<Made[]> {
    this.tellKept(of);
    // A run killed right after the last block leaves the blocks behind.
    await rm(`${this.file(of.phase, name)}.parts`, { recursive: true, force: true });
    return this.read<Made>(of.phase, name);
  }

  /** Emits a warning unless one of this kind was emitted before. */
  warnOnce(kind: string, message: string): void {
    if (this.warned.has(kind)) return;
    this.warned.add(kind);
    this.emit({ type: 'warning', message });
  }

  tellKept(of: OfStage): void {
    this.emit({ type: 'stage_kept', ...told(of) });
  }

  /** The steps of a training stage that is finished; none if it is not. */
  async stepsOf(phase: Phase): Promise<readonly StepRecord[]> {
    const known = this.steps.get(phase);
    if (known || !existsSync(this.file(phase, 'steps.jsonl'))) return known ?? [];
    return this.read<StepRecord>(phase, 'steps.jsonl');
  }

  /** Keeps the steps of a training stage that has ended. */
  keepSteps(phase: Phase, steps: readonly StepRecord[]): void {
    this.steps.set(phase, steps);
  }

  /** Adds the steps of an earlier call of a training stage to the metrics. */
  tellRestored({ phase }: OfStage, steps: readonly StepRecord[]): void {
    if (!this.part) this.metrics.steps(phase, steps);
  }

  tellStep(of: OfStage, metrics: StepRecord, cost: { tokens: number; seconds: number }): void {
    this.unsavedSteps.begin();
    if (this.part) return;
    const timing = measureStep(cost, this.recipe.device);
    this.metrics.step(of.phase, metrics, timing);
    this.emit({ type: 'step', ...told(of), metrics, timing });
  }

  /** Tells that a checkpoint is on disk and recorded. */
  tellSaved(of: OfStage, seconds: number): void {
    this.emit({ type: 'checkpoint_saved', ...told(of), seconds });
  }

  private checkSignal(): void {
    if (this.fields.signal.aborted) throw new Interrupted();
  }
}

/** Events also give the iteration as a number, which is 0 for SFT. */
const told = ({ phase, stage }: OfStage) => ({
  iteration: phase === 'sft' ? 0 : phase,
  phase,
  stage,
});
