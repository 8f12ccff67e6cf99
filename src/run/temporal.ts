/**
 * Temporal Self-Rewarding (Wang et al., arXiv 2508.06026): chosen and rejected completions come
 * from different times.
 *
 *   anchored rejection   θ_1 samples N completions, too. The rejected completion of a prompt is the
 *                        worst of θ_t's and θ_1's; θ_1's can only be rejected
 *   future-guided chosen θ_t is trained on these pairs into a future model θ_f, which samples N
 *                        completions. The chosen one is the best of θ_t's and θ_f's; θ_f's can only
 *                        be chosen, and the rejected one stays
 *
 * All rewards are those of θ_t. θ_{t+1} is then trained from θ_t, and θ_f is removed. If rewards
 * are equal, θ_t's completion is taken, since its sample number is lower. docs/method.md has the
 * rules, their source and our choices.
 *
 * The parts have the folders `initial/` and `future/` of the iteration.
 */
import { existsSync } from 'node:fs';
import type { CompletionRecord, PairRecord, PromptRecord, ScoreRecord } from '../data/records.js';
import type { RunContext, WorkContext } from './context.js';
import { removeCheckpoint } from './keep.js';
import { rankCompletions } from './stages/rank.js';
import { sampleStage } from './stages/sample.js';
import { scoreOthers } from './stages/score.js';
import type { BlockedStage } from './stages/stage.js';
import { trainOnPairs } from './stages/train.js';

interface Sampled {
  completions: CompletionRecord[];
  scores: ScoreRecord[];
}

/** Each other model, with the number of its first sample in units of N. */
const ORIGINS = { initial: 1, future: 2 } as const;
export type Origin = keyof typeof ORIGINS;
/** Iterations are at most 1,000, so these keys are no iteration's. */
const KEY_STEP = 1_000;

/** The pairs of iteration `t` from the completions of θ_t and those of the other models. */
export async function pairCompletions(
  run: RunContext,
  t: number,
  prompts: readonly PromptRecord[],
  own: Sampled,
): Promise<PairRecord[]> {
  const { anchored_rejection: anchored, future_chosen: ahead } = run.recipe.temporal;
  const initial = anchored ? await sampleFrom(run, t, 'initial', prompts) : NOTHING;
  const now = together(own, initial);
  if (!ahead || existsSync(run.file(t, 'pairs.jsonl')))
    return rankCompletions(run, t, now.completions, now.scores);
  const future = run.within('future', t);
  const pairs = await rankCompletions(future, t, now.completions, now.scores);
  await trainOnPairs(future, t, pairs); // θ_t → θ_f
  const all = together(now, await sampleFrom(run, t, 'future', prompts));
  return rankCompletions(run, t, all.completions, all.scores);
}

/** Removes θ_f of iteration `t`, which nothing needs once the pairs are made. */
export async function dropFuture(run: RunContext, t: number): Promise<void> {
  const checkpoint = run.within('future', t).checkpoint(t + 1);
  if (run.recipe.temporal.future_chosen && existsSync(checkpoint))
    await removeCheckpoint(run, checkpoint);
}

const NOTHING: Sampled = { completions: [], scores: [] };

const together = (a: Sampled, b: Sampled): Sampled => ({
  completions: [...a.completions, ...b.completions],
  scores: [...a.scores, ...b.scores],
});

/** Completions of the other model, scored by θ_t, θ_{t−1} and θ_0. */
async function sampleFrom(
  run: RunContext,
  t: number,
  origin: Origin,
  prompts: readonly PromptRecord[],
): Promise<Sampled> {
  const part = run.within(origin, t);
  const completions = await part.blocks(
    { phase: t, stage: 'sample' },
    'completions.jsonl',
    samplingFrom(part, t, origin, prompts),
  );
  return { completions, scores: await scoreOthers(part, t, completions) };
}

/** Sampling from θ_1 or from θ_f; `part` is the part of the run that belongs to it. */
export function samplingFrom(
  part: WorkContext,
  t: number,
  origin: Origin,
  prompts: readonly PromptRecord[],
): BlockedStage<PromptRecord, CompletionRecord> {
  const { sample: settings, seed } = part.recipe;
  const turn = ORIGINS[origin];
  const policy = () => part.models.policy(part.checkpoint(origin === 'initial' ? 1 : t + 1));
  const stage = sampleStage(prompts, policy, { ...settings, seed, iteration: t + turn * KEY_STEP });
  return {
    ...stage,
    work: () => Promise.resolve({ stage: 'sample others', t, origin }),
    make: async (block, hooks) =>
      (await stage.make(block, hooks)).map((completion) => ({
        ...completion,
        sample: completion.sample + turn * settings.samples,
        sampled_by: origin,
      })),
  };
}
