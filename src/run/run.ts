/**
 * A run: base model, optional SFT, then the iterations. It writes only to its directory, so calling
 * it again after any interruption resumes it and gives the same bytes.
 */
import { appendFileSync, closeSync, lstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { leavable } from '../engine/leavable.js';
import { rankPlace, Ranks, type RankPlace } from '../engine/ranks.js';
import { makeDirectory, sweep } from '../files/files.js';
import { checkBegun, checkDirectory, openRecords } from './directory.js';
import { RunError, stoppable, untilAborted } from './errors.js';
import { EventQueue } from './event-queue.js';
import type { RunEvent } from './events.js';
import { execute, type Emit, type ExecuteOptions } from './execute.js';
import { follow } from './follow.js';
import { takeLock } from './lock.js';
import { readMetrics } from './metrics-log.js';
import { checkRunOptions, type RunOptions } from './options.js';
import { readOwnText } from './own-files.js';
import { checkRecipe } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { ReportWriter } from './report-writer.js';
import { Outlets } from './sinks.js';
import { EVENTS, explainDisk, LOCK, onDisk, SUMMARY } from './store.js';
import { endsAfter, type IterationSummary } from './summary.js';
import { Team, withTeam } from './team.js';

export type { RunOptions } from './options.js';

/**
 * Executes the run and yields its events. Ends after `run_finished`; throws Interrupted if `signal`
 * stopped it (its state is on disk), otherwise RunError, CreamError (also for a wrong option),
 * ModelError or DataError with one clear sentence. Leaving the loop early stops the run like the
 * signal.
 */
export function run(recipe: Recipe, options: RunOptions): AsyncGenerator<RunEvent, void> {
  const left = new AbortController();
  return leavable(eventsOf(recipe, options, left.signal), () => left.abort());
}

/** The events of run(), which stops once its reader has `left`. */
async function* eventsOf(
  recipe: Recipe,
  options: RunOptions,
  left: AbortSignal,
): AsyncGenerator<RunEvent, void, undefined> {
  checkRecipe(recipe);
  checkRunOptions(options);
  const stops = options.signal ? [left, options.signal] : [left];
  const place = rankPlace();
  const ranks = place.size > 1 ? await joined(place, AbortSignal.any(stops)) : undefined;
  if (ranks && ranks.place.rank > 0) {
    const own = { recipe, directory: options.directory };
    const well = await follow(ranks, own, AbortSignal.any(stops));
    if (!well) process.exitCode = 1;
    return;
  }
  const queue = new EventQueue<RunEvent>();
  const team = ranks && new Team(ranks);
  const signal = AbortSignal.any([...stops, ...(team ? [team.signal] : [])]);
  const work = withTeam(team, () =>
    locked(recipe, { ...options, team, signal }, (event) => queue.push(event)),
  ).finally(() => queue.end());
  work.catch(() => {}); // reported below, after the earlier events
  try {
    yield* queue;
    await work;
  } finally {
    await work.catch(() => {});
  }
}

/** Joins the other ranks, which may not be there yet. */
async function joined(place: RankPlace, signal: AbortSignal): Promise<Ranks> {
  const joining = Ranks.join(place);
  try {
    return await stoppable(signal, () => untilAborted(joining, signal));
  } catch (error) {
    // Ranks that have joined after all must not wait for this one.
    joining.then(
      (ranks) => ranks.leave(),
      () => {},
    );
    throw error;
  }
}

async function locked(recipe: Recipe, options: ExecuteOptions, tell: Emit): Promise<void> {
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
    if (finished && (await stoppable(signal, () => isOver(directory, recipe, options)))) {
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
      if (event.type === 'stage_finished' || event.type === 'checkpoint_saved') reports.request();
    };
    for (const message of warnings) emit({ type: 'warning', message });
    await stoppable(signal, () => execute(recipe, { options, records, emit, resumed })).finally(
      () => reports.finish(),
    );
  } finally {
    release();
  }
}

/** Whether a finished run has all its iterations, or `until` still ends it after the last one. */
async function isOver(
  directory: string,
  { iterations }: Recipe,
  { until, signal }: ExecuteOptions,
): Promise<boolean> {
  const { iterations: rows } = JSON.parse(readOwnText(join(directory, SUMMARY))) as {
    iterations: IterationSummary[];
  };
  const last = rows.at(-1);
  if (typeof last?.phase !== 'number' || last.phase >= iterations) return true;
  return endsAfter(last, until, signal);
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
 * Passes events on to `tell` and appends each to events.jsonl with its time, synchronously, so that
 * a killed process loses none. Progress is written only as often as a reader can follow.
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
