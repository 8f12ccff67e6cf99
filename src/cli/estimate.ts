/**
 * Estimates a run on this machine's CPU: tokens from the recipe, seconds from a probe of the model,
 * disk space from its size. These are upper bounds, because a completion may end before its limit.
 */
import { performance } from 'node:perf_hooks';
import type { LanguageModel } from '../lm/language-model.js';
import type { Recipe } from '../run/recipe.js';

/** Cost of training per scored token: one forward pass and a backward pass of twice its work. */
const TRAINING_PASSES = 3;

/** Tokens per second. */
export interface Rates {
  sample: number;
  score: number;
}

export interface StageEstimate {
  stage: string;
  /** Upper bounds over all iterations. */
  tokens: number;
  seconds: number;
}

/** Measures both rates on random tokens, in some seconds. */
export async function probe(lm: LanguageModel, signal: AbortSignal): Promise<Rates> {
  const { vocabSize } = lm.model.config;
  const tokens = (count: number, seed: number) =>
    Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104_729 + 1) % vocabSize);
  const decode = { samples: 16, maxNewTokens: 16 };
  const generate = async (maxNewTokens: number) => {
    const request = {
      prompts: [{ tokens: tokens(32, 1), samples: decode.samples }],
      maxNewTokens,
      stopIds: [],
    };
    await lm.model.generate(request, { signal }).all();
  };
  const groups = [0, 1, 2, 3].map((i) => ({ prompt: tokens(32, i), completions: [tokens(96, i)] }));
  await generate(2); // the first pass allocates
  const sampling = await seconds(() => generate(decode.maxNewTokens));
  const scoring = await seconds(() => lm.model.score({ groups }, { signal }));
  return {
    sample: (decode.samples * decode.maxNewTokens) / sampling,
    score: (groups.length * 128) / scoring,
  };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1000;
}

/** `prompts`: prompts of one iteration; `promptTokens`: approximate tokens of a prompt. */
export function estimateStages(
  recipe: Recipe,
  rates: Rates,
  { prompts, promptTokens }: { prompts: number; promptTokens: number },
): StageEstimate[] {
  const { iterations, sample, train, sft, evaluate, temporal } = recipe;
  const own = recipe.pairs.source === null;
  // θ_1 and the future model sample as many completions as θ_t, and θ_t scores them, too.
  const others = Number(temporal.anchored_rejection) + Number(temporal.future_chosen);
  const ofPolicy = own ? prompts * sample.samples * iterations : 0;
  const completions = ofPolicy * (1 + others);
  const sampled = completions * sample.max_new_tokens;
  const each = sample.max_new_tokens + promptTokens / sample.samples;
  // θ_{t−1} and θ_0 score; in the first iteration they are one model.
  const scored = (2 * completions + ofPolicy * others) * each;
  const trainings = temporal.future_chosen ? 2 : 1;
  const pairs = prompts * iterations * train.epochs * trainings;
  const trained = pairs * (2 * sample.max_new_tokens + promptTokens);
  // KTO's mismatched completions: the reference scores them once, the policy once per epoch.
  const mismatched = train.loss === 'kto' ? trained + trained / train.epochs : 0;
  const demonstrations = sft.enabled ? sft.count * sft.epochs * 2 * promptTokens : 0;
  const evaluations = iterations + (evaluate.baseline ? 1 : 0) + (sft.enabled ? 1 : 0);
  const answered = evaluate.tasks.length * evaluate.count * evaluations * evaluate.max_new_tokens;
  const line = (stage: string, tokens: number, rate: number) => ({
    stage,
    tokens,
    seconds: tokens / rate,
  });
  return [
    line('sft', demonstrations, rates.score / TRAINING_PASSES),
    line('sample', sampled, rates.sample),
    line('score', scored + mismatched, rates.score),
    line('train', trained, rates.score / TRAINING_PASSES),
    line('evaluate', answered, rates.sample),
  ].filter(({ tokens }) => tokens > 0);
}
