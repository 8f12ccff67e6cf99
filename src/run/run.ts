/**
 * A run: base model, optional SFT, then the iterations. It writes only to its directory, so calling
 * it again after any interruption resumes it and gives the same bytes.
 */
import { appendFileSync, closeSync, existsSync, lstatSync, openSync, readSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setThreads } from '../engine/addon.js';
import { hasRanks, rankPlace, Ranks } from '../engine/ranks.js';
import { makeDirectory, sweep } from '../files/files.js';
import { resolveModel } from '../models/resolve.js';
import type { RewardFunction } from '../reward/external.js';
import { writePhaseCard } from './card.js';
import { checkLengths, readInputs, skipsBadRows } from './check.js';
import { RunContext } from './context.js';
import { checkBegun, checkDirectory, checkModel, openRecords } from './directory.js';
import { checkDisk } from './disk.js';
import { RunError, stoppable } from './errors.js';
import { EventQueue } from './event-queue.js';
import type { RunEvent } from './events.js';
import { locatePrompts } from './given-prompts.js';
import { RunInputs } from './inputs.js';
import { follow } from './follow.js';
import { iterate, learnGivenPairs } from './iteration.js';
import { prune } from './keep.js';
import { takeLock } from './lock.js';
import { MetricsLog, readMetrics } from './metrics-log.js';
import { adapterOf, Models } from './models.js';
import { checkRunOptions, type RunOptions } from './options.js';
import { readOwnText } from './own-files.js';
import { placed } from './placement.js';
import { checkRecipe, recipeDigest } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { digestFile, type Records } from './records.js';
import { ReportWriter } from './report-writer.js';
import { lendRewardModel } from './reward-model.js';
import { Outlets } from './sinks.js';
import { fetchSources, sourcesOf } from './sources.js';
import { evaluateModel } from './stages/evaluate.js';
import { checkStart, fineTune } from './stages/sft.js';
import { EVENTS, explainDisk, LOCK, METRICS, onDisk, SUMMARY } from './store.js';
import { Summaries, type IterationSummary } from './summary.js';
import { Team, withTeam } from './team.js';
import { recipeWarnings } from './warnings.js';
import { checkFinished, verifyCheckpoint } from './verify.js';

export type { RunOptions } from './options.js';

/**
 * Executes the run and yields its events. Ends after `run_finished`; throws Interrupted if `signal`
 * stopped it (its state is on disk), otherwise RunError, CreamError (a wrong option too), ModelError
 * or DataError with one clear sentence. Leaving the loop early stops the run like the signal.
 */
export async function* run(recipe: Recipe, options: RunOptions): AsyncGenerator<RunEvent, void> {
  checkRecipe(recipe);
  checkRunOptions(options);
  const left = new AbortController();
  const given = options.signal ? [options.signal] : [];
  const ranks = hasRanks() ? await Ranks.join(rankPlace()) : undefined;
  if (ranks && ranks.place.rank > 0) {
    if (!(await follow(ranks, AbortSignal.any([left.signal, ...given])))) process.exitCode = 1;
    return;
  }
  const queue = new EventQueue<RunEvent>();
  const team = ranks && new Team(ranks);
  const signal = AbortSignal.any([left.signal, ...given, ...(team ? [team.signal] : [])]);
  const work = withTeam(team, () =>
    locked(recipe, { ...options, team, signal }, (event) => queue.push(event)),
  ).finally(() => queue.end());
  work.catch(() => {}); // reported below, after the earlier events
  try {
    yield* queue;
    await work;
  } finally {
    left.abort();
    await work.catch(() => {});
  }
}

type Options = RunOptions & { signal: AbortSignal; team: Team | undefined };
type Emit = (event: RunEvent) => void;

