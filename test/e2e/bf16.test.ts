/**
 * The loss of quality by bf16 on the real default model, compared with fp32 from the same file: the
 * bounds that a faster kernel must keep. `CREAM_SHOW=1` prints the measured values; the bounds are
 * about twice these. Both dtypes start from the same file.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { builtinDemonstrations } from '../../src/data/builtin.js';
import type { PairInput, StepMetrics } from '../../src/engine/trainer.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';

type DType = 'float32' | 'bfloat16';
const DTYPES: readonly DType[] = ['float32', 'bfloat16'];
let models: Record<DType, LanguageModel>;
let prompts: number[][];
let completions: number[][][];

beforeAll(async () => {
  const [float32, bfloat16] = await Promise.all(
    DTYPES.map((dtype) => loadModel('smollm2-135m-instruct', { dtype })),
  );
  models = { float32: float32!, bfloat16: bfloat16! };
  prompts = await Promise.all(
    builtinDemonstrations({ seed: 5, count: 6 }).map(({ prompt }) =>
      models.bfloat16.encodePrompt(prompt),
    ),
  );
  completions = prompts.map(() => []);
  const request = {
    prompts: prompts.map((tokens, i) => ({ tokens, key: BigInt(i), samples: 4 })),
    temperature: 1,
    topP: 1,
    maxNewTokens: 32,
    stopIds: models.bfloat16.stopIds,
    seed: 1,
  };
  for await (const { promptIndex, tokens } of models.bfloat16.model.generate(request))
    completions[promptIndex]!.push([...tokens]);
});

afterAll(() => Promise.all(Object.values(models).map((language) => language.dispose())));

describe('bf16 beside fp32', () => {
  it('log-probs of sampled tokens: small errors, and none that lean to one side', async () => {
    const [exact, rounded] = await inBoth(
      async ({ model }) =>
        (
          await model.score({
            groups: prompts.map((prompt, i) => ({ prompt, completions: completions[i]! })),
          })
        ).tokenLogprobs,
    );
    const errors = Float64Array.from(rounded, (logprob, i) => logprob - exact[i]!);
    const sizes = errors.map(Math.abs).sort();
    const at = (share: number) => sizes[Math.floor(share * (sizes.length - 1))]!;
    report('log-prob error', {
      tokens: sizes.length,
      mean: mean(sizes),
      bias: mean(errors),
      p99: at(0.99),
      max: at(1),
    });
    expect(mean(sizes)).toBeLessThan(BOUND.logprobMean);
    expect(Math.abs(mean(errors))).toBeLessThan(BOUND.logprobBias);
    expect(at(0.99)).toBeLessThan(BOUND.logprob99);
  });

  it('the distributions that are sampled from: their KL divergence', async () => {
    const [exact, rounded] = await inBoth(async ({ model }) =>
      Promise.all(
        prompts
          .slice(0, 2)
          .map(async (prompt, i) =>
            logSoftmaxRows(
              await model.logits([...prompt, ...completions[i]![0]!]),
              model.config.vocabSize,
            ),
          ),
      ),
    );
    const kl = exact
      .flatMap((rows, i) => rows.map((p, row) => divergence(p, rounded[i]![row]!)))
      .sort((a, b) => a - b);
    report('KL(fp32 ‖ bf16), nats a token', {
      positions: kl.length,
      mean: mean(kl),
      p99: kl[Math.floor(0.99 * (kl.length - 1))]!,
    });
    expect(mean(kl)).toBeLessThan(BOUND.klMean);
    expect(kl[Math.floor(0.99 * (kl.length - 1))]).toBeLessThan(BOUND.kl99);
  });

  it('20 steps of preference training: the same curve of losses and margins', async () => {
    const batches = await pairBatches();
    const [exact, rounded] = await inBoth(async ({ model }) => {
      const trainer = await model.trainer({
        learningRate: 1e-5,
        schedule: 'constant',
        totalSteps: STEPS,
      });
      const steps: StepMetrics[] = [];
      for (let step = 0; step < STEPS; step++)
        steps.push(await trainer.preferenceStep(batches[step % batches.length]!));
      await trainer.dispose();
      return steps;
    });
    const gap = (value: (step: StepMetrics) => number) =>
      Math.max(...exact.map((step, i) => Math.abs(value(step) - value(rounded[i]!))));
    report(`${STEPS} steps`, {
      first: exact[0]!.loss,
      last: exact[STEPS - 1]!.loss,
      lastBf16: rounded[STEPS - 1]!.loss,
      lossGap: gap((s) => s.loss),
    });
    // there is something to compare
    expect(exact[STEPS - 1]!.loss).toBeLessThan(exact[0]!.loss - 0.1);
    expect(gap((step) => step.loss)).toBeLessThan(BOUND.lossGap);
  });
});

const STEPS = 20;
const BOUND = {
  logprobMean: 0.05,
  logprobBias: 0.01,
  logprob99: 0.3,
  klMean: 0.003,
  kl99: 0.02,
  lossGap: 0.08,
};

/**
 * Two short pairs per batch, of the ends of prompts and the beginnings of samples, because fp32 is
 * slow. Both dtypes use the references of fp32.
 */
async function pairBatches(): Promise<PairInput[][]> {
  const ends = prompts.map((prompt) => prompt.slice(-12));
  const short = completions.map(
    ([chosen, rejected]) => [chosen!.slice(0, 8), rejected!.slice(0, 8)] as const,
  );
  const { sums } = await models.float32.model.score({
    groups: ends.map((prompt, i) => ({ prompt, completions: [...short[i]!] })),
  });
  const pairs = ends.map((prompt, i) => ({
    prompt,
    chosen: short[i]![0],
    rejected: short[i]![1],
    referenceChosen: sums[2 * i]!,
    referenceRejected: sums[2 * i + 1]!,
    weight: 0.9,
  }));
  return [pairs.slice(0, 2), pairs.slice(2, 4), pairs.slice(4, 6)];
}

async function inBoth<T>(work: (language: LanguageModel) => Promise<T>): Promise<[T, T]> {
  return [await work(models.float32), await work(models.bfloat16)];
}

function logSoftmaxRows(logits: Float32Array, vocab: number): Float64Array[] {
  return Array.from({ length: logits.length / vocab }, (_, row) => {
    const values = Float64Array.from(logits.subarray(row * vocab, (row + 1) * vocab));
    const max = values.reduce((a, b) => Math.max(a, b));
    const norm = max + Math.log(values.reduce((sum, value) => sum + Math.exp(value - max), 0));
    return values.map((value) => value - norm);
  });
}

const divergence = (p: Float64Array, q: Float64Array): number =>
  p.reduce((sum, logp, i) => sum + Math.exp(logp) * (logp - q[i]!), 0);
const mean = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
const report = (what: string, values: Record<string, number>): void => {
  if (process.env.CREAM_SHOW) console.log(what, values);
};
