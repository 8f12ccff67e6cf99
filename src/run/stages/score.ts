/**
 * Score: log π(y|x) of every completion under θ_t, θ_{t−1} and θ_0; a model that plays two roles is
 * run once, one whose log-probs are known not at all.
 */
import type { Model } from '../../engine/model.js';
import type { CompletionRecord, ScoreRecord } from '../../data/records.js';
import type { StageHooks } from './stage.js';

export interface Judges {
  current: Model;
  previous: Model;
  base: Model;
}

/** What of a completion is scored. */
export type Scorable = Pick<
  CompletionRecord,
  'prompt_id' | 'sample' | 'prompt_token_ids' | 'token_ids'
>;

/** Completions of one prompt, whose tokens are computed once for all of them. */
export type CompletionGroup = readonly CompletionRecord[];

/** Groups by prompt id in order of first appearance. */
export function groupCompletions(completions: readonly CompletionRecord[]): CompletionGroup[] {
  const groups = new Map<string, CompletionRecord[]>();
  for (const completion of completions) {
    const group = groups.get(completion.prompt_id);
    if (group) group.push(completion);
    else groups.set(completion.prompt_id, [completion]);
  }
  return [...groups.values()];
}

/**
 * Scores in the order of `groups` and their completions. Progress counts completions, once for each
 * share of a model that runs. A model with an entry in `known`, its log-probs of the completions in
 * that order, does not run.
 */
export async function score(
  groups: readonly (readonly Scorable[])[],
  judges: Judges,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: StageHooks,
  known: ReadonlyMap<Model, Float64Array> = new Map(),
): Promise<ScoreRecord[]> {
  const completions = groups.flat();
  const request = groups.map((group) => ({
    prompt: group[0]!.prompt_token_ids,
    completions: group.map((c) => c.token_ids),
  }));
  const running = [...new Set([judges.current, judges.previous, judges.base])].filter(
    (model) => !known.has(model),
  );
  const sums = new Map(known);
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
    sums.set(model, result.sums);
  }
  hooks.progress(completions.length, tokens);
  return completions.map((completion, i) => ({
    prompt_id: completion.prompt_id,
    sample: completion.sample,
    tokens: completion.token_ids.length,
    logp_current: sums.get(judges.current)![i]!,
    logp_previous: sums.get(judges.previous)![i]!,
    logp_base: sums.get(judges.base)![i]!,
  }));
}
