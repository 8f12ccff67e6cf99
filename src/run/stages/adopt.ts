/**
 * Adopt: responses that another program sampled → completions as ours are, with token ids and the
 * model's own log-probs.
 */
import type { SampledText } from '../../data/official.js';
import type { CompletionRecord } from '../../data/records.js';
import type { Policy, StageHooks } from './stage.js';

/**
 * In the order of `samples`. A response counts as ended by the model: its last token is the end of
 * turn. (How it really ended is not in the official code's file, which scores it in the same way.)
 */
export async function adopt(
  samples: readonly SampledText[],
  { language, model }: Policy,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: StageHooks,
): Promise<CompletionRecord[]> {
  const prompts = new Map<
    string,
    { prompt: number[]; of: { sample: SampledText; tokens: number[] }[] }
  >();
  for (const sample of samples) {
    const group = prompts.get(sample.prompt_id) ?? {
      prompt: language.encodePrompt(sample.prompt),
      of: [],
    };
    group.of.push({ sample, tokens: language.encodeCompletion(sample.completion) });
    prompts.set(sample.prompt_id, group);
  }
  const groups = [...prompts.values()];
  const { sums } = await model.score(
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
