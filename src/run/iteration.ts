/**
 * One iteration of CREAM (arXiv 2410.12735, algorithm 1): θ_t samples completions, θ_t and θ_{t−1}
 * rank them, and DPO trains on the pairs, weighted by the agreement of the two rankings. Each
 * stage writes one artefact in `iteration-t/`; an existing artefact is read instead.
 */
import { existsSync } from 'node:fs';
import type { PromptRecord } from '../data/records.js';
import type { RunContext } from './context.js';
import { choosePrompts } from './data.js';
import { measureRounding } from './noise.js';
import { checkRanking } from './ranking-check.js';
import { evaluateModel } from './stages/evaluate.js';
import { scoreGivenPairs } from './stages/given-pairs.js';
import { sampleCompletions } from './stages/sample.js';
import { scoreCompletions } from './stages/score.js';
import { trainOnPairs } from './stages/train.js';
import { dropFuture, pairCompletions } from './temporal.js';

/** Iteration `t` ≥ 1: from θ_t to θ_{t+1}. */
export async function iterate(run: RunContext, t: number): Promise<void> {
  const prompts = await promptsOf(run, t);
  const completions = await sampleCompletions(run, t, prompts); // y ~ θ_t
  const scores = await scoreCompletions(run, t, completions); // log π under θ_t, θ_{t−1}, θ_0
  await checkRanking(run, t);
  await measureRounding(run, t, completions, scores);
  const pairs = await pairCompletions(run, t, prompts, { completions, scores }); // C, both sides
  await trainOnPairs(run, t, pairs); // θ_t → θ_{t+1}
  await dropFuture(run, t);
  await evaluateModel(run, t, t + 1);
}

/** An iteration on given pairs (`pairs.source`): nothing is sampled or ranked. */
export async function learnGivenPairs(run: RunContext, t: number): Promise<void> {
  const pairs = await scoreGivenPairs(run, t); // log π under θ_t and θ_0
  await trainOnPairs(run, t, pairs); // θ_t → θ_{t+1}
  await evaluateModel(run, t, t + 1);
}

async function promptsOf(run: RunContext, t: number): Promise<PromptRecord[]> {
  if (existsSync(run.file(t, 'prompts.jsonl'))) return run.read(t, 'prompts.jsonl');
  const { prompts, gold } = choosePrompts(run.recipe, t, await run.inputs.prompts());
  if (gold.length > 0) await run.record(t, 'gold.jsonl', gold);
  await run.record(t, 'prompts.jsonl', prompts);
  return prompts;
}
