/**
 * Rewards of an iteration's completions, by the recipe's `reward` section. Rewards from log-probs
 * are computed from the scores. The others are a stage with an artefact: `judgements.jsonl` of
 * LLM-as-a-judge, `rewards.jsonl` of an external reward.
 */
import { existsSync } from 'node:fs';
import type {
  CompletionRecord,
  ExternalRewardRecord,
  GoldRecord,
  JudgementRecord,
  ScoreRecord,
} from '../../data/records.js';
import { readRows } from '../../data/rows.js';
import type { Model } from '../../engine/model.js';
import { mean } from '../../evaluate/iteration.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { callRewards, joinRewards } from '../../reward/external.js';
import { goldRewards } from '../../reward/gold.js';
import { judge, judgeRewards, type JudgeSettings } from '../../reward/judge.js';
import { combinedRewards, comparedRewards } from '../../reward/combined.js';
import { externalSet, rewardSet, type Against, type ExternalReward } from '../../reward/reward.js';
import type { RunContext, WorkContext } from '../context.js';
import { RunError, untilAborted } from '../errors.js';
import type { Recipe } from '../recipe.js';
import { withRewardModel } from '../reward-model.js';
import type { RewardResult } from './rank.js';
import { groupCompletions, type CompletionGroup } from './score.js';
import type { BlockedStage } from './stage.js';

/** r_t and r_{t−1} of every completion. */
export async function rewardsOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
  scores: ScoreRecord[],
): Promise<RewardResult> {
  const { source, length } = run.recipe.reward;
  if (source === 'implicit' || source === 'likelihood')
    return { rewards: rewardSet(scores, { source, length }), unjudged: [], measured: true };
  if (source === 'judge' || source === 'judge_implicit')
    return rewardsFromJudgements(
      await judgementsOf(run, t, completions),
      scores,
      run.recipe.reward,
    );
  return rewardsFromOutside(
    await externalRewardsOf(run, t, source, completions),
    scores,
    run.recipe,
  );
}

/** Rewards from the policy's own judgements, beside or together with its implicit reward. */
export function rewardsFromJudgements(
  judgements: readonly JudgementRecord[],
  scores: readonly ScoreRecord[],
  { source, against, length }: Pick<Recipe['reward'], 'source' | 'against' | 'length'>,
): RewardResult {
  const judged = judgeRewards(judgements);
  const implicit = () => rewardSet(scores, { source: 'implicit', length });
  const rewards =
    source === 'judge_implicit'
      ? combinedRewards(judged.rewards, implicit())
      : against === 'own_implicit'
        ? comparedRewards(judged.rewards, implicit())
        : judged.rewards;
  return { rewards, unjudged: judged.unjudged, measured: true };
}

function secondReward(
  against: Recipe['reward']['against'],
  length: Recipe['reward']['length'],
): Against | undefined {
  switch (against) {
    case 'none':
      return undefined;
    case 'own_implicit':
      return { source: 'implicit', by: 'current', length };
    default:
      return { source: against, by: 'previous', length };
  }
}

/** The keys of `rank` that are set and compare two rankings. */
function comparingKeys(rank: Recipe['rank']): string[] {
  const set = {
    'rank.weighting': rank.weighting !== 'fixed',
    'rank.min_consistency': rank.min_consistency > 0,
    'rank.require_agreement': rank.require_agreement,
    'rank.consistency': rank.consistency !== 'kendall',
  };
  return Object.entries(set).flatMap(([key, isSet]) => (isSet ? key : []));
}

/**
 * External rewards with the rewards that they are compared with. @throws RunError if C
 * is needed and there is nothing to compare with
 */
export function rewardsFromOutside(
  external: ExternalRewardRecord[],
  scores: ScoreRecord[],
  { reward: { source, against, length }, rank }: Pick<Recipe, 'reward' | 'rank'>,
): RewardResult {
  const measured =
    against !== 'none' || external.some((record) => record.reward_previous !== undefined);
  const comparing = measured ? [] : comparingKeys(rank);
  if (comparing.length > 0) {
    throw new RunError(
      'ERR_RECIPE',
      `${comparing.join(', ')}: without effect, because there is no second ranking: ` +
        `reward.source is ${source}, its rows have no reward_previous and reward.against ` +
        'is none. Give the rows a reward_previous, or set reward.against, or set ' +
        'rank.weighting to fixed and leave out the other keys that compare rankings.',
    );
  }
  return {
    rewards: externalSet(external, scores, secondReward(against, length)),
    unjudged: [],
    measured,
  };
}

