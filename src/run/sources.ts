/**
 * The hub data sets that a run or a command reads, brought to the cache before anything else: told
 * as a model's download is, and stopped by the same signal.
 */
import { datasetFiles } from '../data/hub.js';
import { isHubSource, type SourceOptions } from '../data/rows.js';
import { taskSources } from './evaluation.js';
import type { Recipe } from './recipe.js';

/** Files are none of its business. @throws DataError or ModelError as `datasetFiles` */
export async function fetchSources(
  sources: readonly string[],
  options: Pick<SourceOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  for (const source of new Set(sources.filter(isHubSource))) await datasetFiles(source, options);
}

/** Where the rows of a run come from. */
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