async function locked(recipe: Recipe, options: Options, tell: Emit): Promise<void> {
  const { directory, signal } = options;
  checkDirectory(directory);
  const release = await onDisk(directory, async () => {
    await makeDirectory(directory);
    return takeLock(join(directory, LOCK));
  });
  try {
    await sweep(directory);
    const warnings: string[] = [];
    const warn = (message: string) => void warnings.push(message);
    const records = await onDisk(directory, () => openRecords(directory, signal, warn));
    const { resumed, finished } = await checkBegun(directory, recipe, records, signal);
    if (finished && (await isOver(directory, recipe, options.until))) {
      await records.compact();
      const outlets = new Outlets(recipe, options, (message) => tell({ type: 'warning', message }));
      for (const row of readMetrics(directory)) outlets.add(row, true);
      await outlets.end(true);
      return tell({ type: 'run_finished', directory, already: true, seconds: 0 });
    }
    const log = logged(directory, tell);
    const reports = new ReportWriter(directory, (message) => log({ type: 'warning', message }));
    const emit: Emit = (event) => {
      log(event);
      if (event.type === 'stage_finished') reports.request();
    };
    for (const message of warnings) emit({ type: 'warning', message });
    await stoppable(signal, () => work(recipe, options, records, emit, resumed)).finally(() =>
      reports.finish(),
    );
  } finally {
    release();
  }
}

