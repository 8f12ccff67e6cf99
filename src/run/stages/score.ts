/**
 * Score: log π(y|x) of every completion under θ_t, θ_{t−1} and θ_0. A model with two roles runs
 * once. The sampler already gave θ_t's log-probs, so in a run only the other models score all
 * completions; θ_t is scored again on a few prompts as a check, and on all of them if it disagrees
 * with the sampler there.
 */
import { existsSync } from 'node:fs';
import type { CompletionRecord, SamplerCheckRecord, ScoreRecord } from '../../data/records.js';
import { groupBy } from '../../data/group.js';
import { DataError } from '../../data/jsonl.js';
import { count } from '../../data/problem.js';
import type { DType, Model } from '../../engine/model.js';
import { measureSampler } from '../../evaluate/iteration.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { RunContext, WorkContext } from '../context.js';
import { checksFit, checkSampler, samplerHolds } from './check-sampler.js';
import type { BlockedStage } from './stage.js';

/** θ_t, θ_{t−1} and θ_0; a model that has several of these roles is scored once. */
export interface ScoringModels {
  current: Model;
  previous: Model;
  base: Model;
}

/** The columns of a completion that scoring reads. */
export type Scorable = Pick<
  CompletionRecord,
  'prompt_id' | 'sample' | 'prompt_token_ids' | 'token_ids'
>;

/** Completions of one prompt, whose tokens are computed once for all of them. */
export type CompletionGroup = readonly CompletionRecord[];

/** Groups by prompt id in order of first appearance. @throws DataError for a sample listed twice */
export function groupCompletions(completions: readonly CompletionRecord[]): CompletionGroup[] {
  const groups = groupBy(completions, ({ prompt_id }) => prompt_id);
  for (const group of groups) {
    const seen = new Set<number>();
    const twice = group.find(({ sample }) => seen.size === seen.add(sample).size);
    if (twice !== undefined)
      throw new DataError(
        `sample ${twice.sample} of prompt ${JSON.stringify(twice.prompt_id)} is listed twice in ` +
          'the completions; a prompt id and a sample number identify one completion',
      );
  }
  return groups;
}

export interface ScoreSettings {
  save_prompts: number;
  max_num_batched_tokens: number | 'auto';
}

/** Whether the sampler's log-probs serve as θ_t's scores; decided by a check of a few prompts. */
interface SamplerCheck {
  dtype: DType;
  of: (models: ScoringModels, hooks: WorkHooks) => Promise<SamplerCheckRecord[]>;
}

/**
 * The score stage of `groups`. With `check`, `decide` finds out before the first block whether the
 * sampler's log-probs serve as θ_t's scores.
 */
export function scoreStage(
  groups: readonly CompletionGroup[],
  scoringModels: () => Promise<ScoringModels>,
  settings: ScoreSettings,
  check?: SamplerCheck,
): BlockedStage<CompletionGroup, ScoreRecord> & {
  decide: (hooks: WorkHooks) => Promise<boolean>;
} {
  let checks: SamplerCheckRecord[] | undefined;
  let spent = 0;
  const sampled = () => check && checks && samplerHolds(checks, check.dtype);
  const decide = async (hooks: WorkHooks): Promise<boolean> => {
    checks ??= await check?.of(await scoringModels(), {
      ...hooks,
      progress: (_, tokens) => hooks.progress(0, (spent = tokens)),
    });
    return sampled() ?? false;
  };
  return {
    decide,
    items: groups,
    size: settings.save_prompts,
    unit: 'completions',
    units: (group) => group.length,
    make: async (block, hooks) => {
      const models = await scoringModels();
      spent = 0;
      const known: KnownSums = new WeakMap(
        (await decide(hooks))
          ? [[models.current, Float64Array.from(block.flat(), ({ logprob }) => logprob)]]
          : [],
      );
      const after = (done: number, tokens: number) => hooks.progress(done, spent + tokens);
      return score(block, models, settings, { ...hooks, progress: after }, known);
    },
    note: () => (sampled() ? `θ_t as sampled, checked on ${count(checks!.length, 'prompts')}` : ''),
  };
}

