/** Rank: rewards → rankings, consistency and preference pairs, computed by src/preference. */
import type {
  CompletionRecord,
  PairRecord,
  RewardRecord,
  ScoreRecord,
} from '../../data/records.js';
import { existsSync } from 'node:fs';
import type { SkipReason } from '../../preference/pair.js';
import { prefer, type Preferences, type PreferenceSummary } from '../../preference/prefer.js';
import type { Weighting } from '../../preference/weight.js';
import type { RunContext } from '../context.js';
import { RunError } from '../errors.js';
import type { Recipe } from '../recipe.js';
import { warnBeforeTraining } from '../warnings.js';
import { rewardsOf } from './reward.js';
import { groupCompletions } from './score.js';

/** The rewards of an iteration's completions. */
export interface RewardResult {
  rewards: RewardRecord[];
  /** Prompts without rewards, because a completion has no judgement that can be read. */
  unjudged: string[];
  /** Whether the two rankings come from two rewards, so that their agreement is meaningful. */
  measured: boolean;
}

/** The pairs of iteration `t`, each with its consistency, from the rewards of its completions. */
export function rank(
  { rewards, unjudged, measured }: RewardResult,
  scores: readonly ScoreRecord[],
  completions: readonly CompletionRecord[],
  { seed, rank: settings }: Pick<Recipe, 'seed' | 'rank'>,
  t = 1,
): Preferences {
  return prefer({
    rewards,
    scores,
    completions,
    unjudged,
    oneJudge: !measured,
    method: settings.consistency,
    weighting: weightingOf(settings, `${seed} ${t}`),
    minMargin: settings.min_margin,
    minConsistency: settings.min_consistency,
    requireAgreement: settings.require_agreement,
    consistencyFloor: settings.consistency_floor,
  });
}

function weightingOf(
  { weighting: method, fixed_consistency: value }: Recipe['rank'],
  key: string,
): Weighting {
  if (method === 'fixed') return { method, value };
  return method === 'permuted' ? { method, key } : { method };
}

/** The pairs of iteration `t`, from r_t and r_{t−1}: C, chosen, rejected. */
export async function rankCompletions(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
  scores: ScoreRecord[],
): Promise<PairRecord[]> {
  const of = { phase: t, stage: 'rank' } as const;
  // Pairs are written last, so their file implies that the rankings exist.
  if (existsSync(run.file(t, 'pairs.jsonl'))) return run.kept(of, 'pairs.jsonl');
  const result = await rewardsOf(run, t, completions, scores);
  const prompts = groupCompletions(completions).length;
  return run.stage(of, { done: 0, total: prompts, unit: 'prompts' }, async (hooks) => {
    const { rankings, pairs, summary } = rank(result, scores, completions, run.recipe, t);
    if (pairs.length === 0)
      throw new RunError('ERR_NO_PAIRS', noPairs(t, summary, run.recipe.reward));
    warnBeforeTraining(run, t, scores, pairs);
    await run.write(t, 'rankings.jsonl', rankings);
    await run.write(t, 'pairs.jsonl', pairs);
    hooks.progress(prompts, 0);
    // The paper's formula: with C < 0.5 the reverse loss outweighs DPO's, and margins fall.
    const reversed = pairs.every((pair) => pair.weight < 0.5)
      ? ' (below 0.5: trains the reversed preference)'
      : '';
    const agreement = result.measured
      ? `C ${summary.mean_consistency.toFixed(2)}${reversed}, `
      : '';
    return { result: pairs, note: `${agreement}${pairs.length} pairs of ${prompts} prompts` };
  });
}

/** States the reasons, and for each the settings that change it. */
function noPairs(
  t: number,
  { prompts, skipped }: PreferenceSummary,
  reward: Recipe['reward'],
): string {
  const reasons = Object.entries(skipped) as [SkipReason, number][];
  const advice = new Set(reasons.map(([reason]) => REMEDIES[reason](reward)));
  const counts = reasons.map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`);
  return (
    `Iteration ${t} has no preference pair: none of its ${prompts} prompts got a best and a ` +
    `worst completion that differ (${counts.join(', ')}). ${[...advice].join(' ')}`
  );
}

const REMEDIES: Record<SkipReason, (reward: Recipe['reward']) => string> = {
  no_judgement: ({ reasons }) =>
    'Where a completion has no judgement with a score, its prompt has no ranking: ' +
    (reasons ? 'set reward.reasons to false, raise reward.max_new_tokens or ' : 'raise ') +
    'reward.judgements, or use a model that keeps to the format.',
  too_few_completions: () => 'Raise sample.samples.',
  all_equal: ({ source }) =>
    source === 'gold'
      ? 'All completions of a prompt are right or all are wrong: raise sample.samples or ' +
        'sample.temperature, or use prompts of another difficulty.'
      : source === 'judge' || source === 'judge_implicit'
        ? 'All completions of a prompt got the same points: raise reward.judgements or ' +
          'sample.temperature.'
        : source === 'function' || source === 'file'
          ? `The ${source === 'file' ? 'file of rewards' : 'reward function'} gave all ` +
            'completions of a prompt the same number: give better ones a higher number. If the ' +
            'completions themselves are equal, raise sample.temperature.'
          : 'Raise sample.temperature or sample.samples.',
  identical_pair: () => 'Raise sample.temperature or sample.samples.',
  empty_chosen: () => 'The best completions are empty: raise sample.min_new_tokens.',
  below_threshold: () => 'Lower rank.min_margin.',
  below_consistency: () => 'Lower rank.min_consistency.',
  rankings_disagree: () =>
    'The two rankings never agree on a best and a worst completion: set rank.require_agreement ' +
    'to false, or use a model whose rewards agree more often.',
};
