/**
 * A run: base model, optional SFT, then the iterations. Everything it makes is in its directory, so
 * calling it again, after whatever stopped it, goes on where it was and ends with the same bytes.
 */
import { appendFileSync, existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createHash } from 'node:crypto';
import { engineInfo, setThreads } from '../engine/addon.js';
import { makeDirectory, sweep } from '../files/files.js';
import {
  modelDigest,
  resolveModel,
  type ModelProgress,
  type ResolvedModel,
} from '../models/resolve.js';
import { checkLengths, readInputs, skipsBadRows } from './check.js';
import { RunContext } from './context.js';
import { Interrupted, RunError } from './errors.js';
import { EventQueue } from './event-queue.js';
import type { RunEvent } from './events.js';
import { RunInputs } from './inputs.js';
import { iterate, learnGivenPairs } from './iteration.js';
import { takeLock } from './lock.js';
import { adapterOf, Models } from './models.js';
import { firstDifference, parseRecipe, recipeDigest, recipeText } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import type { RewardFunction } from '../reward/external.js';
import { loadRewardModel } from './reward-model.js';
import { fetchSources, inputDigests, sourcesOf } from './sources.js';
import { evaluateModel } from './stages/evaluate.js';
import { checkStart, fineTune } from './stages/sft.js';
import {
  EVENTS,
  explainDisk,
  LOCK,
  onDisk,
  RECIPE,
  REPORT,
  RUN,
  SUMMARY,
  writeAtomic,
} from './store.js';
import { Summaries } from './summary.js';
import { recipeWarnings } from './warnings.js';

export interface RunOptions {
  /** The run directory; made where it is missing. */
  directory: string;
  signal?: AbortSignal;
  onModelProgress?: (progress: ModelProgress) => void;
  /**
   * What a response is worth, where the recipe says `reward: {source: function}`. Called with all
   * completions of some prompts at a time; its numbers are kept in `rewards.jsonl`, so a resumed
   * run asks only for what is missing.
   */
  rewards?: RewardFunction;
}

/**
 * Works and tells. Ends after `run_finished`; throws Interrupted where `signal` stopped it (its
 * state is on disk), RunError, CreamError, ModelError or DataError with one clear sentence
 * otherwise. Leaving the loop early stops the run like the signal does.
 */
export async function* run(recipe: Recipe, options: RunOptions): AsyncGenerator<RunEvent, void> {
  const queue = new EventQueue<RunEvent>();
  const left = new AbortController();
  const signal = AbortSignal.any([left.signal, ...(options.signal ? [options.signal] : [])]);
  const work = locked(recipe, { ...options, signal }, (event) => queue.push(event)).finally(() =>
    queue.end(),
  );
  work.catch(() => {}); // reported below, after the events that came before
  try {
    yield* queue;
    await work;
  } finally {
    left.abort();
    await work.catch(() => {});
  }
}

type Options = RunOptions & { signal: AbortSignal };
type Emit = (event: RunEvent) => void;

async function locked(recipe: Recipe, options: Options, tell: Emit): Promise<void> {
  const { directory } = options;
  checkDirectory(directory);
  const release = await onDisk(directory, async () => {
    await makeDirectory(directory);
    return takeLock(join(directory, LOCK));
  });
  try {
    await sweep(directory);
    const resumed = await checkRecipe(directory, recipe);
    if (existsSync(join(directory, SUMMARY)))
      return tell({ type: 'run_finished', directory, already: true, seconds: 0 });
    await work(recipe, options, logged(directory, tell), resumed);
  } finally {
    release();
  }
}

