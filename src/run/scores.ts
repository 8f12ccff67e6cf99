/**
 * Scores of an iteration: log π under θ_t, θ_{t−1} and θ_0. The sampler already gave θ_t's
 * log-probs, so only the other models run. θ_t is scored again on a few prompts as a check; if it
 * disagrees with the sampler, it scores all completions.
 */
import { existsSync } from 'node:fs';
import type { CompletionRecord, SamplerCheckRecord, ScoreRecord } from '../data/records.js';
import { measureSampler } from '../evaluate/iteration.js';
import type { RunContext } from './context.js';
import { checksFit, checkSampler, samplerHolds } from './stages/check-sampler.js';
import { groupCompletions, score, type CompletionGroup, type Judges } from './stages/score.js';
import type { StageHooks } from './stages/stage.js';
import { readRecords, writeRecords } from './store.js';

export function scoresOf(
  run: RunContext,
  t: number,
  completions: CompletionRecord[],
): Promise<ScoreRecord[]> {
  const {
    score: settings,
    sample: { samples },
    dtype,
  } = run.recipe;
  const groups = groupCompletions(completions);
  let checks: SamplerCheckRecord[] | undefined;
  return run.blocks<CompletionGroup, ScoreRecord>(
    { phase: t, stage: 'score' },
    {
      path: run.file(t, 'scores.jsonl'),
      items: groups,
      size: settings.save_prompts,
      unit: 'completions',
      perItem: samples,
      make: async (block, hooks) => {
        const judges = await judgesOf(run, t);
        let spent = 0;
        checks ??= await checksOf(run, t, groups, judges, {
          ...hooks,
          progress: (_, tokens) => hooks.progress(0, (spent = tokens)),
        });
        const known = new Map(
          samplerHolds(checks, dtype)
            ? [[judges.current, Float64Array.from(block.flat(), ({ logprob }) => logprob)]]
            : [],
        );
        return score(
          block,
          judges,
          settings,
          { ...hooks, progress: (done, tokens) => hooks.progress(done, spent + tokens) },
          known,
        );
      },
      note: () =>
        checks && samplerHolds(checks, dtype)
          ? `θ_t as sampled, checked on ${checks.length} prompts`
          : '',
    },
  );
}

async function judgesOf(run: RunContext, t: number): Promise<Judges> {
  const [current, previous, base] = [
    await run.models.model(run.checkpoint(t)),
    await run.models.model(run.checkpoint(t - 1)),
    await run.models.model(run.checkpoint(0)),
  ];
  return { current, previous, base };
}

/** Decided before the first block and saved, so that a resumed stage keeps the decision. */
async function checksOf(
  run: RunContext,
  t: number,
  groups: readonly CompletionGroup[],
  judges: Judges,
  hooks: StageHooks,
): Promise<SamplerCheckRecord[]> {
  const path = run.file(t, 'sampler-check.jsonl');
  const kept = existsSync(path) ? await readRecords<SamplerCheckRecord>(path) : [];
  if (checksFit(kept, groups)) return kept;
  const checks = await checkSampler(groups, judges, run.recipe.score, hooks);
  if (!samplerHolds(checks, run.recipe.dtype))
    run.emit({ type: 'warning', message: contradiction(t, checks) });
  await writeRecords(path, checks);
  return checks;
}

function contradiction(t: number, checks: readonly SamplerCheckRecord[]): string {
  const { sampler_difference: difference, sampler_tau: tau } = measureSampler(checks);
  return (
    `Iteration ${t}: the log-probs that came with the completions differ from θ_t's by up to ` +
    `${difference!.toPrecision(2)} nats a response (Kendall's τ ${tau!.toFixed(2)}), so θ_t ` +
    'scores them all. This is rounding in bfloat16 on a CPU without AVX-512 BF16 or with ' +
    'heads whose size is no multiple of 16, and in float32 where rewards nearly tie; ' +
    'otherwise completions.jsonl is not what this model sampled.'
  );
}
