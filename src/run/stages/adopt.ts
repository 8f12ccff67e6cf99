/** Adopt: completions sampled by another program → records with token ids and θ_t's log-probs. */
import type { SampledText } from '../../data/official.js';
import type { CompletionRecord } from '../../data/records.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { completionInSlices, promptInSlices } from '../../lm/sliced.js';
import { Slices } from '../../lm/slices.js';

/**
 * Completions grouped by prompt, in the order of `samples`. Each ends with the end-of-turn token:
 * the official code's file does not say how a completion ended, and its scoring assumes the same.
 */
export async function adopt(
  samples: readonly SampledText[],
  policy: LanguageModel,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: WorkHooks,
): Promise<CompletionRecord[]> {
  const prompts = new Map<
    string,
    { prompt: number[]; of: { sample: SampledText; tokens: number[] }[] }
  >();
  const slices = new Slices(hooks.signal);
  for (const sample of samples) {
    const group = prompts.get(sample.prompt_id) ?? {
      prompt: await promptInSlices(policy, sample.prompt, slices),
      of: [],
    };
    const tokens = await completionInSlices(policy, sample.completion, slices);
    group.of.push({ sample, tokens });
    prompts.set(sample.prompt_id, group);
  }
  const groups = [...prompts.values()];
  const { sums } = await policy.model.score(
    {
      groups: groups.map(({ prompt, of }) => ({
        prompt,
        completions: of.map(({ tokens }) => tokens),
      })),
      maxNumBatchedTokens: settings.max_num_batched_tokens,
    },
    {
      signal: hooks.signal,
      onProgress: ({ done, total, tokens }) =>
        hooks.progress(Math.floor((done / Math.max(1, total)) * samples.length), tokens),
    },
  );
  return groups
    .flatMap(({ prompt, of }) => of.map((entry) => ({ ...entry, prompt })))
    .map(({ sample, tokens, prompt }, i) => ({
      ...sample,
      prompt_token_ids: prompt,
      token_ids: tokens,
      logprob: sums[i]!,
      finish_reason: 'eos',
    }));
}
