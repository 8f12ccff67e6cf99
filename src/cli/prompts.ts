/** The prompts that `cream generate` and `cream win-rate` have a model answer. */
import { Option } from 'commander';
import { describeLeftOut } from '../data/bad-rows.js';
import { describeUnread } from '../data/unread-columns.js';
import type { LanguageModel } from '../lm/language-model.js';
import { checkLengths } from '../run/check.js';
import { choosePrompts, readPrompts, type ChosenPrompts } from '../run/data.js';
import { RunError } from '../run/errors.js';
import type { Recipe } from '../run/recipe.js';
import type { Cli } from './cli.js';

export const PROMPT_KEYS = ['prompts.count', 'prompts.columns', 'prompts.on_bad_row'] as const;

/** Has no iterations to divide the prompts among, and so a flag with a text of its own. */
export const COUNT_KEY = 'prompts.count';
export const countOption = (): Option =>
  new Option('--count <number>', 'how many prompts are drawn [all of a file; 48 of builtin]');

/** The given source of prompts, and `--count` if it is given. */
interface PromptFlags {
  source: string;
  count: unknown;
}

/**
 * The prompts of `source` that fit into the context of `policy`, with a warning about rows that are
 * left out and columns that are not read. A file is used completely unless `--count` is given; the
 * number of built-in prompts is unlimited, so the default of the recipe holds for them.
 */
export async function promptsOf(
  settings: Recipe,
  { source, count: given }: PromptFlags,
  policy: LanguageModel,
  cli: Cli,
): Promise<ChosenPrompts['prompts']> {
  const count = given === undefined && source !== 'builtin' ? 0 : settings.prompts.count;
  const recipe = { ...settings, prompts: { ...settings.prompts, count } };
  const rows = await readPrompts(recipe, policy);
  requireEnough(source, rows.records.length, count);
  const { prompts } = choosePrompts(recipe, 1, rows);
  for (const sentence of [describeLeftOut(source, rows), describeUnread(source, rows)])
    if (sentence !== undefined) cli.progress.warnOnce(sentence);
  await checkLengths({ prompts, places: rows.places ?? new Map() }, policy);
  return prompts;
}

/** @throws RunError in the words of the command line, where a recipe has other remedies */
function requireEnough(source: string, found: number, count: number): void {
  if (found === 0)
    throw new RunError('ERR_RUN_DATA', `${source} holds no prompt that can be used: add some.`);
  if (count > found)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source} holds ${found} prompts, fewer than --count ${count}: lower it, or leave it out.`,
    );
}
