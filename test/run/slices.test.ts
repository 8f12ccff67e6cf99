/**
 * Every stage lets the event loop run while it tokenises: between two of its turns at most one
 * slice and one step are tokenised. The test counts characters, so a busy machine changes nothing.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { Completion } from '../../src/engine/generate.js';
import type { ScoreResult } from '../../src/engine/score.js';
import { judgePairs } from '../../src/evaluate/pairwise.js';
import { answerByLikelihood } from '../../src/evaluate/loglikelihood.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { mapInSlices, SLICE_CHARACTERS } from '../../src/lm/slices.js';
import { judge } from '../../src/reward/judge.js';
import { modelRewards } from '../../src/reward/model.js';
import { classifier } from '../../src/run/reward-model.js';
import { adopt } from '../../src/run/stages/adopt.js';
import { evaluate } from '../../src/run/stages/evaluate.js';
import { encodeBothSides } from '../../src/run/stages/given-pairs.js';
import { sample } from '../../src/run/stages/sample.js';
import { encodeDemonstration } from '../../src/run/stages/sft.js';
import { tinyModel } from '../support/tiny-model.js';

const LENGTH = 700; // bytes, and so tokens, of each text
const COUNT = 400; // texts: several slices
const text = 'x'.repeat(LENGTH);
const prompt = [{ role: 'user' as const, content: text }];

let policy: LanguageModel;
beforeAll(async () => {
  const shape = { numHeads: 2, numKvHeads: 1, numLayers: 1, maxPositionEmbeddings: 4096 };
  policy = await loadModel(tinyModel({ tokenizer: true, ...shape }));
});
afterAll(() => policy.dispose());

/** The most characters that `work` tokenises between two turns of the event loop. */
async function longestHold(work: (signal: AbortSignal) => Promise<unknown>): Promise<number> {
  const { tokenizer } = policy;
  let [longest, held, total] = [0, 0, 0];
  const count = (said: number): void => {
    held += said;
    total += said;
    longest = Math.max(longest, held);
  };
  const own = {
    encode: tokenizer.encode.bind(tokenizer),
    encodeInSlices: tokenizer.encodeInSlices.bind(tokenizer),
  };
  tokenizer.encode = (said, options) => {
    count(said.length);
    return own.encode(said, options);
  };
  tokenizer.encodeInSlices = (said, after, options) =>
    own.encodeInSlices(
      said,
      (step) => {
        count(step);
        return after(step);
      },
      options,
    );
  const stop = new AbortController();
  // The engine's work is not needed, so it is aborted once the texts are tokenised.
  const timer = setInterval(() => total > LENGTH * COUNT && stop.abort(), 0);
  let running = true;
  const turn = (): void => {
    held = 0;
    if (running) setImmediate(turn);
  };
  turn();
  await work(stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  running = false;
  clearInterval(timer);
  Object.assign(tokenizer, own);
  expect(total).toBeGreaterThanOrEqual(LENGTH * COUNT);
  return longest;
}

const items = Array.from({ length: COUNT }, (_, i) => ({ id: `${i}`, prompt, text }));
const hooks = (signal: AbortSignal) => ({ signal, progress: () => {} });
const SAMPLING = {
  ...{ samples: 1, temperature: 1, top_p: 1, top_k: 0, min_new_tokens: 0, max_new_tokens: 1 },
  ...{ stop: [], max_num_seqs: 8, save_prompts: 8, seed: 0, iteration: 1 },
};

/** Tokenised in a thread, and then refused by the context or aborted. */
const long = 'x'.repeat(300_000);
/** The policy with a context that `long` fits into; its engine is never reached. */
const wide = (): LanguageModel => {
  const config = { ...policy.model.config, maxPositionEmbeddings: 1 << 20 };
  const model = Object.create(policy.model, {
    config: { value: config },
    generate: { value: ignored },
    score: { value: () => Promise.resolve(scored) },
    prepared: { value: policy.model.prepared.bind(policy.model) },
  }) as LanguageModel['model'];
  return policy.with(model);
};
const scored: ScoreResult = {
  sums: new Float64Array(1),
  tokenLogprobs: new Float32Array(1),
  offsets: Float64Array.of(0, 1),
  forwardTokens: 2,
  seconds: 0,
};
const ended: Completion = {
  promptIndex: 0,
  sample: 0,
  tokens: Int32Array.of(0),
  logprobs: new Float32Array(1),
  topTokens: new Int32Array(),
  topLogprobs: new Float32Array(),
  finishReason: 'eos',
};
const ignored = () => ({
  seed: 0n,
  cancel: () => {},
  all: () => Promise.resolve([ended]),
});
const fakeClassifier = {
  config: { numLabels: 1, maxPositionEmbeddings: 4096 },
  classify: ({ sequences }: { sequences: unknown[] }) =>
    Promise.resolve(new Float32Array(sequences.length)),
};
const completionOf = (id: string) => ({
  prompt_id: id,
  sample: 0,
  prompt,
  completion: text,
  prompt_token_ids: [1],
  token_ids: [1],
  logprob: -1,
  finish_reason: 'eos' as const,
});

const STAGES: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
  generate: (signal) => wide().generate(long, { signal }),
  stream: (signal) => wide().stream(long, { signal }).completion,
  score: (signal) => wide().score('x', [long], { signal }),
  'reward model': (signal) =>
    modelRewards(
      items.map(({ id }) => completionOf(id)),
      { ...classifier(policy), model: fakeClassifier },
      { maxNumBatchedTokens: 'auto', label: null },
      { signal },
    ),
  sample: (signal) => sample(items, policy, SAMPLING, hooks(signal)),
  'given pairs': (signal) =>
    encodeBothSides(
      items.map(({ id }) => ({
        id,
        prompt,
        chosen: [{ role: 'assistant', content: text }],
        rejected: [{ role: 'assistant', content: `${text}y` }],
      })),
      policy,
      signal,
    ),
  SFT: (signal) =>
    mapInSlices(
      items,
      ({ id }, slices) =>
        encodeDemonstration(
          { id, prompt, completion: [{ role: 'assistant', content: text }] },
          policy,
          slices,
        ),
      signal,
    ),
  judge: (signal) =>
    judge(
      items.map(({ id }) => completionOf(id)),
      policy,
      { current: policy.model, previous: policy.model },
      { ...SAMPLING, judgements: 1, reasons: true },
      hooks(signal),
    ),
  evaluate: (signal) =>
    evaluate(
      items.map(({ id }) => ({ id, prompt, answer: '1', task: 't' })),
      policy,
      {
        method: 'generate',
        apply_chat_template: null,
        max_new_tokens: 1,
        max_num_seqs: 8,
        max_num_batched_tokens: 1024,
      },
      hooks(signal),
    ),
  'evaluate by likelihood': (signal) =>
    answerByLikelihood(
      items.map(({ id }) => ({
        id,
        prompt,
        answer: 'A',
        task: 't',
        stem: text,
        choices: [
          { label: 'A', text: 'one' },
          { label: 'B', text: 'two' },
        ],
      })),
      policy,
      { chat: false, max_num_batched_tokens: 1024 },
      hooks(signal),
    ),
  'compare answers': (signal) =>
    judgePairs(
      items.map(({ id }) => ({ prompt_id: id, prompt, before: text, after: 'z' })),
      policy,
      1024,
      hooks(signal),
    ),
  'adopt completions': (signal) =>
    adopt(
      items.map(({ id }) => ({ prompt_id: id, sample: 0, prompt, completion: text })),
      policy,
      { max_num_batched_tokens: 1024 },
      hooks(signal),
    ),
};

it.each(Object.keys(STAGES))('%s', async (stage) => {
  const step = 2 * (LENGTH + 2000);
  expect(await longestHold(STAGES[stage]!)).toBeLessThan(SLICE_CHARACTERS + step);
});
