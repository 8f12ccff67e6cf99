/** Downloads the hub data sets of a run or a command to the cache before any work begins. */
import { datasetFiles } from '../data/hub.js';
import { isHubSource, type SourceOptions } from '../data/rows.js';
import { taskSources } from './evaluation.js';
import type { Recipe } from './recipe.js';

/** Ignores sources that are files. @throws DataError or ModelError as `datasetFiles` */
export async function fetchSources(
  sources: readonly string[],
  options: Pick<SourceOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  for (const source of new Set(sources.filter(isHubSource))) await datasetFiles(source, options);
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
