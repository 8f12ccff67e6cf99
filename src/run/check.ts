/** Reads and checks all inputs before a run starts, so that a bad file does not fail it later. */
import type { DemonstrationRecord, GoldRecord, PromptRecord } from '../data/records.js';
import type { PreferenceRecord } from '../data/preferences.js';
import { chooseDemonstrations, choosePrompts, nameOf, type ChosenPrompts } from './data.js';
import type { LanguageModel } from '../lm/language-model.js';
import { RunError } from './errors.js';
import { choosePreferences, preferenceLength } from './given-pairs.js';
import { chooseQuestions } from './evaluation.js';
import type { Recipe } from './recipe.js';
import { encodeDemonstration } from './stages/sft.js';

export interface Inputs {
  prompts: PromptRecord[];
  demonstrations: DemonstrationRecord[];
  questions: PromptRecord[];
  preferences: PreferenceRecord[];
  /** Sentences on rows that were left out. */
  notes: string[];
  /** File and line of records, by id, where they come from a file. */
  places: ReadonlyMap<string, string>;
}

/**
 * Every record that the recipe will use. @throws RunError or DataError for files that are missing,
 * damaged or too short.
 */
export async function readInputs(recipe: Recipe): Promise<Inputs> {
  const iterations = Array.from(
    { length: recipe.pairs.source === null ? recipe.iterations : 0 },
    (_, i) => i + 1,
  );
  const chosen: ChosenPrompts[] = [];
  // Sequential, since each call reads the whole source.
  for (const t of iterations) chosen.push(await choosePrompts(recipe, t));
  const prompts = chosen.flatMap((each) => each.prompts);
  if (recipe.reward.source === 'gold')
    checkAnswers(
      prompts,
      chosen.flatMap((each) => each.gold),
      nameOf(recipe.prompts.source),
    );
  const demonstrations =
    recipe.sft.enabled && recipe.sft.checkpoint === null
      ? await chooseDemonstrations(recipe)
      : { records: [], duplicates: 0, places: undefined };
  const given = recipe.pairs.source === null ? undefined : await choosePreferences(recipe);
  return {
    prompts,
    demonstrations: demonstrations.records,
    questions: await chooseQuestions(recipe),
    preferences: given?.preferences ?? [],
    places: new Map([
      ...(chosen[0]?.places ?? []),
      ...(demonstrations.places ?? []),
      ...(given?.places ?? []),
    ]),
    notes: [
      ...repeated(chosen[0]?.duplicates, recipe.prompts.source),
      ...repeated(demonstrations.duplicates, recipe.sft.source),
    ],
  };
}

function repeated(duplicates: number | undefined, source: string | readonly string[]): string[] {
  return duplicates
    ? [`${nameOf(source)}: ${duplicates} rows that repeat an earlier one were left out.`]
    : [];
}

function checkAnswers(
  prompts: readonly PromptRecord[],
  gold: readonly GoldRecord[],
  source: string,
): void {
  const known = new Set(gold.map(({ id }) => id));
  const without = prompts.find(({ id }) => !known.has(id));
  if (without)
    throw new RunError(
      'ERR_RUN_DATA',
      `${source}: prompt ${JSON.stringify(without.id)} has no answer, and reward.source ` +
        'gold compares with it: add a column "answer" to every row, or choose another reward.',
    );
}

/** @throws RunError naming the first record that is longer than the model's context, by place. */
export function checkLengths(
  { prompts, demonstrations, questions, preferences, places }: Partial<Inputs>,
  policy: LanguageModel,
): void {
  const context = policy.model.config.maxPositionEmbeddings;
  const long = [
    // At least one generated token must fit after the prompt.
    ...[...(prompts ?? []), ...(questions ?? [])].map(({ id, prompt }) => ({
      what: 'Prompt',
      id,
      length: policy.encodePrompt(prompt).length,
      limit: context - 1,
    })),
    ...(demonstrations ?? []).map((demonstration) => {
      const { prompt, completion } = encodeDemonstration(demonstration, policy);
      const length = prompt.length + completion.length;
      return { what: 'Demonstration', id: demonstration.id, length, limit: context };
    }),
    ...(preferences ?? []).map((preference) => ({
      what: 'The pair',
      id: preference.id,
      length: preferenceLength(preference, policy),
      limit: context,
    })),
  ].filter(({ length, limit }) => length > limit);
  const [first] = long;
  if (first === undefined) return;
  const place = places?.get(first.id);
  throw new RunError(
    'ERR_RUN_DATA',
    `${first.what} ${JSON.stringify(first.id)}${place === undefined ? '' : ` (${place})`} is ` +
      `${first.length} tokens long and the model's context holds ${context}: shorten it or take ` +
      `it out${long.length > 1 ? `, and ${long.length - 1} more like it` : ''}.`,
  );
}
