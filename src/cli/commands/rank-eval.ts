/**
 * `cream rank-eval`: how well the rewards of one or more models rank given preference pairs. It
 * shows before training whether a self-reward is worth following.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { describeLeftOut } from '../../data/bad-rows.js';
import type { PreferenceRecord } from '../../data/preferences.js';
import type { Loaded } from '../../data/prompts.js';
import type { RankedPairRecord } from '../../data/records.js';
import { describeUnread } from '../../data/unread-columns.js';
import { byLength, rankingAccuracy, type RankingAccuracy } from '../../evaluate/ranking.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { checkLengths } from '../../run/check.js';
import { requireRun } from '../../run/directory.js';
import { readOwnText } from '../../run/own-files.js';
import { RunError } from '../../run/errors.js';
import {
  accuracyOfPairs,
  rankedPreferences,
  ratePreferences,
  ScoredPairs,
  shown,
  unratedPairs,
  type Rankers,
} from '../../run/ranking-check.js';
import { parseRecipe } from '../../run/recipe-file.js';
import type { Recipe } from '../../run/recipe.js';
import { lendRewardModel } from '../../run/reward-model.js';
import { RECIPE } from '../../run/store.js';
import { baseOfRun, modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ANSWER_KEYS, settingsFrom, type Cli } from '../cli.js';
import { outputOf, writeOutputRecords } from '../output.js';
import { fetchData, showStage, withModel } from '../stage.js';
import { formatTable, printJson, printLine } from '../table.js';

const KEYS = [
  ...ANSWER_KEYS,
  'sample.max_num_seqs',
  'score.max_num_batched_tokens',
  'rank_eval.columns',
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
}

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
      "θ_0 of the implicit reward [a run's base model; of no run: the first --model]",
    )
    .option('--run <folder>', 'instead of --model: the base, M1 and every iteration of a run')
    .addOption(
      new Option('--rewards <names...>', 'the rewards to measure')
        .choices(Object.keys(REWARDS))
        .default(DEFAULT_REWARDS),
    )
    .option(
      '-o, --out <file>',
      'also write the rewards of every pair, with the place that it was read from (JSONL)',
    )
    .option('--json', 'print the result as JSON');
  addSettings(command, [...KEYS, ...JUDGE_KEYS, ...MODEL_KEYS]).action(async (flags: Flags) => {
    const settings = settingsOf(flags);
    const models = modelsOf(flags, cli);
    const output = flags.out === undefined ? undefined : outputOf(flags.out);
    await fetchData([flags.pairs], cli);
    const loaded = (await rankedPreferences(settings))!;
    for (const describe of [describeLeftOut, describeUnread]) {
      const sentence = describe(flags.pairs, loaded);
      if (sentence !== undefined) cli.progress.warn(sentence);
    }
    const measured = await measure(models, loaded, flags.rewards, settings, cli);
    if (output !== undefined) await writeOutputRecords(output, measured.records, cli.signal);
    // Standard output then contains only the rewards.
    if (output?.kind !== 'stdout') show(measured.rows, flags.json === true);
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
  base: string;
  /** Label and path. */
  all: [label: string, path: string][];
}

function modelsOf({ run, model, base }: Flags, cli: Cli): Models {
  if (run === undefined) {
    if (model.length === 0)
      throw new RunError('ERR_RECIPE', 'rank-eval needs --model <name> or --run <folder>.');
    return {
      base: base ?? baseOfRun(model[0]!) ?? model[0]!,
      all: model.map((name) => [name, modelOrCheckpoint(name)]),
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
  return { base: base ?? recipe.model, all: [['Base model', recipe.model], ...there] };
}

async function measure(
  { base, all }: Models,
  { records: preferences, places = new Map() }: Loaded<PreferenceRecord>,
  rewards: readonly RewardName[],
  settings: Recipe,
  cli: Cli,
): Promise<{ rows: Row[]; records: object[] }> {
  const rows: Row[] = [];
  const records: object[] = [];
  const tolerance = settings.rank_eval.length_tolerance;
  const scored = new ScoredPairs();
  await withModel(base, settings, cli, async (baseModel) => {
    await checkLengths({ rated: preferences, places }, baseModel);
    for (const [label, path] of all) {
      const rateAll = async (policy: LanguageModel): Promise<void> => {
        for (const reward of rewards) {
          const rankers = { policy, base: baseModel.model, scored };
          const line = { label, reward };
          const rated = await rate(line, preferences, rankers, settings, cli);
          const unrated = unratedPairs(rated.length, preferences.length);
          if (unrated !== undefined) cli.progress.warn(`${label}, ${reward}: ${unrated}`);
          records.push(
            ...rated.map((record) => ({
              model: label,
              reward,
              where: places.get(record.id),
              ...record,
            })),
          );
          rows.push({ model: label, reward, ...accuracyOfPairs(rated, tolerance) });
        }
        if (label !== all[0]![0]) return;
        const encoded = await scored.encode(preferences, policy, cli.signal);
        const lengths = encoded.map(
          ([chosen, rejected]) => [chosen!.token_ids.length, rejected!.token_ids.length] as const,
        );
        rows.push({
          model: '',
          reward: 'length alone',
          ...rankingAccuracy(byLength(lengths), tolerance),
        });
      };
      await (path === base ? rateAll(baseModel) : withModel(path, settings, cli, rateAll));
    }
  });
  return { rows, records };
}

async function rate(
  { label, reward: name }: { label: string; reward: RewardName },
  preferences: readonly PreferenceRecord[],
  rankers: Omit<Rankers, 'rewardModel'>,
  settings: Recipe,
  cli: Cli,
): Promise<RankedPairRecord[]> {
  const total = 2 * preferences.length;
  const reward = { ...settings.reward, ...REWARDS[name] };
  const rating = { ...settings, reward };
  return lendRewardModel(rating, cli.signal, (rewardModel) =>
    showStage(cli, { stage: `${label}: ${name}`, unit: 'completions', total }, (hooks) =>
      ratePreferences(preferences, { ...rankers, rewardModel }, rating, hooks),
    ),
  );
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
}
