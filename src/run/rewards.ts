/**
 * Rewards of an iteration's completions, by the recipe's `reward` section. Rewards from log-probs
 * are computed from the scores. The others are a stage with an artefact: `judgements.jsonl` of
 * LLM-as-a-judge, `rewards.jsonl` of an external judge.
 */
import { existsSync } from 'node:fs';
import type {
  CompletionRecord,
  ExternalRewardRecord,
  GoldRecord,
  JudgementRecord,
  ScoreRecord,
} from '../data/records.js';
import { readRows } from '../data/rows.js';
import { callRewards, joinRewards } from '../reward/external.js';
import { goldRewards } from '../reward/gold.js';
import { judge, judgeRewards } from '../reward/judge.js';
import { externalSet, rewardSet } from '../reward/reward.js';
import type { RunContext } from './context.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';
import { withRewardModel } from './reward-model.js';
import type { Judged } from './stages/rank.js';
import { groupCompletions, type CompletionGroup } from './stages/score.js';
import type { StageHooks } from './stages/stage.js';
import { readRecords } from './store.js';

/** r_t and r_{t−1} of every completion. */
export async function rewardsOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
  scores: ScoreRecord[],
): Promise<Judged> {
  const { source, length } = run.recipe.reward;
  if (source === 'implicit' || source === 'likelihood')
    return { rewards: rewardSet(scores, { source, length }), unjudged: [], measured: true };
  if (source === 'judge')
    return { ...judgeRewards(await judgementsOf(run, t, completions)), measured: true };
  return judgedOutside(await externalRewardsOf(run, t, completions), scores, run.recipe);
}

/**
 * Rewards of an external judge with those they are compared with. @throws RunError if C is needed
 * and there is nothing to compare with.
 */
export function judgedOutside(
  external: ExternalRewardRecord[],
  scores: ScoreRecord[],
  { reward: { source, against, length }, rank }: Pick<Recipe, 'reward' | 'rank'>,
): Judged {
  const measured =
    against !== 'none' || external.some((record) => record.reward_previous !== undefined);
  if (!measured && (rank.weighting !== 'fixed' || rank.min_consistency > 0)) {
    throw new RunError(
      'ERR_RECIPE',
      'rank.weighting: must be fixed, and rank.min_consistency 0, where reward.source is ' +
        `${source}, its rows have no reward_previous and reward.against is none: one judge ` +
        'alone has no consistency.',
    );
  }
  return {
    rewards: externalSet(
      external,
      scores,
      against === 'none' ? undefined : { source: against, length },
    ),
    unjudged: [],
    measured,
  };
}

function judgementsOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<JudgementRecord[]> {
  const {
    reward: settings,
    sample: { samples, max_num_seqs },
    score: { save_prompts },
    seed,
  } = run.recipe;
  return run.blocks<CompletionGroup, JudgementRecord>(
    { phase: t, stage: 'reward' },
    {
      path: run.file(t, 'judgements.jsonl'),
      items: groupCompletions(completions),
      size: save_prompts,
      unit: 'completions',
      perItem: samples,
      make: async (block, hooks) => {
        const policy = await run.models.policy(run.checkpoint(t));
        const current = policy.model;
        const previous = await run.models.model(run.checkpoint(t - 1));
        return judge(
          block.flat(),
          policy,
          { current, previous },
          { ...settings, max_num_seqs, seed, iteration: t },
          hooks,
        );
      },
      note: (made) => {
        const { failed, total } = judgeRewards(made);
        return `${failed} of ${total} judgements without a score`;
      },
    },
  );
}

async function externalRewardsOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<ExternalRewardRecord[]> {
  const {
    reward: { source },
    score: { save_prompts },
    sample: { samples },
  } = run.recipe;
  const items = groupCompletions(completions);
  const inBlocks = (
    make: (block: CompletionRecord[], hooks: StageHooks) => Promise<ExternalRewardRecord[]>,
    size: number,
  ) =>
    run.blocks<CompletionGroup, ExternalRewardRecord>(
      { phase: t, stage: 'reward' },
      {
        path: run.file(t, 'rewards.jsonl'),
        items,
        size,
        unit: 'completions',
        perItem: samples,
        make: async (block, hooks) => make(block.flat(), hooks),
        note: (made) => {
          const sum = made.reduce((total, { reward }) => total + reward, 0);
          return `mean ${(sum / Math.max(1, made.length)).toFixed(3)}`;
        },
      },
    );
  switch (source) {
    case 'model':
      return withRewardModel(run, (score) => inBlocks(score, save_prompts));
    case 'function':
      return inBlocks((block) => callRewards(run.rewards!, block), save_prompts);
    case 'gold':
      return inBlocks(async (block) => goldRewards(block, await goldOf(run, t)), items.length);
    default: // A file is read as a whole: a row too many is a mistake.
      return inBlocks((block) => readScores(run, t, block), items.length);
  }
}

async function goldOf(run: RunContext, t: number): Promise<GoldRecord[]> {
  const path = run.file(t, 'gold.jsonl');
  return existsSync(path) ? readRecords(path) : [];
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
