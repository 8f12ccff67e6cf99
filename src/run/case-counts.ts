/**
 * Counts the cases that the paper leaves open (docs/method.md): prompts without a pair, by reason,
 * and unusual completions that were kept. Computed from the artefacts.
 */
import { existsSync } from 'node:fs';
import type {
  CompletionRecord,
  JudgementRecord,
  RankedPairRecord,
  RankingRecord,
} from '../data/records.js';
import { countBy } from '../evaluate/iteration.js';
import { isUndefined } from '../preference/consistency.js';
import { oddCompletions } from '../preference/prefer.js';
import type { RunContext } from './context.js';
import { accuracyOfPairs } from './ranking-check.js';
import type { Phase } from './store.js';

/** The counts as columns of metrics.jsonl; empty for a phase without rankings. */
export async function caseCounts(run: RunContext, phase: Phase): Promise<Record<string, number>> {
  const recordsOf = async <T extends object>(name: string): Promise<T[]> =>
    existsSync(run.file(phase, name)) ? run.read<T>(phase, name) : [];
  const rankings = await recordsOf<RankingRecord>('rankings.jsonl');
  if (rankings.length === 0) return {};
  const odd = oddCompletions(await recordsOf<CompletionRecord>('completions.jsonl'));
  const judgements = await recordsOf<JudgementRecord>('judgements.jsonl');
  const skipped = countBy(rankings.flatMap(({ skipped: reason }) => reason ?? []));
  return {
    ...rankEvalColumns(await recordsOf<RankedPairRecord>('rank-eval.jsonl'), run),
    'cream/undefined_agreement': rankings.filter(
      (r) => r.skipped !== 'no_judgement' && isUndefined(r.reward_current, r.reward_previous),
    ).length,
    'cream/empty_completions': odd.empty_completions,
    'cream/duplicate_completions': odd.duplicate_completions,
    ...(judgements.length > 0 && {
      'cream/judgements': judgements.length,
      'cream/judgements_without_score': judgements.filter(({ score }) => score === null).length,
    }),
    ...Object.fromEntries(
      Object.entries(skipped).map(([reason, count]) => [`cream/skipped/${reason}`, count]),
    ),
  };
}

/** Ranking accuracy on the pairs of `rank_eval`; without pairs there are no columns. */
function rankEvalColumns(
  records: readonly RankedPairRecord[],
  { recipe }: RunContext,
): Record<string, number> {
  if (records.length === 0) return {};
  const { all, matched } = accuracyOfPairs(records, recipe.rank_eval.length_tolerance);
  return Object.fromEntries(
    Object.entries({ rank_eval: all, rank_eval_matched: matched }).flatMap(([name, share]) =>
      share.accuracy === null
        ? []
        : [
            [`cream/${name}`, share.accuracy],
            [`cream/${name}_low`, share.low],
            [`cream/${name}_high`, share.high],
          ],
    ),
  );
}
