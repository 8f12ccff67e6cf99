/**
 * One iteration of CREAM (arXiv 2410.12735, algorithm 1): θ_t samples completions, θ_t and θ_{t−1}
 * rank them, and DPO trains on the pairs, weighted by the agreement of the two rankings. Each of
 * the five stages writes one artefact in `iteration-t/`; an existing artefact is read instead.
 */
import { existsSync } from 'node:fs';
import type { CompletionRecord, PairRecord, PromptRecord, ScoreRecord } from '../data/records.js';
import type { PreferenceSummary } from '../preference/prefer.js';
import type { RunContext } from './context.js';
import { choosePrompts, readPrompts } from './data.js';
import { RunError } from './errors.js';
import { evaluateModel } from './evaluation.js';
import { startsAtReference } from './models.js';
import { rewardsOf } from './rewards.js';
import { scoresOf } from './scores.js';
import { rank } from './stages/rank.js';
import { sample } from './stages/sample.js';
import { groupCompletions } from './stages/score.js';
import { train } from './stages/train.js';
import { readRecords, writeRecords } from './store.js';
import { trainCheckpoint } from './training.js';

export async function iterate(run: RunContext, t: number): Promise<void> {
  const prompts = await promptsOf(run, t);
  const completions = await sampleFrom(run, t, prompts); // y ~ θ_t
  const scores = await scoresOf(run, t, completions); // log π under θ_t, θ_{t−1}, θ_0
  const pairs = await rankInto(run, t, completions, scores); // r_t, r_{t−1}; C, chosen, rejected
  await trainOn(run, t, pairs); // θ_t → θ_{t+1}
  await evaluateModel(run, t, t + 1);
}

async function promptsOf(run: RunContext, t: number): Promise<PromptRecord[]> {
  const path = run.file(t, 'prompts.jsonl');
  if (existsSync(path)) return readRecords(path);
  run.prompts ??= readPrompts(run.recipe, await run.models.policy(run.checkpoint(t)));
  const { prompts, gold } = choosePrompts(run.recipe, t, await run.prompts);
  if (gold.length > 0) await writeRecords(run.file(t, 'gold.jsonl'), gold);
  await writeRecords(path, prompts);
  return prompts;
}

function sampleFrom(
  run: RunContext,
  t: number,
  prompts: PromptRecord[],
): Promise<CompletionRecord[]> {
  const { sample: settings, seed } = run.recipe;
  return run.blocks(
    { phase: t, stage: 'sample' },
    {
      path: run.file(t, 'completions.jsonl'),
      items: prompts,
      size: settings.save_prompts,
      unit: 'completions',
      perItem: settings.samples,
      make: async (block, hooks) =>
        sample(
          block,
          await run.models.policy(run.checkpoint(t)),
          { ...settings, seed, iteration: t },
          hooks,
        ),
      note: (made) => `mean length ${mean(made.map((c) => c.token_ids.length)).toFixed(0)} tokens`,
    },
  );
}

async function rankInto(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
  scores: ScoreRecord[],
): Promise<PairRecord[]> {
  const of = { phase: t, stage: 'rank' } as const;
  // Pairs are written last, so their file implies that the rankings exist.
  const path = run.file(t, 'pairs.jsonl');
  if (existsSync(path)) return run.kept(of, path);
  const judged = await rewardsOf(run, t, completions, scores);
  const prompts = groupCompletions(completions).length;
  return run.stage(of, { done: 0, total: prompts, unit: 'prompts' }, async (hooks) => {
    const { rankings, pairs, summary } = rank(judged, scores, completions, run.recipe.rank);
    if (pairs.length === 0) throw new RunError('ERR_NO_PAIRS', noPairs(t, summary));
    await writeRecords(run.file(t, 'rankings.jsonl'), rankings);
    await writeRecords(path, pairs);
    hooks.progress(prompts, 0);
    // The paper's formula: with C < 0.5 the reverse loss outweighs DPO's, and margins fall.
    const reversed = pairs.every((pair) => pair.weight < 0.5)
      ? ' (below 0.5: trains the reversed preference)'
      : '';
    const agreement = judged.measured
      ? `C ${summary.mean_consistency.toFixed(2)}${reversed}, `
      : '';
    return { result: pairs, note: `${agreement}${pairs.length} pairs of ${prompts} prompts` };
  });
}

function noPairs(t: number, { prompts, skipped }: PreferenceSummary): string {
  const reasons = Object.entries(skipped)
    .map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`)
    .join(', ');
  return (
    `Iteration ${t} has no preference pair: none of its ${prompts} prompts got a best and a ` +
    `worst completion that differ (${reasons}). Raise sample.temperature, sample.samples or ` +
    'prompts.count, or lower rank.min_margin and rank.min_consistency.'
  );
}

export function trainOn(run: RunContext, t: number, pairs: PairRecord[]): Promise<void> {
  const settings = run.recipe.train;
  return trainCheckpoint(
    run,
    { phase: t, stage: 'train' },
    {
      from: t,
      to: t + 1,
      settings,
      examples: pairs.length,
      unit: 'pairs',
      work: (policy, common, state, hooks) =>
        train(
          pairs,
          policy,
          {
            ...common,
            settings,
            startsAtReference: startsAtReference(run.recipe),
            onWarning: (message) => run.emit({ type: 'warning', message }),
          },
          state,
          hooks,
        ),
    },
  );
}

const mean = (values: number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