async function work(
  recipe: Recipe,
  { directory, signal, onModelProgress, rewards }: Options,
  emit: Emit,
  resumed: boolean,
): Promise<void> {
  const began = performance.now();
  checkRewards(recipe, rewards);
  await stoppable(signal, () =>
    fetchSources(sourcesOf(recipe), { signal, onProgress: onModelProgress }),
  );
  const sources = new RunInputs(recipe);
  let inputs = await readInputs(recipe, sources);
  emit({ type: 'run_started', directory, resumed, iterations: recipe.iterations });
  for (const message of recipeWarnings(recipe)) emit({ type: 'warning', message });
  if (recipe.threads > 0) setThreads(recipe.threads);
  const resolved = await stoppable(signal, () =>
    resolveModel(recipe.model, { signal, ...(onModelProgress && { onProgress: onModelProgress }) }),
  );
  const plan = await checkModel(directory, recipe, resolved, signal, emit);
  const models = new Models({
    base: resolved.path,
    name: recipe.model,
    dtype: recipe.dtype,
    device: recipe.device,
    signal,
    adapter: adapterOf(recipe),
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
  const context = new RunContext({
    recipe,
    directory,
    base: resolved.path,
    plan,
    models,
    inputs: skipsBadRows(recipe)
      ? new RunInputs(recipe, () => models.policy(resolved.path))
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
      await checkLengths(inputs, policy);
      await checkStart(context);
      if (recipe.reward.source === 'model') await (await loadRewardModel(recipe, signal)).dispose();
    }
    if (recipe.evaluate.baseline) {
      await evaluateModel(context, 0, 0);
      await summaries.add(0);
    }
    if (recipe.sft.enabled) {
      await fineTune(context);
      await evaluateModel(context, 'sft', 1);
      await summaries.add('sft');
    }
    for (let t = 1; t <= recipe.iterations; t++) {
      await (recipe.pairs.source === null ? iterate : learnGivenPairs)(context, t);
      await summaries.add(t);
      await models.keep([context.checkpoint(0), context.checkpoint(t), context.checkpoint(t + 1)]);
    }
    const summary = { recipe: recipeDigest(recipe), iterations: summaries.finished() };
    await writeAtomic(join(directory, SUMMARY), `${JSON.stringify(summary, null, 2)}\n`);
    emit({
      type: 'run_finished',
      directory,
      already: false,
      seconds: (performance.now() - began) / 1000,
    });
  } finally {
    await models.dispose();
  }
}

/** Whether an earlier call came past the checks that need a model. */
function begun(context: RunContext): boolean {
  return ['prompts.jsonl', 'preferences.jsonl'].some((name) => existsSync(context.file(1, name)));
}

/**
 * A function cannot be written in a recipe: the recipe says that there is one, the program brings
 * it.
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

/** A directory that holds other things is not ours to fill. */
function checkDirectory(directory: string): void {
  if (!existsSync(directory) || existsSync(join(directory, RECIPE))) return;
  let foreign: string | undefined;
  try {
    foreign = firstBeside(directory, [LOCK, EVENTS, REPORT]);
  } catch (error) {
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${directory} cannot be a run directory (${(error as Error).message}); choose ` +
        'another with --out.',
      { cause: error },
    );
  }
  if (foreign !== undefined)
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${directory} is not a run directory and holds ${JSON.stringify(foreign)}: choose ` +
        'another with --out.',
    );
}

function firstBeside(directory: string, bookkeeping: readonly string[]): string | undefined {
  return readdirSync(directory).find(
    (name) => !bookkeeping.includes(name) && !/^(lock\.|recipe\.yaml\.tmp-)/.test(name),
  );
}

/**
 * Whether the run began before. Its recipe must be this one, unless it failed before it made
 * anything: then its mistake is being put right.
 */
async function checkRecipe(directory: string, recipe: Recipe): Promise<boolean> {
  const path = join(directory, RECIPE);
  if (!existsSync(path)) {
    await writeAtomic(path, recipeText(recipe));
    return false;
  }
  const difference = firstDifference(parseRecipe(readFileSync(path, 'utf8'), path), recipe);
  if (difference && firstBeside(directory, [LOCK, EVENTS, REPORT, RECIPE, RUN]) === undefined) {
    rmSync(join(directory, RUN), { force: true });
    await writeAtomic(path, recipeText(recipe));
    return false;
  }
  if (difference)
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${directory} was made with ${difference.key} = ${difference.a}, this recipe says ` +
        `${difference.b}: choose another --out, or set ${difference.key} back to go on with ` +
        'that run.',
    );
  return true;
}

interface RunFile {
  recipe: string;
  model: { name: string; digest: string };
  /** What each input was (`inputDigests`); absent in runs of version 0.1.0. */
  sources?: Record<string, string>;
  versions: { cream: string; torch: string };
}

/**
 * The run's base model must be the one it began with. Returns the plan: what every artefact depends
 * on.
 */
async function checkModel(
  directory: string,
  recipe: Recipe,
  resolved: ResolvedModel,
  signal: AbortSignal,
  emit: Emit,
): Promise<string> {
  const { version, torch } = engineInfo();
  const file: RunFile & Required<Pick<RunFile, 'sources'>> = {
    recipe: recipeDigest(recipe),
    model: {
      name: recipe.model,
      digest: await stoppable(signal, () => modelDigest(resolved, signal)),
    },
    sources: await stoppable(signal, () => inputDigests(recipe, signal)),
    versions: { cream: version, torch },
  };
  const path = join(directory, RUN);
  if (!existsSync(path)) {
    await writeAtomic(path, `${JSON.stringify(file, null, 2)}\n`);
  } else {
    const before = readRunFile(path);
    if (before.model.digest !== file.model.digest)
      throw new RunError(
        'ERR_RUN_MISMATCH',
        `${directory} began with other weights of ${recipe.model} ` +
          `(${before.model.digest.slice(0, 20)}…, now ${file.model.digest.slice(0, 20)}…): ` +
          'bring those back, or choose another --out.',
      );
    for (const [source, digest] of Object.entries(before.sources ?? {}))
      if (file.sources[source] !== digest)
        throw sourceChanged(directory, source, digest, file.sources[source]);
    const changed = (['cream', 'torch'] as const).find(
      (name) => before.versions[name] !== file.versions[name],
    );
    if (changed)
      emit({
        type: 'warning',
        message:
          `${basename(directory)} began with ${changed} ${before.versions[changed]} and goes ` +
          `on with ${file.versions[changed]}: the last bits of its numbers may differ from ` +
          'an uninterrupted run.',
      });
  }
  return createHash('sha256').update(`${file.recipe} ${file.model.digest}`).digest('hex');
}

function sourceChanged(
  directory: string,
  source: string,
  before: string,
  now: string | undefined,
): RunError {
  const moved = before.startsWith('hub:');
  return new RunError(
    'ERR_RUN_MISMATCH',
    moved
      ? `${directory} began with revision ${before.slice('hub:'.length)} of ${source}, which is ` +
          `now ${now?.slice('hub:'.length) ?? 'not known'}: choose another --out, or fetch that ` +
          'revision again.'
      : `${directory} began with another content of ${source} (SHA-256 ${shortly(before)}, ` +
          `now ${shortly(now)}): bring that back, or choose another --out.`,
  );
}

const shortly = (digest: string | undefined): string =>
  digest === undefined ? 'not a file' : `${digest.slice(0, 12)}…`;

function readRunFile(path: string): RunFile {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as RunFile;
  } catch (cause) {
    throw new RunError(
      'ERR_RUN_DATA',
      `${path} is damaged (${(cause as Error).message.split('\n')[0]}), so it cannot be ` +
        'told what the run began with: bring it back, or choose another --out.',
      { cause },
    );
  }
}

async function stoppable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw new Interrupted();
    throw error;
  }
}

/** Every event but progress, with its time, synchronously: a killed process loses none. */
function logged(directory: string, tell: Emit): Emit {
  const path = join(directory, EVENTS);
  // A line cut by a crash must not swallow the next one.
  if (existsSync(path) && !readFileSync(path, 'utf8').endsWith('\n')) appendFileSync(path, '\n');
  return (event) => {
    tell(event);
    if (event.type === 'stage_progress') return;
    try {
      appendFileSync(path, `${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
    } catch (error) {
      throw explainDisk(path, error);
    }
  };
}
