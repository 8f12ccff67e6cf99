/** Options of run() and their checks. */
import { invalid, knownKeys, list, nonEmptyString, property, shown } from '../engine/arguments.js';
import type { ModelProgress } from '../models/resolve.js';
import type { RewardFunction } from '../reward/external.js';
import type { PromptRows } from './given-prompts.js';
import type { MetricsRow } from './metrics-log.js';
import type { MetricsSink } from './sinks.js';
import type { IterationSummary } from './summary.js';

/** Options of run(). */
export interface RunOptions {
  /** The run directory; it is created if it is missing. */
  directory: string;
  /** Aborting it stops the run, which can be resumed; run() then throws Interrupted. */
  signal?: AbortSignal;
  /** Called while a model or a hub data set is downloaded. */
  onModelProgress?: (progress: ModelProgress) => void;
  /**
   * The reward function, if the recipe says `reward: {source: function}`. It is called with all
   * completions of some prompts at a time; its numbers are saved in `rewards.jsonl`, so a resumed
   * run asks only for missing ones.
   */
  rewards?: RewardFunction;
  /**
   * Called with each row of metrics.jsonl as it is written. An exception becomes a warning, and so
   * does the rejection of an async callback, which is not awaited.
   */
  onMetrics?: (row: MetricsRow) => void;
  /** Further destinations of the rows of metrics.jsonl, see MetricsSink. */
  sinks?: readonly MetricsSink[];
  /**
   * The prompts, if the recipe has `prompts: {source: program}`. They are read to the end once and
   * kept in the run directory. A run that has begun its first stage reads them from there and
   * ignores this value.
   */
  prompts?: PromptRows;
  /**
   * Called with the metrics of every finished iteration but the last one, also those of an earlier
   * call. If it returns true, the run ends there as finished. A later call without it, or with
   * another rule, continues.
   */
  until?: (iteration: IterationSummary) => boolean | Promise<boolean>;
}

const KEYS = Object.keys({
  directory: true,
  signal: true,
  onModelProgress: true,
  rewards: true,
  onMetrics: true,
  sinks: true,
  prompts: true,
  until: true,
} satisfies Record<keyof RunOptions, true>);
const KINDS = { callbacks: ['onModelProgress', 'rewards', 'onMetrics', 'until'] };

/** @throws CreamError ERR_INVALID_ARGUMENT */
export function checkRunOptions(options: RunOptions): void {
  knownKeys(options, KEYS, '[run] the options', KINDS);
  nonEmptyString(options.directory, '[run] directory');
  for (const sink of list(options.sinks ?? [], '[run] sinks')) {
    const [name, log] = [property(sink, 'name'), property(sink, 'log')];
    if (typeof name !== 'string' || name === '' || typeof log !== 'function')
      throw invalid(`[run] a sink must have a name and a function log, got ${shown(sink)}.`);
  }
  const { prompts } = options;
  const iterates = [Symbol.iterator, Symbol.asyncIterator].some(
    (name) => typeof property(prompts, name) === 'function',
  );
  if (prompts != null && (typeof prompts === 'string' || !iterates))
    throw invalid(`[run] prompts must be an array or an (async) iterable, got ${shown(prompts)}.`);
}
