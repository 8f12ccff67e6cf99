/** Shared by the stage commands: loading models, progress lines, and resumable blocks. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setThreads } from '../engine/addon.js';
import { loadModel, type LanguageModel } from '../lm/language-model.js';
import { Interrupted, RunError } from '../run/errors.js';
import type { Recipe } from '../run/recipe.js';
import { makeBlocks, progressOf, type BlockedStage, type StageHooks } from '../run/stages/stage.js';
import { fetchSources } from '../run/sources.js';
import type { Cli } from './cli.js';
import { modelProgress } from './progress.js';

/** Loads a model with the recipe's settings, reports it, and frees it after `use`. */
export async function withModel<T>(
  name: string,
  { dtype, device, threads }: Pick<Recipe, 'dtype' | 'device' | 'threads'>,
  cli: Cli,
  use: (language: LanguageModel) => Promise<T>,
): Promise<T> {
  if (threads > 0) setThreads(threads);
  const language = await stoppable(cli, () =>
    loadModel(name, { dtype, device, signal: cli.signal, onProgress: modelProgress(cli.progress) }),
  );
  try {
    return await use(language);
  } finally {
    await language.dispose();
  }
}

/** Loads several models together and frees each at the end. */
export function withModels<T>(
  names: string[],
  settings: Parameters<typeof withModel>[1],
  cli: Cli,
  use: (models: Map<string, LanguageModel>) => Promise<T>,
  loaded = new Map<string, LanguageModel>(),
): Promise<T> {
  const [name, ...others] = names;
  if (name === undefined) return use(loaded);
  return withModel(name, settings, cli, (language) =>
    withModels(others, settings, cli, use, loaded.set(name, language)),
  );
}

export interface StageLine {
  stage: string;
  unit: string;
  total: number;
  done?: number;
}

/** Runs one stage and shows its progress line. */
export async function showStage<T>(
  cli: Cli,
  line: StageLine,
  work: (hooks: StageHooks) => Promise<T>,
  note: (result: T) => string = () => '',
): Promise<T> {
  const { progress, signal } = cli;
  const began = performance.now();
  let tokens = 0;
  progress.start({ group: '', done: 0, ...line });
  const result = await stoppable(cli, () =>
    work({ signal, progress: (done, now) => progress.update(done, line.total, (tokens = now)) }),
  );
  progress.finish((performance.now() - began) / 1000, tokens, note(result));
  return result;
}

/**
 * Runs a stage in blocks into the file `out`, as in a run; after a stop the same call resumes it.
 * `plan` is everything that the records depend on.
 */
export async function showBlocks<Item, Made extends object>(
  cli: Cli,
  name: string,
  { out, plan }: { out: string; plan: unknown },
  stage: BlockedStage<Item, Made>,
): Promise<Made[]> {
  if (statSync(out, { throwIfNoEntry: false })?.isDirectory())
    throw new RunError(
      'ERR_DISK',
      `Cannot write ${out}: it is a folder; give --out the name of a file.`,
    );
  const artefact = { path: out, plan: digestOf(plan), replace: true };
  return showStage(
    cli,
    { stage: name, unit: stage.unit, ...progressOf(stage, artefact) },
    (hooks) => makeBlocks(stage, artefact, hooks),
    stage.note,
  );
}

/** Names everything that an artefact depends on. */
export const digestOf = (plan: unknown): string =>
  createHash('sha256').update(JSON.stringify(plan)).digest('hex');

/** A model is renamed into place when it is complete; an existing path is never overwritten. */
export function taken(out: string): boolean {
  return existsSync(out) && !(statSync(out).isDirectory() && readdirSync(out).length === 0);
}

/** Hub data sets among `sources`, fetched with their progress shown. */
export async function fetchData(sources: readonly string[], cli: Cli): Promise<void> {
  await stoppable(cli, () =>
    fetchSources(sources, { signal: cli.signal, onProgress: modelProgress(cli.progress) }),
  );
}

async function stoppable<T>({ signal }: Cli, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw new Interrupted();
    throw error;
  }
}