async function work(
  recipe: Recipe,
  options: Options,
  records: Records,
  emit: Emit,
  resumed: boolean,
): Promise<void> {
  const { directory, signal, team, onModelProgress, rewards, prompts, until } = options;
  const began = performance.now();
  checkRewards(recipe, rewards);
  await stoppable(signal, () =>
    fetchSources(sourcesOf(recipe), { signal, onProgress: onModelProgress }),
  );
  const located = await locatePrompts(recipe, prompts, { directory, records, signal });
  const sources = new RunInputs(located);
  let inputs = await readInputs(recipe, sources);
  emit({ type: 'run_started', directory, resumed, iterations: recipe.iterations });
  for (const message of recipeWarnings(recipe)) emit({ type: 'warning', message });
  if (team) emit(team.setThreads(recipe));
  else if (recipe.threads > 0) setThreads(recipe.threads);
  const resolved = await stoppable(signal, () =>
    resolveModel(recipe.model, { signal, ...(onModelProgress && { onProgress: onModelProgress }) }),
  );
  const { plan, digest } = await checkModel(records, recipe, resolved, signal, (message) =>
    emit({ type: 'warning', message }),
  );
  const own = team ? placed(recipe, team.place) : recipe;
  await team?.order({ do: 'begin', recipe, directory: resolve(directory), digest });
  const models = new Models({
    base: resolved.path,
    name: recipe.model,
    dtype: recipe.dtype,
    device: own.device,
    signal,
    adapter: adapterOf(recipe),
    check: (path) => verifyCheckpoint(records, path, signal),
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
  await onDisk(directory, () => records.withdraw(METRICS));
  const outlets = new Outlets(recipe, options, (message) => emit({ type: 'warning', message }));
  const metrics = new MetricsLog(directory, (row, before) => outlets.add(row, before));
  const context = new RunContext({
    recipe: own,
    team,
    directory,
    records,
    metrics,
    base: resolved.path,
    plan,
    models,
    inputs: skipsBadRows(recipe)
      ? new RunInputs(located, () => models.policy(resolved.path))
      : sources,
    rewards,
    signal,
    emit,
  });
  const summaries = new Summaries(context);
  try {
    if (!begun(context)) {
      const policy = await models.policy(resolved.path);
      if (skipsBadRows(recipe)) inputs = await readInputs(recipe, context.inputs);
      for (const left of inputs.leftOut) emit({ type: 'rows_left_out', ...left });
      for (const message of inputs.unread) emit({ type: 'warning', message });
      await checkDisk(directory, recipe, policy.model.config);
      await checkLengths(inputs, policy);
      await checkStart(context);
      await lendRewardModel(recipe, signal, async () => {}); // checks that it loads and fits
    }
    if (recipe.evaluate.baseline) {
      await evaluateModel(context, 0, 0);
      await summaries.add(0);
    }
    if (recipe.sft.enabled) {
      await fineTune(context);
      await evaluateModel(context, 'sft', 1);
      await writePhaseCard(context, 'sft', await summaries.add('sft'));
    }
    for (let t = 1; t <= recipe.iterations; t++) {
      await (recipe.pairs.source === null ? iterate : learnGivenPairs)(context, t);
      const summary = await summaries.add(t);
      await writePhaseCard(context, t, summary);
      await prune(context, t);
      const kept = [0, t, t + 1];
      await models.keep(kept.map((n) => context.checkpoint(n)));
      await team?.order({ do: 'keep', checkpoints: kept });
      if (t < recipe.iterations && summary && (await until?.(summary))) break;
    }
    metrics.end();
    await onDisk(directory, () => recordMetrics(records));
    const summary = { recipe: recipeDigest(recipe), iterations: summaries.finished() };
    await stoppable(signal, () => checkFinished(records, signal));
    await onDisk(directory, async () => {
      await records.write(SUMMARY, `${JSON.stringify(summary, null, 2)}\n`);
      await records.compact();
    });
    await outlets.end(true);
    emit({
      type: 'run_finished',
      directory,
      already: false,
      seconds: (performance.now() - began) / 1000,
    });
  } finally {
    await outlets.end(false);
    await models.dispose();
  }
}

/** A run without steps and evaluations has no metrics. */
async function recordMetrics(records: Records): Promise<void> {
  const path = join(records.folder, METRICS);
  if (existsSync(path)) await records.add([{ file: METRICS, ...(await digestFile(path)) }]);
}

/** Whether a finished run has all its iterations, or `until` still ends it after the last one. */
async function isOver(
  directory: string,
  { iterations }: Recipe,
  until: RunOptions['until'],
): Promise<boolean> {
  const { iterations: rows } = JSON.parse(readOwnText(join(directory, SUMMARY))) as {
    iterations: IterationSummary[];
  };
  const last = rows.at(-1);
  if (typeof last?.phase !== 'number' || last.phase >= iterations) return true;
  return (await until?.(last)) ?? false;
}

/** Whether an earlier call passed the checks that need a model. */
function begun(context: RunContext): boolean {
  return ['prompts.jsonl', 'preferences.jsonl'].some((name) => existsSync(context.file(1, name)));
}

/**
 * A recipe cannot contain a function: it only says that there is one, and the program passes it.
 */
function checkRewards({ reward: { source } }: Recipe, rewards: RewardFunction | undefined): void {
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

/** Whether a file is absent or empty, or ends with a line end. */
function endsLine(path: string): boolean {
  const { size } = lstatSync(path, { throwIfNoEntry: false }) ?? { size: 0 };
  if (size === 0) return true;
  const file = openSync(path, 'r');
  try {
    const last = Buffer.alloc(1);
    readSync(file, last, 0, 1, size - 1);
    return last[0] === 0x0a;
  } finally {
    closeSync(file);
  }
}

const PROGRESS_EVERY_MS = 5_000;

/**
 * Also writes every event to events.jsonl, with its time, before `tell` gets it: a killed process
 * loses none. Progress is written only as often as a reader can follow.
 */
function logged(directory: string, tell: Emit): Emit {
  const path = join(directory, EVENTS);
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false)
    throw new RunError(
      'ERR_RUN_DATA',
      `${path} is not a regular file: move it away; the run writes its events there.`,
    );
  // Starts a new line if a crash cut the last one.
  if (!endsLine(path)) appendFileSync(path, '\n');
  let toldProgress = performance.now();
  return (event) => {
    tell(event);
    if (event.type === 'stage_progress') {
      if (performance.now() - toldProgress < PROGRESS_EVERY_MS) return;
      toldProgress = performance.now();
    }
    try {
      appendFileSync(path, `${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
    } catch (error) {
      throw explainDisk(path, error);
    }
  };
}
