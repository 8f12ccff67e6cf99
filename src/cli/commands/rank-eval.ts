/**
 * `cream rank-eval`: how well the rewards of one or more models rank given preference pairs. It
 * shows before training whether a self-reward is worth following.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { describeLeftOut } from '../../data/bad-rows.js';
import { groupBy } from '../../data/group.js';
import type { PreferenceRecord } from '../../data/preferences.js';
import type { RankedPairRecord } from '../../data/records.js';
import { describeUnread } from '../../data/unread-columns.js';
import { byLength, rankingAccuracy, type RankingAccuracy } from '../../evaluate/ranking.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { requireRun } from '../../run/run-folder.js';
import { readOwnText } from '../../run/own-files.js';
import { RunError } from '../../run/errors.js';
import {
  accuracyOfPairs,
  measurePairs,
  rankedPreferences,
  rewardsOfPairs,
  ScoredPairs,
  shown,
  unratedPairs,
  type MeasuredPair,
} from '../../run/ranking-check.js';
import { parseRecipe } from '../../run/recipe-file.js';
import type { Recipe } from '../../run/recipe.js';
import { lendRewardModel } from '../../run/reward-model.js';
import type { BlockedStage } from '../../run/stages/stage.js';
import { blocksOf, RECIPE } from '../../run/store.js';
import { baseOfRun, modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ANSWER_KEYS, settingsFrom, type Cli } from '../cli.js';
import { outputOf } from '../output.js';
import { readablePairs } from '../pairs.js';
import { fetchData, showBlocks, showUnsaved, withModel, withModelsInTurn } from '../stage.js';
import { formatTable, printJson, printLine } from '../table.js';

const KEYS = [
  ...ANSWER_KEYS,
  'sample.max_num_seqs',
  'score.max_num_batched_tokens',
  'score.save_prompts',
  'rank_eval.columns',
  'rank_eval.on_bad_row',
  'rank_eval.count',
  'rank_eval.length_tolerance',
];
/** Keys that belong to one reward and have no effect if another one is measured. */
const JUDGE_KEYS = [
  'reward.judgements',
  'reward.reasons',
  'reward.temperature',
  'reward.top_p',
  'reward.max_new_tokens',
];
const MODEL_KEYS = ['reward.model', 'reward.label'];

/** The rewards that a model can compute, by name. */
const REWARDS = {
  implicit: { source: 'implicit', length: 'sum' },
  implicit_mean: { source: 'implicit', length: 'mean' },
  implicit_controlled: { source: 'implicit', length: 'controlled' },
  likelihood: { source: 'likelihood', length: 'sum' },
  judge: { source: 'judge', length: 'sum' },
  judge_implicit: { source: 'judge_implicit', length: 'sum' },
  model: { source: 'model', length: 'sum' },
} as const;
type RewardName = keyof typeof REWARDS;
const DEFAULT_REWARDS: RewardName[] = ['implicit', 'implicit_mean', 'likelihood'];

interface Flags extends Record<string, unknown> {
  pairs: string;
  model: string[];
  base?: string;
  run?: string;
  rewards: RewardName[];
  out?: string;
  json?: boolean;
}

/** One line of the result. */
interface Row extends RankingAccuracy {
  model: string;
  reward: string;
  /** θ_0 of an implicit reward. */
  base?: string;
}

/** Models and rewards that are given twice are measured once. */
const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

