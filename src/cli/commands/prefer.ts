/** `cream prefer`: scores → rankings, consistency and preference pairs. */
import type { Command } from 'commander';
import {
  COMPLETION_COLUMNS,
  GOLD_COLUMNS,
  JUDGEMENT_COLUMNS,
  SCORE_COLUMNS,
} from '../../data/columns.js';
import { sampleKey } from '../../data/group.js';
import { readJsonl } from '../../data/jsonl.js';
import { loadPrompts } from '../../data/prompts.js';
import type { CompletionRecord, GoldRecord, ScoreRecord } from '../../data/records.js';
import { readRows } from '../../data/rows.js';
import { joinRewards } from '../../reward/external.js';
import { goldRewards } from '../../reward/gold.js';
import { rewardSet, SELF_REWARDS, type RewardSource } from '../../reward/reward.js';
import { RunError } from '../../run/errors.js';
import type { Override } from '../../run/recipe-file.js';
import type { Recipe } from '../../run/recipe.js';
import { rank, type RewardResult } from '../../run/stages/rank.js';
import { rewardsFromJudgements, rewardsFromOutside } from '../../run/stages/reward.js';
import { weightWarning } from '../../run/warnings.js';
import { addSettings, refuseIdle, settingsFrom, type Cli } from '../cli.js';
import { outputOf, writeOutputRecords } from '../output.js';
import { readGivenRecords } from '../records.js';
import { printJson, printLine } from '../table.js';

const KEYS = ['reward.source', 'reward.length', 'reward.against'];
/** The file that a reward is read from. Other rewards are computed from the scores. */
const FILE_OF = {
  judge: 'judgements',
  judge_implicit: 'judgements',
  gold: 'prompts',
  file: 'rewards',
} as const;
type FileOption = (typeof FILE_OF)[keyof typeof FILE_OF];
const fileOf = (source: RewardSource): FileOption | undefined =>
  (FILE_OF as Partial<Record<RewardSource, FileOption>>)[source];

interface Flags extends Record<string, unknown> {
  scores: string;
  completions: string;
  rewardSource?: string;
  rewards?: string;
  judgements?: string;
  prompts?: string;
  out: string;
  rankings?: string;
  json?: boolean;
}

export function addPrefer(program: Command, cli: Cli): void {
  const command = program
    .command('prefer')
    .description('rank scored completions and make preference pairs')
    .requiredOption('--scores <file>', 'JSONL of `cream score`')
    .requiredOption('--completions <file>', 'JSONL of `cream generate`')
    .option(
      '--rewards <file>',
      'with --reward-source file: a reward for each completion (JSONL, JSON, CSV or Parquet)',
    )
    .option(
      '--judgements <file>',
      'with --reward-source judge: JSONL of `cream judge`, or of a run',
    )
    .option(
      '--prompts <file>',
      "with --reward-source gold: the prompts with their answers, or a run's gold.jsonl",
    )
    .requiredOption('-o, --out <file>', "pairs (JSONL with TRL's columns)")
    .option('--rankings <file>', 'also write ranks and consistency of every prompt')
    .option(
      '--reward-source <value>',
      'The reward of a completion: `implicit` (log π − log π_θ0), `likelihood` (mean log-prob ' +
        'per token), `judge` (points in words), `judge_implicit` (points and implicit reward, ' +
        'each standardised within its prompt), `gold` (1 if the known answer is given, else 0), ' +
        'or `file` (given rewards). [implicit]',
    )
    .option('--json', 'print the summary as JSON');
  addSettings(command, KEYS, 'rank', ['reward.source']).action(async (flags: Flags) => {
    refuseSource(flags);
    const settings = settingsFrom(flags, KEYS, 'rank', { more: rewardFile(flags) });
    const { source } = settings.reward;
    const others = Object.values(FILE_OF).filter((name) => name !== fileOf(source));
    refuseIdle(command, others, `where --reward-source is ${source}`);
    const output = outputOf(flags.out);
    const also = flags.rankings === undefined ? undefined : outputOf(flags.rankings);
    const toStdout = [output, also].some((target) => target?.kind === 'stdout');
    if (output.kind === 'stdout' && also?.kind === 'stdout')
      throw new RunError('ERR_RECIPE', '--out and --rankings cannot both be standard output.');
    const scores = await readGivenRecords(flags.scores, SCORE_COLUMNS, cli);
    const completions = await readGivenRecords(flags.completions, COMPLETION_COLUMNS, cli);
    requireSame(flags, scores, completions);
    const { rankings, pairs, summary } = rank(
      await rewardsOf(flags, settings, { scores, completions }, cli),
      scores,
      completions,
      settings,
    );
    if (also !== undefined) await writeOutputRecords(also, rankings, cli.signal);
    await writeOutputRecords(output, pairs, cli.signal);
    const line =
      `${pairs.length} pairs of ${rankings.length} prompts, mean C ` +
      `${summary.mean_consistency.toFixed(3)}: ${flags.out}`;
    if (toStdout) cli.progress.say(line);
    else if (flags.json) printJson(summary);
    else printLine(line);
    const { weighting } = settings.rank;
    const weights = weightWarning(pairs, weighting);
    if (weights !== undefined) cli.progress.warn(weights);
    if (pairs.length === 0)
      throw new RunError(
        'ERR_NO_PAIRS',
        'No prompt has a best and a worst completion that differ: sample at a higher ' +
          'temperature, or more completions per prompt.',
      );
  });
}

