/** Downloads the hub data sets of a run or a command to the cache before any work begins. */
import { datasetFiles } from '../data/hub.js';
import { isHubSource, type SourceOptions } from '../data/rows.js';
import { sha256File } from '../files/cache.js';
import { isFile } from '../files/files.js';
import { taskSources } from './evaluation.js';
import type { Recipe } from './recipe.js';

/** Ignores sources that are files. @throws DataError or ModelError as `datasetFiles` */
export async function fetchSources(
  sources: readonly string[],
  options: Pick<SourceOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  for (const source of new Set(sources.filter(isHubSource))) await datasetFiles(source, options);
}

/** SHA-256 of each source that is a file; the hub's are pinned by their cached revision. */
export async function sourceDigests(
  sources: readonly string[],
  signal?: AbortSignal,
): Promise<Record<string, string>> {
  const files = [...new Set(sources)].filter(isFile).sort();
  const digests: Record<string, string> = {};
  for (const file of files) digests[file] = await sha256File(file, signal);
  return digests;
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