export function addRankEval(program: Command, cli: Cli): void {
  const command = program
    .command('rank-eval')
    .description('measure how well the rewards of models rank given preference pairs')
    .requiredOption('--pairs <source>', 'preference pairs: a file or hub:… (docs/data.md)')
    .option(
      '--model <name>',
      'a model whose rewards are measured; may be repeated',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option(
      '--base <name>',
      'θ_0 of the implicit rewards [the base model of the run that the models belong to]',
    )
    .option('--run <folder>', 'instead of --model: the base, M1 and every iteration of a run')
    .addOption(
      new Option('--rewards <names...>', 'the rewards to measure')
        .choices(Object.keys(REWARDS))
        .default(DEFAULT_REWARDS),
    )
    .option(
      '-o, --out <file>',
      'also write the rewards of every pair, with the place that it was read from (JSONL); an ' +
        'unfinished file is resumed',
    )
    .option('--json', 'print the result as JSON');
  addSettings(command, [...KEYS, ...JUDGE_KEYS, ...MODEL_KEYS]).action(async (given: Flags) => {
    const flags = { ...given, rewards: distinct(given.rewards) };
    const settings = settingsOf(flags);
    const models = modelsOf(flags, cli);
    await fetchData([flags.pairs], cli);
    const measured = await measure(models, flags, settings, cli);
    const ratings = ratingsOf(measured, flags, settings);
    for (const { model, reward, pairs, records } of ratings) {
      const unrated = unratedPairs(records.length, pairs.length);
      if (unrated !== undefined) cli.progress.warn(`${model}, ${reward}: ${unrated}`);
    }
    // Standard output then contains only the rewards.
    if (flags.out === undefined || outputOf(flags.out).kind !== 'stdout')
      show(rowsOf(ratings, models.base, settings.rank_eval.length_tolerance), flags.json === true);
  });
}

/** The judge's and the reward model's keys are read apart: no recipe has both rewards. */
function settingsOf(flags: Flags): Recipe {
  const wanted = (name: RewardName) => flags.rewards.includes(name);
  if (wanted('model') && flags['rewardModel'] === undefined)
    throw new RunError('ERR_RECIPE', '--rewards model needs --reward-model <name>.');
  const read = (keys: readonly string[], source: 'implicit' | 'judge' | 'model') =>
    settingsFrom(flags, keys, undefined, {
      more: [
        { label: '--pairs', key: 'rank_eval.source', value: flags.pairs, text: true },
        { label: '--rewards', key: 'reward.source', value: source },
        ...(source === 'model'
          ? [{ label: '--rewards model', key: 'rank.weighting', value: 'fixed' }]
          : []),
      ],
    });
  const judged = wanted('judge') || wanted('judge_implicit');
  const settings = read([...KEYS, ...JUDGE_KEYS], judged ? 'judge' : 'implicit');
  const { model, label } = read(MODEL_KEYS, wanted('model') ? 'model' : 'implicit').reward;
  return { ...settings, reward: { ...settings.reward, model, label } };
}

interface Models {
  /** θ_0 of the implicit rewards. */
  base: string;
  /** Label and path. */
  all: [label: string, path: string][];
}

function modelsOf(flags: Flags, cli: Cli): Models {
  const { run, model, base } = flags;
  if (run === undefined) {
    if (model.length === 0)
      throw new RunError('ERR_RECIPE', 'rank-eval needs --model <name> or --run <folder>.');
    const names = distinct(model);
    return {
      base: modelOrCheckpoint(base ?? (needsBase(flags.rewards) ? baseOf(names, cli) : names[0]!)),
      all: names.map((name) => [name, modelOrCheckpoint(name)]),
    };
  }
  if (model.length > 0)
    throw new RunError('ERR_RECIPE', 'Give rank-eval either --run or --model, not both.');
  requireRun(run);
  const file = join(run, RECIPE);
  const recipe = parseRecipe(readOwnText(file, 'recipe'), file);
  const made: [string, string][] = [
    ['After SFT', join(run, 'sft/checkpoint')],
    ...Array.from({ length: recipe.iterations }, (_, i): [string, string] => [
      `Iteration ${i + 1}`,
      join(run, `iteration-${i + 1}/checkpoint`),
    ]),
  ];
  const there = made.filter(([, path]) => existsSync(path));
  const gone = made.slice(1).filter((iteration) => !there.includes(iteration));
  if (gone.length > 0)
    cli.progress.warn(
      'Not measured, because the run has no checkpoint of it: ' +
        `${gone.map(([name]) => name).join(', ')}.`,
    );
  return {
    base: modelOrCheckpoint(base ?? recipe.model),
    all: [['Base model', recipe.model], ...there],
  };
}

const isImplicit = (reward: RewardName): boolean =>
  ['implicit', 'judge_implicit'].includes(REWARDS[reward].source);

const needsBase = (rewards: readonly RewardName[]): boolean => rewards.some(isImplicit);

/**
 * θ_0 of models without --base: the base model of their runs, else the first of them. A warning
 * names models that may have another one. @throws RunError where the runs began with different ones
 */
function baseOf(names: readonly string[], cli: Cli): string {
  const bases = distinct(names.flatMap((name) => baseOfRun(name) ?? []));
  if (bases.length > 1)
    throw new RunError(
      'ERR_RECIPE',
      `The models were trained from different base models (${bases.join(', ')}): give --base ` +
        '<name>, θ_0 of the implicit rewards, or --rewards likelihood, which needs none.',
    );
  const base = bases[0] ?? names[0]!;
  const others = names.filter((name) => name !== base && baseOfRun(name) === null);
  if (bases.length === 0 || others.length > 0)
    cli.progress.warn(
      (bases.length === 0
        ? `${base} belongs to no run and is taken as θ_0, so its implicit reward is its log-prob ` +
          'per token'
        : `${base} is taken as θ_0`) +
        (others.length === 0 ? '' : `, also of ${others.join(', ')}, which belongs to no run`) +
        '. If a model was trained from another one, name that one with --base.',
    );
  return base;
}

/** What a model says of a pair, and where the pair was read. */
type Measured = MeasuredPair & { model: string; where?: string | undefined };

/** Pairs that are saved together, to be measured by one of the models. */
interface Slice {
  label: string;
  path: string;
  pairs: readonly PreferenceRecord[];
  scored: ScoredPairs;
}

async function measure(
  models: Models,
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<Measured[]> {
  // A bad file is refused before a model is loaded.
  const given = (await rankedPreferences(settings))!;
  const onBadRow = settings.rank_eval.on_bad_row;
  const wanted = flags.rewards.includes('model') ? 'model' : 'implicit';
  const lending = { ...settings, reward: { ...settings.reward, source: wanted } } as const;
  return withModel(models.base, settings, cli, async (base) => {
    const loaded = onBadRow === 'skip' ? (await rankedPreferences(settings, base))! : given;
    for (const describe of [describeLeftOut, describeUnread]) {
      const sentence = describe(flags.pairs, loaded);
      if (sentence !== undefined) cli.progress.warn(sentence);
    }
    const read = (policy: LanguageModel, source: string) =>
      readablePairs(loaded, policy, { source, onBadRow, use: 'rated' }, cli);
    const pairs = await read(base, flags.pairs);
    return lendRewardModel(lending, cli.signal, (rewardModel) =>
      withModelsInTurn(settings, cli, async (lend) => {
        let reader: { path: string; readable: ReadonlySet<PreferenceRecord> } | undefined;
        const make = async ([slice]: readonly Slice[], hooks: WorkHooks): Promise<Measured[]> => {
          const { label, path, scored } = slice!;
          const policy = path === models.base ? base : await lend(path);
          if (reader?.path !== path)
            reader = { path, readable: new Set(await read(policy, `${flags.pairs}, ${label}`)) };
          const { readable } = reader;
          const measured = await measurePairs(
            slice!.pairs.filter((pair) => readable.has(pair)),
            { policy, base: base.model, rewardModel, scored },
            flags.rewards.map((name) => REWARDS[name].source),
            settings,
            hooks,
          );
          const where = ({ id }: MeasuredPair) => loaded.places?.get(id);
          return measured.map((pair) => ({ model: label, where: where(pair), ...pair }));
        };
        return showSlices({ models, pairs, make }, flags, settings, cli);
      }),
    );
  });
}

/** Measures the pairs by each model, saved slice by slice if there is a file. */
function showSlices(
  {
    models,
    pairs,
    make,
  }: Pick<BlockedStage<Slice, Measured>, 'make'> & {
    models: Models;
    pairs: PreferenceRecord[];
  },
  flags: Flags,
  settings: Recipe,
  cli: Cli,
): Promise<Measured[]> {
  const { dtype, device, seed, reward, sample, score } = settings;
  const { out, rewards } = flags;
  const slices = blocksOf(pairs, out === undefined ? pairs.length : score.save_prompts).map(
    ({ items }) => ({ pairs: items, scored: new ScoredPairs() }),
  );
  const stage: BlockedStage<Slice, Measured> = {
    items: models.all.flatMap(([label, path]) =>
      slices.map((slice) => ({ label, path, ...slice })),
    ),
    size: 1,
    unit: 'completions',
    units: (slice) => 2 * slice.pairs.length,
    make,
    note: () => '',
  };
  if (out === undefined) return showUnsaved(cli, 'rank-eval', stage);
  const settled = [rewards, dtype, device, seed, reward, sample.max_num_seqs, score];
  const plan = [models, flags.pairs, pairs, ...settled];
  const rows = (made: readonly Measured[]) => ratingsOf(made, flags, settings).flatMap(recordsOf);
  return showBlocks(cli, 'rank-eval', { out, plan, rows }, stage);
}

/** The rewards of one kind that a model gives to the pairs. */
interface Rating {
  model: string;
  reward: RewardName;
  pairs: readonly Measured[];
  records: RankedPairRecord[];
}

const ratingsOf = (
  measured: readonly Measured[],
  { rewards }: Flags,
  { reward: settings }: Recipe,
): Rating[] =>
  groupBy(measured, ({ model }) => model).flatMap((pairs) =>
    rewards.map((reward) => ({
      model: pairs[0]!.model,
      reward,
      pairs,
      records: rewardsOfPairs(pairs, { ...settings, ...REWARDS[reward] }),
    })),
  );

/** A rating as rows of --out. */
function recordsOf({ model, reward, pairs, records }: Rating): object[] {
  const places = new Map(pairs.map(({ id, where }) => [id, where]));
  return records.map((record) => ({ model, reward, where: places.get(record.id), ...record }));
}

/** The table: every rating, and behind those of the first model what length alone gives. */
function rowsOf(ratings: readonly Rating[], base: string, tolerance: number): Row[] {
  const rows = ratings.map(({ model, reward, records }): Row => ({
    model,
    reward,
    ...(isImplicit(reward) && { base }),
    ...accuracyOfPairs(records, tolerance),
  }));
  const { model: first, pairs } = ratings[0]!;
  const lengths = pairs.map((pair) => [pair.chosen_tokens, pair.rejected_tokens] as const);
  const alone = rankingAccuracy(byLength(lengths), tolerance);
  const own = ratings.filter(({ model }) => model === first).length;
  return rows.toSpliced(own, 0, { model: '', reward: 'length alone', ...alone });
}

function show(rows: readonly Row[], json: boolean): void {
  if (json) return printJson(rows);
  const header = ['model', 'reward', 'pairs', 'right', 'equal length', 'right', 'length-balanced'];
  printLine(
    formatTable(
      header,
      rows.map(({ model, reward, all, matched, balanced }) => [
        model,
        reward,
        String(all.pairs),
        shown(all),
        String(matched.pairs),
        shown(matched),
        shown(balanced),
      ]),
    ),
  );
  const base = rows.find((row) => row.base !== undefined)?.base;
  if (base !== undefined)
    printLine(`θ_0 of the implicit rewards: ${base}; its own are its log-probs per token.`);
}
