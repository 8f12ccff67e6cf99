/**
 * The stages of a run in order, in a run directory that this process has locked: checks, base
 * model, SFT, iterations, and the record of a finished run.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setThreads } from '../engine/addon.js';
import { resolveModel } from '../models/resolve.js';
import type { RewardFunction } from '../reward/external.js';
import { writePhaseCard } from './card.js';
import { CheckpointWrites } from './checkpoint-writes.js';
import { checkLengths, readInputs, skipsBadRows, type Inputs } from './check.js';
import { RunContext } from './context.js';
import { checkModel } from './directory.js';
import { checkDisk } from './disk.js';
import { Interrupted, RunError, stoppable } from './errors.js';
import type { RunEvent } from './events.js';
import { locatePrompts } from './given-prompts.js';
import { RunInputs } from './inputs.js';
import { iterate, learnGivenPairs } from './iteration.js';
import { prune } from './keep.js';
import { MetricsLog } from './metrics-log.js';
import { adapterOf, Models } from './models.js';
import type { RunOptions } from './options.js';
import { placed } from './placement.js';
import { recipeDigest } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { requireRecorded } from './recorded.js';
import { digestFile } from './digest.js';
import { type Records } from './records.js';
import { lendRewardModel } from './reward-model.js';
import { Outlets } from './sinks.js';
import { startOf } from './same-start.js';
import { fetchSources, sourcesOf } from './sources.js';
import { evaluateModel } from './stages/evaluate.js';
import { checkStart, fineTune } from './stages/sft.js';
import { METRICS, onDisk, SUMMARY } from './store.js';
import { endsAfter, Summaries } from './summary.js';
import type { Team } from './team.js';
import { checkFinished, verifyCheckpoint } from './verify.js';
import { recipeWarnings } from './warnings.js';

export type ExecuteOptions = RunOptions & { signal: AbortSignal; team: Team | undefined };
export type Emit = (event: RunEvent) => void;

/** The state of the locked directory, and the listener of events. */
interface Execution {
  options: ExecuteOptions;
  records: Records;
  emit: Emit;
  /** Whether an earlier call began the run. */
  resumed: boolean;
}

/** Executes or resumes the run. @throws as run() */
export async function execute(recipe: Recipe, execution: Execution): Promise<void> {
  const { options, emit } = execution;
  const { directory, until } = options;
  const began = performance.now();
  const { context, inputs, outlets } = await prepare(recipe, execution);
  const summaries = new Summaries(context);
  try {
    if (!hasBegun(context)) await checkBeforeStart(context, inputs);
    await runStages(context, summaries, until);
    await recordFinished(context, { recipe, summaries });
    await outlets.end(true);
    const seconds = (performance.now() - began) / 1000;
    emit({ type: 'run_finished', directory, already: false, seconds });
  } catch (error) {
    throw await causeOf(error, context, options.signal);
  } finally {
    await outlets.end(false);
    await context.models.dispose();
  }
}

/**
 * The error that ends the run: a checkpoint that could not be written is the cause of any other.
 * Waits for a checkpoint that is being written, so that a stopped run does not lose it.
 */
async function causeOf(
  error: unknown,
  { writes, emit }: RunContext,
  signal: AbortSignal,
): Promise<unknown> {
  const failure = await writes.failure();
  if (failure === undefined || failure === error) return error;
  // A run that is stopped reports the stop, and that it has to train again.
  if (signal.aborted && !(failure instanceof Interrupted))
    emit({ type: 'warning', message: (failure as Error).message });
  return failure;
}

interface Prepared {
  context: RunContext;
  inputs: Inputs;
  outlets: Outlets;
}

/** Reads the inputs, resolves the base model, and makes the context of the stages. */
async function prepare(
  recipe: Recipe,
  { options, records, emit, resumed }: Execution,
): Promise<Prepared> {
  const { directory, signal, team, onModelProgress, rewards, prompts } = options;
  const warn = (message: string) => emit({ type: 'warning', message });
  checkRewards(recipe, rewards);
  await stoppable(signal, () =>
    fetchSources(sourcesOf(recipe), { signal, onProgress: onModelProgress }),
  );
  const located = await locatePrompts(recipe, prompts, { directory, records, resumed, signal });
  const sources = new RunInputs(located);
  const inputs = await readInputs(recipe, sources);
  emit({ type: 'run_started', directory, resumed, iterations: recipe.iterations });
  for (const message of recipeWarnings(recipe)) warn(message);
  if (team) emit(team.setThreads(recipe));
  else if (recipe.threads > 0) setThreads(recipe.threads);
  const resolved = await stoppable(signal, () =>
    resolveModel(recipe.model, { signal, ...(onModelProgress && { onProgress: onModelProgress }) }),
  );
  const base = resolved.path;
  // It may be a checkpoint of another run.
  await stoppable(signal, () => requireRecorded(base, signal));
  const {
    plan,
    digest,
    sources: digests,
  } = await checkModel(records, recipe, resolved, signal, warn);
  await team?.begin(startOf(recipe, directory, digest, digests));
  const own = team ? placed(recipe, team.place) : recipe;
  const writes = new CheckpointWrites();
  const within = AbortSignal.any([signal, writes.signal]);
  const models = modelsOf(own, base, { records, signal: within, emit, writes });
  await onDisk(directory, () => records.withdraw(METRICS));
  const outlets = new Outlets(recipe, options, warn);
  const context = new RunContext({
    recipe: own,
    team,
    directory,
    records,
    metrics: new MetricsLog(directory, (row, before) => outlets.add(row, before)),
    base,
    plan,
    models,
    inputs: skipsBadRows(recipe) ? new RunInputs(located, () => models.policy(base)) : sources,
    writes,
    rewards,
    signal: within,
    emit,
  });
  return { context, inputs, outlets };
}