export interface Judging {
  language: LanguageModel;
  judges: { current: Model; previous: Model };
}

/**
 * Judging as a stage: a block of completion groups → their judgements. Blocks keep apart, so that
 * one of the two models works at a time: together they might not fit on a GPU.
 */
export function judgeStage(
  groups: readonly CompletionGroup[],
  judging: () => Promise<Judging>,
  settings: JudgeSettings & { save_prompts: number },
): BlockedStage<CompletionGroup, JudgementRecord> {
  return {
    items: groups,
    size: settings.save_prompts,
    unit: 'completions',
    units: (group) => group.length,
    make: async (block, hooks) => {
      const { language, judges } = await judging();
      return judge(block.flat(), language, judges, settings, hooks);
    },
    note: (made) => {
      const { failed, total } = judgeRewards([...made]);
      return `${failed} of ${total} judgements without a score`;
    },
  };
}

function judgementsOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<JudgementRecord[]> {
  return run.blocks(
    { phase: t, stage: 'reward' },
    'judgements.jsonl',
    judgingOf(run, t, groupCompletions(completions)),
  );
}

/** The judging of iteration `t`'s completions. */
export function judgingOf(
  run: WorkContext,
  t: number,
  groups: readonly CompletionGroup[],
): BlockedStage<CompletionGroup, JudgementRecord> {
  const { reward, sample, score, seed } = run.recipe;
  const judging = async () => {
    const language = await run.models.policy(run.checkpoint(t));
    // θ_t alone judges if C compares its judgements with its own implicit reward.
    const previous =
      reward.against === 'own_implicit'
        ? language.model
        : await run.models.model(run.checkpoint(t - 1));
    return { language, judges: { current: language.model, previous } };
  };
  const settings = {
    ...reward,
    max_num_seqs: sample.max_num_seqs,
    save_prompts: score.save_prompts,
    seed,
    iteration: t,
  };
  return {
    ...judgeStage(groups, judging, settings),
    work: () => Promise.resolve({ stage: 'judge', t }),
  };
}

async function externalRewardsOf(
  run: RunContext,
  t: number,
  source: ExternalReward,
  completions: CompletionRecord[],
): Promise<ExternalRewardRecord[]> {
  const { save_prompts } = run.recipe.score;
  const items = groupCompletions(completions);
  const inBlocks = (
    make: (block: CompletionRecord[], hooks: WorkHooks) => Promise<ExternalRewardRecord[]>,
    size: number,
    work?: BlockedStage<CompletionGroup, ExternalRewardRecord>['work'],
  ) =>
    run.blocks<CompletionGroup, ExternalRewardRecord>(
      { phase: t, stage: 'reward' },
      'rewards.jsonl',
      {
        items,
        size,
        unit: 'completions',
        units: (group) => group.length,
        make: async (block, hooks) => make(block.flat(), hooks),
        ...(work && { work }),
        note: (made) => `mean ${mean(made.map(({ reward }) => reward))!.toFixed(3)}`,
      },
    );
  switch (source) {
    case 'model':
      return withRewardModel(run, (score) =>
        inBlocks(score, save_prompts, () => Promise.resolve({ stage: 'reward' })),
      );
    case 'function':
      return inBlocks(
        // The user's function may never settle.
        (block, { signal }) => untilAborted(callRewards(run.rewards!, block), signal),
        save_prompts,
      );
    case 'gold':
      return inBlocks(async (block) => goldRewards(block, await goldOf(run, t)), items.length);
    case 'file': // It is read as a whole: a surplus row is an error.
      return inBlocks((block) => readScores(run, t, block), items.length);
  }
}

async function goldOf(run: RunContext, t: number): Promise<GoldRecord[]> {
  return existsSync(run.file(t, 'gold.jsonl')) ? run.read(t, 'gold.jsonl') : [];
}

async function readScores(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<ExternalRewardRecord[]> {
  const file = run.recipe.reward.file!.replaceAll('{t}', String(t));
  if (!existsSync(file)) {
    throw new RunError(
      'ERR_RUN_DATA',
      `Iteration ${t} waits for rewards: score the completions in ` +
        `${run.file(t, 'completions.jsonl')}, write {"prompt_id", "sample", "reward"} for ` +
        `each to ${file}, and run the same command again.`,
    );
  }
  return joinRewards(await readRows(file), completions, file);
}
