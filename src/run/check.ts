/** Reads and checks all inputs before a run starts, so that a bad file does not fail it later. */
import { countLeftOut, describeLeftOut, type LeftOut } from '../data/bad-rows.js';
import { describeUnread } from '../data/unread-columns.js';
import type { Loaded } from '../data/prompts.js';
import type { PreferenceRecord } from '../data/preferences.js';
import type { DemonstrationRecord, GoldRecord, PromptRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { choosePrompts, nameOf } from './data.js';
import { RunError } from './errors.js';
import type { RowsLeftOut } from './events.js';
import type { RunInputs } from './inputs.js';
import {
  demonstrationLength,
  findLong,
  findTemplated,
  preferenceLength,
  promptLength,
} from './lengths.js';
import type { Recipe } from './recipe.js';
import { requireTwoPrompts } from './stages/mismatched.js';

export interface Inputs {
  /** The whole source of the prompts; undefined if the recipe has given pairs. */
  source: Loaded<PromptRecord> | undefined;
  /** The prompts that the iterations will use. */
  prompts: PromptRecord[];
  demonstrations: DemonstrationRecord[];
  questions: PromptRecord[];
  /** Given pairs, which the run trains on. */
  preferences: PreferenceRecord[];
  /** The pairs of `rank_eval`, which the run only rates. */
  rated: PreferenceRecord[];
  leftOut: RowsLeftOut[];
  /** A sentence for each source with columns of text that are not read. */
  unread: string[];
  /** File and line of each record that comes from a file, by its id. */
  places: ReadonlyMap<string, string>;
}

/** Whether a section of the recipe leaves out unusable rows. */
export const skipsBadRows = ({ prompts, sft, pairs, rank_eval }: Recipe): boolean =>
  [prompts, sft, pairs, rank_eval].some(({ on_bad_row: mode }) => mode === 'skip');

/**
 * Every record that the recipe will use. @throws RunError or DataError for files that are missing,
 * damaged or too short.
 */
export async function readInputs(recipe: Recipe, inputs: RunInputs): Promise<Inputs> {
  const source = recipe.pairs.source === null ? await inputs.prompts() : undefined;
  const chosen = source
    ? Array.from({ length: recipe.iterations }, (_, i) => choosePrompts(recipe, i + 1, source))
    : [];
  const prompts = chosen.flatMap((each) => each.prompts);
  if (recipe.reward.source === 'gold')
    checkAnswers(
      prompts,
      chosen.flatMap((each) => each.gold),
      nameOf(recipe.prompts.source),
    );
  const demonstrations =
    recipe.sft.enabled && recipe.sft.checkpoint === null
      ? await inputs.demonstrations()
      : undefined;
  const rated = await inputs.rated();
  const given = recipe.pairs.source === null ? undefined : await inputs.preferences();
  if (recipe.train.loss === 'kto')
    for (const used of given ? [given.records] : chosen.map((each) => each.prompts))
      requireTwoPrompts(used.map(({ prompt }) => JSON.stringify(prompt)));
  return {
    source,
    prompts,
    demonstrations: demonstrations?.records ?? [],
    questions: await inputs.questions(),
    preferences: given?.records ?? [],
    rated: rated?.records ?? [],
    places: new Map(
      [source, demonstrations, given, rated].flatMap((data) => [...(data?.places ?? [])]),
    ),
    unread: [
      source && describeUnread(nameOf(recipe.prompts.source), source),
      demonstrations && describeUnread(nameOf(recipe.sft.source), demonstrations),
      given && describeUnread(recipe.pairs.source ?? '', given),
      rated && describeUnread(recipe.rank_eval.source ?? '', rated),
    ].filter((sentence) => sentence !== undefined),
    leftOut: [
      ...leftOut('prompts', recipe.prompts.source, source),
      ...leftOut('sft', recipe.sft.source, demonstrations),
      ...leftOut('pairs', recipe.pairs.source ?? '', given),
      ...leftOut('rank_eval', recipe.rank_eval.source ?? '', rated),
    ],
  };
}

function leftOut(
  section: RowsLeftOut['section'],
  source: string | readonly string[],
  data: LeftOut | undefined,
): RowsLeftOut[] {
  const message = data && describeLeftOut(nameOf(source), data);
  return message === undefined ? [] : [{ section, count: countLeftOut(data!), message }];
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

/**
 * @throws RunError naming the first record, by place, that is longer than the model's context or
 * holds one of the model's control tokens
 */
export async function checkLengths(
  {
    prompts = [],
    demonstrations = [],
    questions = [],
    preferences = [],
    rated = [],
    places,
  }: Partial<Omit<Inputs, 'source' | 'leftOut' | 'unread'>>,
  policy: LanguageModel,
): Promise<void> {
  await refuseTemplated([...prompts, ...demonstrations, ...preferences, ...rated], places, policy);
  const found = [
    { what: 'Prompt', key: 'prompts', long: await findLong(prompts, policy, promptLength) },
    { what: 'Question', key: '', long: await findLong(questions, policy, promptLength) },
    {
      what: 'Demonstration',
      key: 'sft',
      long: await findLong(demonstrations, policy, demonstrationLength),
    },
    { what: 'Pair', key: 'pairs', long: await findLong(preferences, policy, preferenceLength) },
    { what: 'Pair', key: 'rank_eval', long: await findLong(rated, policy, preferenceLength) },
  ].filter(({ long }) => long.length > 0);
  const [first] = found;
  if (first === undefined) return;
  const { what, key, long } = first;
  const { id, tokens } = long[0]!;
  const place = places?.get(id);
  const more = found.reduce((sum, each) => sum + each.long.length, -1);
  throw new RunError(
    'ERR_RUN_DATA',
    `${what} ${JSON.stringify(id)}${place === undefined ? '' : ` (${place})`} is ` +
      `at least ${tokens} tokens long and the model's context holds ` +
      `${policy.model.config.maxPositionEmbeddings}: shorten it or remove it` +
      (key === '' ? '' : `, or set ${key}.on_bad_row to skip`) +
      `${more > 0 ? `; ${more} more ${more === 1 ? 'is' : 'are'} too long` : ''}.`,
  );
}

async function refuseTemplated(
  records: Parameters<typeof findTemplated>[0],
  places: Inputs['places'] | undefined,
  policy: LanguageModel,
): Promise<void> {
  const [first, ...others] = await findTemplated(records, policy);
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (${others.length} more like it)`;
  throw new RunError(
    'ERR_RUN_DATA',
    `${places?.get(first.id) ?? JSON.stringify(first.id)}: the text holds the model's control ` +
      `token ${JSON.stringify(first.token)}, which its chat template writes itself: give the ` +
      `text without the template, or leave the row out${more}.`,
  );
}