/**
 * A recipe cannot contain a function: it only says that there is one, and the program passes it.
 */
export function checkRewards(
  { reward: { source } }: Recipe,
  rewards: RewardFunction | undefined,
): void {
  if (source === 'function' && !rewards)
    throw new RunError(
      'ERR_RECIPE',
      'reward.source: function is for Node programs, which pass it to run() as `rewards`; ' +
        'choose another source, or write the scores to a file (reward.source: file).',
    );
  if (source !== 'function' && rewards)
    throw new RunError(
      'ERR_RECIPE',
      `reward.source: is ${source}, but run() was given a reward function: set ` +
        `reward.source to function, or leave \`rewards\` out.`,
    );
}

function modelsOf(
  recipe: Recipe,
  base: string,
  {
    records,
    signal,
    emit,
    writes,
  }: Pick<Execution, 'records' | 'emit'> & { signal: AbortSignal; writes: CheckpointWrites },
): Models {
  return new Models({
    base,
    name: recipe.model,
    dtype: recipe.dtype,
    device: recipe.device,
    signal,
    adapter: adapterOf(recipe),
    check: async (path) => {
      await writes.written();
      await verifyCheckpoint(records, path, signal);
    },
    onLoad: (model, seconds) =>
      emit({
        type: 'model_loaded',
        name: recipe.model,
        path: model.path,
        dtype: model.dtype,
        device: model.device,
        parameters: model.config.parameters,
        seconds,
      }),
  });
}

/** Whether an earlier call passed the checks that need a model. */
function hasBegun(context: RunContext): boolean {
  return ['prompts.jsonl', 'preferences.jsonl'].some((name) => existsSync(context.file(1, name)));
}

/** The checks that need a model, and reports on the inputs. @throws before anything is computed */
async function checkBeforeStart(context: RunContext, inputs: Inputs): Promise<void> {
  const { recipe, directory, emit, models, signal, team } = context;
  await team?.order({ do: 'load', checkpoints: [0] }); // while this rank does the same
  const policy = await models.policy(context.checkpoint(0));
  const used = skipsBadRows(recipe) ? await readInputs(recipe, context.inputs) : inputs;
  for (const left of used.leftOut) emit({ type: 'rows_left_out', ...left });
  for (const message of used.unread) emit({ type: 'warning', message });
  await checkDisk(directory, recipe, policy.model.config);
  await checkLengths(used, policy);
  await checkStart(context);
  await lendRewardModel(recipe, signal, async () => {}); // checks that it loads and fits
}

async function runStages(
  context: RunContext,
  summaries: Summaries,
  until: RunOptions['until'],
): Promise<void> {
  const { recipe, models, team, writes } = context;
  if (recipe.evaluate.baseline) {
    await evaluateModel(context, 0, 0);
    await summaries.add(0);
  }
  if (recipe.sft.enabled) {
    await fineTune(context);
    await evaluateModel(context, 'sft', 1);
    const summary = await summaries.add('sft');
    writes.add(() => writePhaseCard(context, 'sft', summary));
  }
  for (let t = 1; t <= recipe.iterations; t++) {
    await (recipe.pairs.source === null ? iterate : learnGivenPairs)(context, t);
    const summary = await summaries.add(t);
    writes.add(() => writePhaseCard(context, t, summary));
    writes.add(() => prune(context, t));
    const kept = [0, t, t + 1];
    await models.keep(kept.map((n) => context.checkpoint(n)));
    await team?.order({ do: 'keep', checkpoints: kept });
    if (t < recipe.iterations && summary && (await endsAfter(summary, until, context.signal)))
      break;
  }
}

/** Completes metrics.jsonl, checks every file, and writes summary.json. */
async function recordFinished(
  { metrics, records, directory, signal, writes }: RunContext,
  { recipe, summaries }: { recipe: Recipe; summaries: Summaries },
): Promise<void> {
  await writes.written();
  metrics.end();
  await onDisk(directory, () => recordMetrics(records));
  const summary = { recipe: recipeDigest(recipe), iterations: summaries.finished() };
  await stoppable(signal, () => checkFinished(records, signal));
  await onDisk(directory, async () => {
    await records.write(SUMMARY, `${JSON.stringify(summary, null, 2)}\n`);
    await records.compact();
  });
}

/** A run without steps and evaluations has no metrics. */
async function recordMetrics(records: Records): Promise<void> {
  const path = join(records.folder, METRICS);
  if (existsSync(path)) await records.add([{ file: METRICS, ...(await digestFile(path)) }]);
}
