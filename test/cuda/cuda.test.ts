/**
 * Tests that need a GPU: `device: cuda` compared with the CPU, from a tiny model's logits to whole
 * runs. `npm run test:cuda` runs them; without a GPU they are skipped.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { engineInfo, freeDeviceMemory } from '../../src/engine/addon.js';
import { Model, type DType } from '../../src/engine/model.js';
import { artefacts, cream } from '../support/cli.js';
import { maxDifference } from '../support/max-difference.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const onGpu = engineInfo().cuda.gpus.length > 0 ? describe : describe.skip;
const folder = tinyModel({ numHeads: 2, numKvHeads: 1 });
const TOKENS = [5, 6, 7, 8, 9, 10, 11];
/**
 * Largest difference of a logit or log-prob from the CPU's fp32: rounding in another order, and for
 * bf16 rounding itself, which was 0.054 on an H100.
 */
const TOLERANCE = { float32: 1e-4, bfloat16: 0.1 } as const;
const prompts = Array.from({ length: 5 }, (_, i) => ({
  tokens: TOKENS.slice(0, i + 2),
  samples: 3,
}));
const request = { prompts, maxNewTokens: 40, minNewTokens: 40, seed: 7n, stopIds: [] };
const groups = prompts.map(({ tokens }, i) => ({
  prompt: tokens,
  completions: [
    [3, 4, 20 + i],
    [30, 31],
  ],
}));
const pairs = prompts.map(({ tokens }, i) => ({
  prompt: tokens,
  chosen: [20 + i, 3, 2],
  rejected: [40, 41 + i, 42, 2],
  referenceChosen: -13,
  referenceRejected: -18,
  weight: 0.8,
}));
const trainerParams = { learningRate: 1e-3, totalSteps: 4, schedule: 'constant' as const };

onGpu.each<DType>(['float32', 'bfloat16'])('a model in %s on the GPU', (dtype) => {
  let cpu: Model;
  let gpu: Model;
  beforeAll(async () => {
    [cpu, gpu] = await Promise.all([
      Model.load(folder, { dtype: 'float32' }),
      Model.load(folder, { dtype, device: 'cuda' }),
    ]);
  });
  afterAll(() => Promise.all([cpu.dispose(), gpu.dispose()]));

  it('reports its device', () => {
    expect(gpu.device).toBe('cuda:0');
    expect(freeDeviceMemory(0)).toBeGreaterThan(0);
  });

  it('gives the logits and log-probs of the CPU', async () => {
    expect(maxDifference(await gpu.logits(TOKENS), await cpu.logits(TOKENS))).toBeLessThan(
      TOLERANCE[dtype],
    );
    const [mine, reference] = await Promise.all([gpu.score({ groups }), cpu.score({ groups })]);
    expect(maxDifference(mine.tokenLogprobs, reference.tokenLogprobs)).toBeLessThan(
      TOLERANCE[dtype],
    );
  });

  it('samples what it scores, the same tokens whatever is decoded beside them', async () => {
    const whole = await gpu.generate(request).all();
    const narrow = await gpu.generate({ ...request, maxNumSeqs: 2 }).all();
    const alone = await gpu.generate({ ...request, prompts: [prompts[0]!] }).all();
    const scores = await gpu.score({
      groups: prompts.map((prompt, i) => ({
        prompt: prompt.tokens,
        completions: whole
          .filter(({ promptIndex }) => promptIndex === i)
          .map(({ tokens }) => tokens),
      })),
    });
    expect(
      maxDifference(
        Float32Array.from(whole.flatMap(({ logprobs }) => [...logprobs])),
        scores.tokenLogprobs,
      ),
    ).toBeLessThanOrEqual(dtype === 'float32' ? 1e-4 : 0);
    expect(alone).toHaveLength(3);
    if (dtype === 'float32')
      for (const other of [narrow, alone])
        other.forEach(({ tokens }, i) => expect([...tokens]).toEqual([...whole[i]!.tokens]));
    expect((await gpu.generate(request).all()).map(({ tokens }) => [...tokens])).toEqual(
      whole.map(({ tokens }) => [...tokens]),
    );
  });

  it(
    'takes the steps of the CPU, in all weights and in an adapter, and gives the same bits ' +
      'again',
    async () => {
      for (const adapter of [false, true]) {
        const losses = async (model: Model) => {
          const copy = model.snapshot();
          if (adapter) await copy.addAdapter({ rank: 4, alpha: 8, dropout: 0, seed: 1 });
          const trainer = await copy.trainer(trainerParams);
          const steps: number[] = [];
          for (let i = 0; i < 4; i++) steps.push((await trainer.preferenceStep(pairs)).loss);
          const logits = await copy.logits(TOKENS);
          await copy.dispose();
          return { steps: Float32Array.from(steps), logits };
        };
        const [mine, reference, again] = [await losses(gpu), await losses(cpu), await losses(gpu)];
        expect(maxDifference(mine.steps, reference.steps)).toBeLessThan(TOLERANCE[dtype]);
        expect([...mine.logits]).toEqual([...again.logits]);
      }
    },
  );

  it('is saved and loaded on either side', async () => {
    const saved = join(temporaryFolder(), 'saved');
    await gpu.save(saved, { dtype: 'float32' });
    const back = await Model.load(saved, { dtype: 'float32' });
    expect(maxDifference(await back.logits(TOKENS), await cpu.logits(TOKENS))).toBeLessThan(
      TOLERANCE[dtype],
    );
    await back.dispose();
  });
});

onGpu('a run on the GPU', () => {
  const settings = ['device=cuda', 'iterations=2', 'sft.enabled=true', 'sft.count=4'];

  it.each([[[]], [['lora.enabled=true']]] as [string[]][])(
    'ends with the same bytes as an interrupted one, with %j',
    async (more) => {
      const whole = await tinyRun([...settings, ...more]);
      const stop = new AbortController();
      const directory = join(temporaryFolder(), 'run');
      const stopped = tinyRun([...settings, ...more], {
        directory,
        signal: stop.signal,
        onEvent: (event) => {
          if (event.type === 'stage_finished' && event.stage === 'score') stop.abort();
        },
      });
      await expect(stopped).rejects.toThrow();
      await tinyRun([...settings, ...more], { directory });
      expect(artefacts(directory)).toEqual(artefacts(whole.directory));
    },
  );

  it('works in the commands too, and doctor finds the GPU', async () => {
    const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
    const out = join(temporaryFolder(), 'completions.jsonl');
    expect(
      await cream(
        'generate',
        '--model',
        model,
        '--device',
        'cuda',
        '--count',
        '2',
        '--max-new-tokens',
        '8',
        '--out',
        out,
      ),
    ).toMatchObject({ code: 0 });
    expect((await cream('doctor')).stdout).toMatch(/^ok {2}cuda:0 .* GiB free$/m);
  });
});
