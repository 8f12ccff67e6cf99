/**
 * The noise floor of τ: the agreement of θ_t with itself when only the rounding of bfloat16
 * differs.
 *
 * The rewards of some prompts' completions are computed twice, from the log-probs that ranked them
 * and from log-probs of the same weights in float32. Kendall's τ of the two, expressed as C, is 1
 * without rounding. If the C between two models is as high, they agree as far as bfloat16 can tell.
 * A prompt whose completions all have the same reward has no ranking and is left out.
 */
import { existsSync } from 'node:fs';
import { groupBy, sampleKey } from '../data/group.js';
import type { CompletionRecord, NoiseRecord, ScoreRecord } from '../data/records.js';
import { measureNoise } from '../evaluate/iteration.js';
import type { WorkHooks } from '../lm/hooks.js';
import { agreement } from '../preference/consistency.js';
import { rewardSet } from '../reward/reward.js';
import type { RunContext } from './context.js';
import type { Recipe } from './recipe.js';
import { spread } from './stages/check-sampler.js';
import { groupCompletions, score, type CompletionGroup } from './stages/score.js';

/** Writes `noise.jsonl` of iteration t if the recipe asks for it and it is missing. */
export async function measureRounding(
  run: RunContext,
  t: number,
  completions: readonly CompletionRecord[],
  scores: readonly ScoreRecord[],
): Promise<void> {
  const { noise_prompts: most } = run.recipe.score;
  if (most === 0 || existsSync(run.file(t, 'noise.jsonl'))) return;
  const groups = spread(groupCompletions(completions), most);
  const total = groups.flat().length;
  await run.stage(
    { phase: t, stage: 'score' },
    { done: 0, total, unit: 'completions' },
    async (hooks) => {
      const exact = await scoresInFloat32(run, t, groups, hooks);
      const records = noiseRecords(exact, scores, run.recipe);
      await run.write(t, 'noise.jsonl', records);
      hooks.progress(total, 0);
      const { noise_rms: rms, noise_consistency: consistency } = measureNoise(records);
      return {
        result: undefined,
        note:
          rms === null || consistency === null
            ? 'θ_t in float32: no prompt has a ranking, so rounding was not measured'
            : `θ_t in float32: rounding is ${rms.toPrecision(2)} rms, C with itself ` +
              consistency.toFixed(2),
      };
    },
  );
}

/** log π under θ_t and θ_0 in float32; `logp_previous` repeats that of θ_t. */
async function scoresInFloat32(
  run: RunContext,
  t: number,
  groups: readonly CompletionGroup[],
  hooks: WorkHooks,
): Promise<ScoreRecord[]> {
  const under = (path: string) =>
    run.models.inFloat32(path, (model) =>
      score(groups, { current: model, previous: model, base: model }, run.recipe.score, hooks),
    );
  const [current, base] = [run.checkpoint(t), run.checkpoint(0)];
  const ofCurrent = await under(current);
  const ofBase = current === base ? ofCurrent : await under(base);
  return ofCurrent.map((record, i) => ({ ...record, logp_base: ofBase[i]!.logp_base }));
}

/**
 * One record per prompt of `exact` with a ranking. A reward may depend on the whole set of
 * completions (`reward.length: controlled`), so both rewards are computed over all of `scores`.
 */
export function noiseRecords(
  exact: readonly ScoreRecord[],
  scores: readonly ScoreRecord[],
  { reward: { source, length }, rank }: Pick<Recipe, 'reward' | 'rank'>,
): NoiseRecord[] {
  if (source !== 'implicit' && source !== 'likelihood') return [];
  const inFloat32 = new Map(exact.map((record) => [sampleKey(record), record]));
  const prompts = new Set(exact.map(({ prompt_id }) => prompt_id));
  const byPrompt = (of: readonly ScoreRecord[]) =>
    groupBy(
      rewardSet(of, { source, length }).filter(({ prompt_id }) => prompts.has(prompt_id)),
      ({ prompt_id }) => prompt_id,
    );
  const rounded = byPrompt(scores);
  const others = byPrompt(scores.map((record) => inFloat32.get(sampleKey(record)) ?? record));
  return rounded.flatMap((of, i) => {
    const reward = of.map(({ reward_current }) => reward_current);
    if (reward.every((value) => value === reward[0])) return [];
    const reward_float32 = others[i]!.map(({ reward_current }) => reward_current);
    const { kendall_tau, consistency } = agreement(reward, reward_float32, rank.consistency);
    return {
      prompt_id: of[0]!.prompt_id,
      samples: of.map(({ sample }) => sample),
      reward,
      reward_float32,
      kendall_tau,
      consistency,
    };
  });
}
