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
import { blocksOf, discardOthers, writeRecords, type Artefact, type Block } from '../run/store.js';
import type { Cli } from './cli.js';
import { outputOf, writeOutputRecords } from './output.js';
import { modelProgress } from './progress.js';

type Loading = Pick<Recipe, 'dtype' | 'device' | 'threads'>;

/** Loads a model with the recipe's settings, reports it, and frees it after `use`. */
export async function withModel<T>(
  name: string,
  settings: Loading,
  cli: Cli,
  use: (language: LanguageModel) => Promise<T>,
): Promise<T> {
  const language = await load(name, settings, cli);
  try {
    return await use(language);
  } finally {
    await language.dispose();
  }
}

/** Lends models one at a time: each is loaded when it is asked for, and frees the one before. */
export async function withModelsInTurn<T>(
  settings: Loading,
  cli: Cli,
  use: (lend: (name: string) => Promise<LanguageModel>) => Promise<T>,
): Promise<T> {
  let lent: { name: string; language: LanguageModel } | undefined;
  const free = async () => {
    const { language } = lent ?? {};
    lent = undefined;
    await language?.dispose();
  };
  try {
    return await use(async (name) => {
      if (lent?.name === name) return lent.language;
      await free();
      const language = await load(name, settings, cli);
      lent = { name, language };
      return language;
    });
  } finally {
    await free();
  }
}

async function load(
  name: string,
  { dtype, device, threads }: Loading,
  { signal, progress }: Cli,
): Promise<LanguageModel> {
  if (threads > 0) setThreads(threads);
  await stoppable(signal, () => requireRecorded(name, signal));
  return stoppable(signal, () =>
    loadCausal(name, { dtype, device, signal, onProgress: modelProgress(progress) }),
  );
}

/** Loads several models together and frees each at the end. */
export function withModels<T>(
  names: string[],
  settings: Loading,
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

/** The file of a stage command. */
export interface BlocksFile<Made> {
  out: string;
  /** Identifies everything that the records depend on, besides the size of a block. */
  plan: unknown;
  /** The rows of the file, from the records of all blocks; default these records. */
  rows?: (made: readonly Made[]) => readonly object[];
}

/**
 * Runs a stage in blocks into the file `out`, as in a run; after an interruption the same call
 * resumes it.
 */
export async function showBlocks<Item, Made extends object>(
  cli: Cli,
  name: string,
  { out, plan, rows = (made) => made }: BlocksFile<Made>,
  stage: BlockedStage<Item, Made>,
): Promise<Made[]> {
  const output = outputOf(out);
  if (output.kind !== 'file') {
    const made = await showUnsaved(cli, name, stage);
    await writeOutputRecords(output, rows(made), cli.signal);
    return made;
  }
  cli.resumable = true;
  const artefact: Artefact = {
    path: output.path,
    plan: digestOf([stage.size, plan]),
    replace: true,
    write: (made) => writeRecords(output.path, rows(made as readonly Made[])),
  };
  await discardOthers(artefact);
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

/** Runs a stage whose blocks are kept in memory; it cannot be resumed. */
export function showUnsaved<Item, Made extends object>(
  cli: Cli,
  name: string,
  stage: BlockedStage<Item, Made>,
): Promise<Made[]> {
  const { items, size, unit, note } = stage;
  return showStage(
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
}

/** Fetches the hub data sets among `sources` and shows the progress. */
export async function fetchData(sources: readonly string[], cli: Cli): Promise<void> {
  await stoppable(cli.signal, () =>
    fetchSources(sources, { signal: cli.signal, onProgress: modelProgress(cli.progress) }),
  );
}
