/** One generation request on a tiny model, and its completions as plain values. */
import type { Completion } from '../../src/engine/generate.js';

export const prompts = [
  { tokens: [5, 6, 7], samples: 3 },
  { tokens: Int32Array.of(8, 9), samples: 2 },
];
export const request = { prompts, maxNewTokens: 12, seed: 7n, stopIds: [] as number[] };

export const plain = (completions: Completion[]) =>
  completions.map(({ tokens, logprobs, ...rest }) => ({
    ...rest,
    tokens: [...tokens],
    logprobs: [...logprobs],
  }));
