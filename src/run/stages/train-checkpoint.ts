/**
 * A training stage of a run: θ_from → θ_to in its checkpoint folder. The checkpoint is written
 * while the next stages compute with the model in memory, if nothing else needs it on disk before.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Model } from '../../engine/model.js';
import type { OfStage, RunContext } from '../context.js';
import type { OptimisationSettings } from '../recipe.js';
import { withdrawCheckpoint } from '../keep.js';
import { onDisk } from '../store.js';
import { trainingState } from '../training-state.js';
import { recordFolder } from '../verify.js';
import { totalSteps, type Objective, type StepRecord } from './objective.js';
import { optimise } from './optimise.js';

/**
 * Trains θ_from into θ_to. `steps.jsonl` is written after the checkpoint is complete; if both
 * exist, the stage is finished.
 */
export async function trainCheckpoint<Example>(
  run: RunContext,
  of: OfStage,
  { from, to, unit }: { from: number; to: number; unit: string },
  objective: Objective<Example>,
): Promise<void> {
  // The checkpoint of the training before has its memory until it is written.
  await run.writes.written();
  const folder = run.file(of.phase, 'training');
  const checkpoint = run.checkpoint(to);
  const stepsFile = run.file(of.phase, 'steps.jsonl');
  if (existsSync(stepsFile) && (existsSync(checkpoint) || run.isPruned(to))) {
    run.tellKept(of);
    return rm(folder, { recursive: true, force: true });
  }
  await rm(stepsFile, { force: true }); // its presence means that the checkpoint is complete
  // A kill may have left a recorded checkpoint without its steps: it is written again.
  await onDisk(checkpoint, () => withdrawCheckpoint(run, checkpoint));
  const { settings } = objective;
  const state = trainingState(folder, run.plan, run.signal);
  const start = { done: await state.steps(), total: totalSteps(objective), unit: 'steps' };
  await run.stage(of, start, async (hooks) => {
    const { team } = run;
    await team?.order({ do: 'train', phase: of.phase, from, to, part: run.part });
    const policy = await run.models.beginTraining(run.checkpoint(from));
    const { steps, best, save } = await optimise(policy, objective, checkpoint, state, {
      ...hooks,
      onRestore: (before) => run.tellRestored(of, before),
      onStep: (record, cost) => run.tellStep(of, record, cost),
      savesLater: () => savesLater(run, policy.model, settings),
      team,
    }).catch(async (error: unknown) => {
      await policy.model.dispose();
      throw error;
    });
    // The model has the weights of the last step, unless they are sharded over the ranks.
    const last = best === steps.length;
    const kept = last && !(team && settings.shard === 'weights');
    await team?.order({ do: 'trained', kept });
    if (!kept) await policy.model.dispose();
    else await run.models.endTraining(policy.model, checkpoint, settings.checkpoint_dtype);
    const record = async () => {
      await recordFolder(run.records, checkpoint, checkpoint);
      await run.record(of.phase, 'steps.jsonl', steps);
      await rm(folder, { recursive: true, force: true });
    };
    if (save) saveBeside(run, of, save, record);
    else await record();
    run.keepSteps(of.phase, steps);
    const examples = `${objective.examples.length} ${unit}`;
    const stopped = last
      ? ''
      : `, the weights of step ${best} are kept of ${steps.length} (of ${totalSteps(objective)})`;
    return { result: undefined, note: `${examples}, ${noteOn(steps)}${stopped}` };
  });
}

/** `loss 0.693 → 0.691, margin 0.002` */
export function noteOn(steps: readonly StepRecord[]): string {
  const last = steps.at(-1)!;
  const margin = last['rewards/margins'];
  return (
    `loss ${steps[0]!.loss.toFixed(3)} → ${last.loss.toFixed(3)}` +
    (margin === undefined ? '' : `, margin ${margin.toFixed(3)}`)
  );
}

/** Saves and records a checkpoint while the next stages compute. */
function saveBeside(
  run: RunContext,
  of: OfStage,
  save: () => Promise<void>,
  record: () => Promise<void>,
): void {
  run.writes.add(async () => {
    const began = performance.now();
    await save();
    await record();
    run.tellSaved(of, (performance.now() - began) / 1000);
  });
}

/**
 * Whether the checkpoint is saved while the next stages compute: they use the model in memory, and
 * there is room for what is saved. Several ranks wait for their checkpoint.
 */
function savesLater(
  run: RunContext,
  model: Model,
  { checkpoint_dtype: dtype, master_weights: form }: OptimisationSettings,
): boolean {
  if (run.team || !run.models.staysExact(model, dtype)) return false;
  const onHost = model.device === 'cpu';
  const kept = dtype === 'float32' && model.dtype === 'bfloat16' && model.adapter === null;
  // A GPU that computes the next stage is not asked for weights meanwhile.
  if (!onHost && !kept) return false;
  // The master weights of training are kept; only those of a GPU or in the split form are copied.
  const copied = kept && !(onHost && form === 'float32');
  const needed = copied ? 4 * model.config.parameters : 0;
  const free = process.availableMemory();
  if (needed <= free) return true;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  run.warnOnce(
    'checkpoints are not saved later',
    `Checkpoints are saved before the next stage begins, not beside it: that would take ` +
      `${gib(needed)} of the host's memory for the master weights, and ${gib(free)} are free.`,
  );
  return false;
}
