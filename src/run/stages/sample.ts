/** Sample: prompts → N completions each from θ_t, with the model's chat template. */
import type { CompletionRecord, PromptRecord } from '../../data/records.js';
import { sumLogprobs } from '../../engine/score.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { mean } from '../../evaluate/iteration.js';
import { promptInSlices } from '../../lm/sliced.js';
import type { RunContext, WorkContext } from '../context.js';
import { mapInSlices } from '../../lm/slices.js';
import { promptKey } from '../keys.js';
import type { Recipe } from '../recipe.js';
import { sequencesAtOnce, type BlockedStage } from './stage.js';

export type SampleSettings = Recipe['sample'] & { seed: number; iteration: number };

/** Sampling as a stage: a block of prompts → their completions. */
export function sampleStage(
  prompts: readonly PromptRecord[],
  policy: () => Promise<LanguageModel>,
  settings: SampleSettings,
): BlockedStage<PromptRecord, CompletionRecord> {
  return {
    items: prompts,
    size: settings.save_prompts,
    unit: 'completions',
    units: () => settings.samples,
    make: async (block, hooks) => sample(block, await policy(), settings, hooks),
    atOnce: () => sequencesAtOnce(policy, settings.max_num_seqs),
    note: (made) => `mean length ${mean(made.map((c) => c.token_ids.length))!.toFixed(0)} tokens`,
  };
}

/** The completions of iteration `t`, sampled from θ_t. */
export function sampleCompletions(
  run: RunContext,
  t: number,
  prompts: PromptRecord[],
): Promise<CompletionRecord[]> {
  return run.blocks(
    { phase: t, stage: 'sample' },
    'completions.jsonl',
    samplingOf(run, t, prompts),
  );
}

/** The sampling of iteration `t` from θ_t. */
export function samplingOf(
  run: WorkContext,
  t: number,
  prompts: readonly PromptRecord[],
): BlockedStage<PromptRecord, CompletionRecord> {
  const { sample: settings, seed } = run.recipe;
  const policy = () => run.models.policy(run.checkpoint(t));
  return {
    ...sampleStage(prompts, policy, { ...settings, seed, iteration: t }),
    work: () => Promise.resolve({ stage: 'sample', t }),
  };
}

/**
 * Completions ordered by prompt, then sample. A sample depends on seed, iteration, prompt id and
 * sample number, not on the other prompts.
 */
export async function sample(
  prompts: readonly PromptRecord[],
  policy: LanguageModel,
  settings: SampleSettings,
  hooks: WorkHooks,
): Promise<CompletionRecord[]> {
  const encoded = await mapInSlices(
    prompts,
    ({ prompt }, slices) => promptInSlices(policy, prompt, slices),
    hooks.signal,
  );
  const stops =
    settings.stop.length > 0
      ? { stopStrings: settings.stop, tokenBytes: policy.tokenizer.tokenBytes() }
      : {};
  const completions = await policy.model
    .generate(
      {
        prompts: prompts.map((prompt, i) => ({
          tokens: encoded[i]!,
          key: promptKey(prompt.id),
          samples: settings.samples,
        })),
        temperature: settings.temperature,
        topP: settings.top_p,
        topK: settings.top_k,
        minNewTokens: settings.min_new_tokens,
        maxNewTokens: settings.max_new_tokens,
        stopIds: policy.stopIds,
        ...stops,
        seed: settings.seed,
        iteration: settings.iteration,
        maxNumSeqs: settings.max_num_seqs,
      },
      { signal: hooks.signal, onProgress: ({ done, tokens }) => hooks.progress(done, tokens) },
    )
    .all();

  return completions.map((completion) => {
    const prompt = prompts[completion.promptIndex]!;
    const tokens = [...completion.tokens];
    return {
      prompt_id: prompt.id,
      sample: completion.sample,
      prompt: prompt.prompt,
      completion: policy.tokenizer.decode(tokens, { skipSpecialTokens: true }),
      prompt_token_ids: [...encoded[completion.promptIndex]!],
      token_ids: tokens,
      logprob: sumLogprobs(completion.logprobs),
      finish_reason: completion.finishReason,
    };
  });
}
