/** Shared by the stage commands: loading models, progress lines, and resumable blocks. */
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setThreads } from '../engine/addon.js';
import { loadCausal } from '../lm/causal.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { stoppable } from '../run/errors.js';
import type { Recipe } from '../run/recipe.js';
import {
  makeBlocks,
  makeHere,
  progressOf,
  unitsOf,
  type BlockedStage,
} from '../run/stages/stage.js';
import { requireRecorded } from '../run/recorded.js';
import { fetchSources } from '../run/sources.js';
import { blocksOf, type Block } from '../run/store.js';
import type { Cli } from './cli.js';
import { outputOf, writeOutputRecords, type Output } from './output.js';
import { modelProgress } from './progress.js';

/** Loads a model with the recipe's settings, reports it, and frees it after `use`. */
export async function withModel<T>(
  name: string,
  { dtype, device, threads }: Pick<Recipe, 'dtype' | 'device' | 'threads'>,
  cli: Cli,
  use: (language: LanguageModel) => Promise<T>,
): Promise<T> {
  if (threads > 0) setThreads(threads);
  await stoppable(cli.signal, () => requireRecorded(name, cli.signal));
  const language = await stoppable(cli.signal, () =>
    loadCausal(name, {
      dtype,
      device,
      signal: cli.signal,
      onProgress: modelProgress(cli.progress),
    }),
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
  work: (hooks: WorkHooks) => Promise<T>,
  note: (result: T) => string = () => '',
): Promise<T> {
  const { progress, signal } = cli;
  const began = performance.now();
  let tokens = 0;
  progress.start({ group: '', done: 0, ...line });
  const result = await stoppable(cli.signal, () =>
    work({
      signal,
      progress: (done, now) => progress.update(done, line.total, (tokens = now)),
      onStopping: (sentence) => progress.say(sentence),
    }),
  );
  progress.finish((performance.now() - began) / 1000, tokens, note(result));
  return result;
}

/**
 * Runs a stage in blocks into the file `out`, as in a run; after an interruption the same call
 * resumes it. `plan` identifies everything that the records depend on.
 */
export async function showBlocks<Item, Made extends object>(
  cli: Cli,
  name: string,
  { out, plan }: { out: string; plan: unknown },
  stage: BlockedStage<Item, Made>,
): Promise<Made[]> {
  const output = outputOf(out);
  if (output.kind !== 'file') return throughPipe(cli, name, output, stage);
  const artefact = { path: output.path, plan: digestOf(plan), replace: true };
  return showStage(
    cli,
    { stage: name, unit: stage.unit, ...progressOf(stage, artefact) },
    (hooks) => makeBlocks(stage, artefact, hooks),
    stage.note,
  );
}

/** Identifies everything that an artefact depends on. */
export const digestOf = (plan: unknown): string =>
  createHash('sha256').update(JSON.stringify(plan)).digest('hex');

/** Runs a stage whose records go to standard output, a pipe or a device; it cannot be resumed. */
async function throughPipe<Item, Made extends object>(
  cli: Cli,
  name: string,
  output: Output,
  stage: BlockedStage<Item, Made>,
): Promise<Made[]> {
  const { items, size, unit, note } = stage;
  const made = await showStage(
    cli,
    { stage: name, unit, total: unitsOf(stage) },
    async (hooks) => {
      const all: Made[][] = [];
      const keep = ({ number }: Block<unknown>, records: Made[]) =>
        Promise.resolve(void (all[number] = records));
      await makeHere(stage, blocksOf(items, size), keep, hooks);
      return all.flat();
    },
    note,
  );
  await writeOutputRecords(output, made, cli.signal);
  return made;
}

/** Fetches the hub data sets among `sources` and shows the progress. */
export async function fetchData(sources: readonly string[], cli: Cli): Promise<void> {
  await stoppable(cli.signal, () =>
    fetchSources(sources, { signal: cli.signal, onProgress: modelProgress(cli.progress) }),
  );
}