/** The scores of iteration `t`. */
export function scoreCompletions(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<ScoreRecord[]> {
  const groups = groupCompletions(completions);
  const stage = scoreStage(groups, () => scoringModels(run, t), run.recipe.score, {
    dtype: run.recipe.dtype,
    of: (models, hooks) => checksOf(run, t, groups, models, hooks),
  });
  return run.blocks({ phase: t, stage: 'score' }, 'scores.jsonl', {
    ...stage,
    work: async (hooks) => {
      // The other ranks load their models while this one checks the sampler.
      await run.team?.order({ do: 'load', checkpoints: [t, t - 1, 0], part: run.part });
      return { stage: 'score', t, sampled: await stage.decide(hooks) };
    },
  });
}

/** Scores of completions that other models sampled, which θ_t computes, too. */
export function scoreOthers(
  run: RunContext,
  t: number,
  completions: readonly CompletionRecord[],
): Promise<ScoreRecord[]> {
  const groups = groupCompletions(completions);
  return run.blocks({ phase: t, stage: 'score' }, 'scores.jsonl', {
    ...scoreStage(groups, () => scoringModels(run, t), run.recipe.score),
    work: () => Promise.resolve({ stage: 'score', t, sampled: false }),
  });
}

/** The scoring of iteration t once it is decided whether θ_t's scores are the sampler's. */
export function scoringOf(
  run: WorkContext,
  { t, sampled }: { t: number; sampled: boolean },
): BlockedStage<CompletionGroup, ScoreRecord> {
  const decided = { dtype: run.recipe.dtype, of: () => Promise.resolve([]) };
  return scoreStage(
    [],
    () => scoringModels(run, t),
    run.recipe.score,
    sampled ? decided : undefined,
  );
}

async function scoringModels(run: WorkContext, t: number): Promise<ScoringModels> {
  const model = (n: number) => run.models.model(run.checkpoint(n));
  return { current: await model(t), previous: await model(t - 1), base: await model(0) };
}

/** Decided before the first block and saved, so that a resumed stage keeps the decision. */
async function checksOf(
  run: RunContext,
  t: number,
  groups: readonly CompletionGroup[],
  models: ScoringModels,
  hooks: WorkHooks,
): Promise<SamplerCheckRecord[]> {
  const kept = existsSync(run.file(t, 'sampler-check.jsonl'))
    ? await run.read<SamplerCheckRecord>(t, 'sampler-check.jsonl')
    : [];
  if (checksFit(kept, groups)) return kept;
  const checks = await checkSampler(groups, models, run.recipe.score, hooks);
  if (!samplerHolds(checks, run.recipe.dtype))
    run.emit({ type: 'warning', message: contradiction(t, checks) });
  await run.write(t, 'sampler-check.jsonl', checks);
  return checks;
}

function contradiction(t: number, checks: readonly SamplerCheckRecord[]): string {
  const { sampler_difference: difference, sampler_tau: tau } = measureSampler(checks);
  return (
    `Iteration ${t}: the log-probs that came with the completions differ from θ_t's by up to ` +
    `${difference!.toPrecision(2)} nats per completion (Kendall's τ ${tau!.toFixed(2)}), so θ_t ` +
    'scores them all. This is rounding in bfloat16 on a CPU without AVX2, or with heads whose ' +
    'size is no multiple of 16 or above 256 (on a GPU: no multiple of 8 or above 128), and in ' +
    'float32 where rewards nearly tie; otherwise completions.jsonl is not what this model sampled.'
  );
}

/** By model, the log-probs of completions in their order. */
export type KnownSums = WeakMap<Model, Float64Array>;

/**
 * Scores in the order of `groups` and their completions. Progress counts completions once for each
 * model that runs. A model with an entry in `known` does not run; one that runs gets an entry.
 */
export async function score(
  groups: readonly (readonly Scorable[])[],
  models: ScoringModels,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: WorkHooks,
  known: KnownSums = new WeakMap(),
): Promise<ScoreRecord[]> {
  const completions = groups.flat();
  const request = groups.map((group) => ({
    prompt: group[0]!.prompt_token_ids,
    completions: group.map((c) => c.token_ids),
  }));
  const running = [...new Set([models.current, models.previous, models.base])].filter(
    (model) => !known.has(model),
  );
  let tokens = 0;
  for (const [turn, model] of running.entries()) {
    const result = await model.score(
      { groups: request, maxNumBatchedTokens: settings.max_num_batched_tokens },
      {
        signal: hooks.signal,
        onProgress: (p) =>
          hooks.progress(
            Math.floor(
              (turn * completions.length + (p.done / Math.max(1, p.total)) * completions.length) /
                running.length,
            ),
            tokens + p.tokens,
          ),
      },
    );
    tokens += result.forwardTokens;
    known.set(model, result.sums);
  }
  hooks.progress(completions.length, tokens);
  return completions.map((completion, i) => ({
    prompt_id: completion.prompt_id,
    sample: completion.sample,
    tokens: completion.token_ids.length,
    logp_current: known.get(models.current)![i]!,
    logp_previous: known.get(models.previous)![i]!,
    logp_base: known.get(models.base)![i]!,
  }));
}