/** @throws RunError for a reward that only a run computes, or that lacks its file */
function refuseSource({ rewardSource: source, rewards }: Flags): void {
  if (source === 'model' || source === 'function') throw isOfRuns(source);
  if (source !== undefined && !SOURCES.includes(source))
    throw new RunError(
      'ERR_RECIPE',
      `--reward-source must be one of ${SOURCES.join(', ')}, got '${source}'.`,
    );
  if (source === 'file' && rewards === undefined) throw needsFile(source);
}

/** The rewards that are not only those of a run. */
const SOURCES: readonly string[] = [...SELF_REWARDS, 'gold', 'file'];

const isOfRuns = (source: string): RunError =>
  new RunError(
    'ERR_RECIPE',
    `--reward-source ${source} is for runs; here give its rewards as a file: ` +
      '--reward-source file --rewards <file>.',
  );

const needsFile = (source: RewardSource): RunError =>
  new RunError('ERR_RECIPE', `--reward-source ${source} needs --${fileOf(source)} <file>.`);

/** @throws RunError where one of the files has a completion that the other lacks */
function requireSame(
  files: Flags,
  scores: readonly ScoreRecord[],
  completions: readonly CompletionRecord[],
): void {
  const [scored, written] = [scores, completions].map((all) => new Set(all.map(sampleKey)));
  const other =
    scores.find((score) => !written!.has(sampleKey(score))) ??
    completions.find((completion) => !scored!.has(sampleKey(completion)));
  if (other === undefined) return;
  const [has, lacks] = written!.has(sampleKey(other))
    ? [files.completions, files.scores]
    : [files.scores, files.completions];
  throw new RunError(
    'ERR_RUN_DATA',
    `${files.scores} and ${files.completions} are not of the same completions: ${has} has sample ` +
      `${other.sample} of prompt ${JSON.stringify(other.prompt_id)}, and ${lacks} does not. Give ` +
      '--scores that `cream score` made of these --completions.',
  );
}

/** The recipe key that --rewards sets; the file is that of one iteration. */
function rewardFile({ rewardSource, rewards }: Flags): Override[] {
  return rewardSource === 'file' && rewards !== undefined
    ? [
        { label: `--rewards ${rewards}`, key: 'reward.file', value: rewards, text: true },
        { label: '--rewards', key: 'iterations', value: '1' },
      ]
    : [];
}

/** The rewards that the flags name. */
async function rewardsOf(
  flags: Flags,
  settings: Recipe,
  { scores, completions }: { scores: ScoreRecord[]; completions: CompletionRecord[] },
  cli: Cli,
): Promise<RewardResult> {
  const {
    reward: { source, length },
  } = settings;
  const file = (): string => {
    const path = flags[fileOf(source)!];
    if (path === undefined) throw needsFile(source);
    return path;
  };
  switch (source) {
    case 'implicit':
    case 'likelihood':
      return { rewards: rewardSet(scores, { source, length }), unjudged: [], measured: true };
    case 'judge':
    case 'judge_implicit':
      return rewardsFromJudgements(
        await readGivenRecords(file(), JUDGEMENT_COLUMNS, cli),
        scores,
        settings.reward,
      );
    case 'gold':
      return rewardsFromOutside(
        goldRewards(completions, await readGold(file(), cli)),
        scores,
        settings,
      );
    case 'file':
      return rewardsFromOutside(
        joinRewards(await readRows(file()), completions, file()),
        scores,
        settings,
      );
    default:
      throw isOfRuns(source);
  }
}

/** Answers from prompts, or from a gold.jsonl, which has no prompts. */
async function readGold(path: string, cli: Cli): Promise<GoldRecord[]> {
  const isGold = (await readJsonl(path)).every(
    ({ value }) => value.prompt === undefined && value.question === undefined,
  );
  if (isGold) return readGivenRecords(path, GOLD_COLUMNS, cli);
  return (await loadPrompts(path)).records.flatMap(({ id, answer, choices }) =>
    answer === undefined ? [] : [{ id, answer, ...(choices && { choices }) }],
  );
}
