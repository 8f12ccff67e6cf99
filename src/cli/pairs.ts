/** Given preference pairs that `cream train` and `cream rank-eval` read with a model. */
import { describeLeftOut, type OnBadRow } from '../data/bad-rows.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { Loaded } from '../data/prompts.js';
import type { LanguageModel } from '../lm/language-model.js';
import { checkLengths } from '../run/check.js';
import { preferenceLength, withoutUnusable } from '../run/lengths.js';
import type { Cli } from './cli.js';

interface Reading {
  source: string;
  onBadRow: OnBadRow;
  /** What the pairs are for: to train on, or to be rated. */
  use: 'preferences' | 'rated';
}

/**
 * The pairs that `policy` can read; with `skip` a warning tells of the others. @throws RunError
 * naming the first of them otherwise
 */
export async function readablePairs(
  loaded: Loaded<PreferenceRecord>,
  policy: LanguageModel,
  { source, onBadRow, use }: Reading,
  { progress }: Cli,
): Promise<PreferenceRecord[]> {
  const { records, skipped } =
    onBadRow === 'skip'
      ? await withoutUnusable(loaded, policy, preferenceLength, 'pair', source)
      : loaded;
  const others = { duplicates: 0, skipped: skipped.slice(loaded.skipped.length) };
  const sentence = describeLeftOut(source, others);
  if (sentence !== undefined) progress.warn(sentence);
  await checkLengths({ [use]: records, places: loaded.places ?? new Map() }, policy);
  return records;
}
