/** Downloads the hub data sets of a run or a command to the cache before any work begins. */
import { datasetFiles, fetchDataset } from '../data/hub.js';
import { isHubSource, type SourceOptions } from '../data/rows.js';
import { sha256File } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { isFile } from '../files/files.js';
import { ALIASES, modelDigest, resolveModel } from '../models/resolve.js';
import { taskSources } from './questions.js';
import type { Recipe } from './recipe.js';

/** Ignores sources that are files. @throws DataError or ModelError like `datasetFiles` */
export async function fetchSources(
  sources: readonly string[],
  options: Pick<SourceOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  for (const source of new Set(sources.filter(isHubSource))) await datasetFiles(source, options);
}

/**
 * Digests of a run's inputs by their names in the recipe: SHA-256 of a file, `hub:<commit>` of a
 * hub data set, the digest of a reward model.
 */
export async function inputDigests(
  recipe: Recipe,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { source: judge, file, model } = recipe.reward;
  const digests: Record<string, string> = {};
  const files = judge === 'file' && file !== null ? [file] : [];
  for (const source of [...new Set([...sourcesOf(recipe), ...files])].sort()) {
    if (isHubSource(source))
      digests[source] = `hub:${(await fetchDataset(source, { signal })).commit}`;
    else if (isFile(source)) digests[source] = await sha256File(source, signal);
  }
  const judging = await rewardModelDigest(recipe, signal);
  if (judging !== undefined) digests[model!] = judging;
  return digests;
}

/** Of a model of the hub, which the run fetches, also in place of a damaged copy. */
const FETCHED = ['ERR_OFFLINE', 'ERR_CHECKSUM'];

/** A path must lead to a model. @throws ModelError */
export async function requireIfLocal(model: string): Promise<void> {
  if (Object.hasOwn(ALIASES, model)) return;
  await resolveModel(model, { offline: true }).catch((error: unknown) => {
    if (!(error instanceof ModelError) || !FETCHED.includes(error.code)) throw error;
  });
}

/** The digest of the model that gives the rewards; undefined if none does. */
export async function rewardModelDigest(
  { reward: { source, model } }: Pick<Recipe, 'reward'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (source !== 'model' || model === null) return undefined;
  return modelDigest(await resolveModel(model, { signal }), signal);
}

/** All data sources of a run. */
export function sourcesOf({
  prompts,
  sft,
  pairs,
  evaluate,
}: Pick<Recipe, 'prompts' | 'sft' | 'pairs' | 'evaluate'>): string[] {
  return [
    pairs.source ?? prompts.source,
    sft.enabled ? sft.source : [],
    taskSources(evaluate),
  ].flat();
}
