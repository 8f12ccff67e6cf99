/** `cream plan`: its table, and one card in detail. */
import { describe, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cpuBytes } from '../../src/cli/cpu-plan.js';
import { estimateStages } from '../../src/cli/estimate.js';
import { planMemory } from '../../src/engine/plan.js';
import { recipeSchema } from '../../src/run/recipe.js';
import { shapeJson } from '../../src/cli/shapes.js';
import { cream } from '../support/cli.js';
import { temporaryFolder } from '../support/tiny-model.js';

describe('cream plan', () => {
  const lines = (text: string) => text.split('\n').map((line) => line.replace(/ {2,}/g, '  '));

  it('shows Llama shapes on common cards', async () => {
    const table = lines((await cream('plan')).stdout);
    expect(table).toContain(
      '7b full, 24 GiB  21.6 GiB  16.2 GiB, offloading  short of 29.4 GiB  ' +
        'does not fit; LoRA would',
    );
    expect(table).toContain(
      '8b full, 80 GiB  73.2 GiB  50.1 GiB  73.3 GiB  2048 tokens, 8-bit states, ' +
        'split masters, bf16 gradients',
    );
    expect(table).toContain(
      '13b LoRA, 40 GiB  34.7 GiB  31.8 GiB  35.3 GiB  8192 tokens, activation checkpointing',
    );
  });

  it('lists each shape once with --lora, and takes a shape in any case', async () => {
    const { stdout } = await cream('plan', '--lora', '--device-memory', '24', '--json');
    expect((JSON.parse(stdout) as { model: string }[]).map(({ model }) => model)).toEqual([
      '7b LoRA',
      '8b LoRA',
      '13b LoRA',
    ]);
    expect(shapeJson('8B')).toBe(shapeJson('8b'));
    expect(() => shapeJson('constructor')).toThrow("There is no shape 'constructor'");
  });

  it('shows the parts of one model on one card', async () => {
    const parts = lines((await cream('plan', '--shape', '8b', '--device-memory', '80')).stdout);
    for (const part of [
      'master weights  14.96',
      'optimizer states  15.19',
      'gradients  15.94',
      'KV cache  54.44',
    ])
      expect(parts).toContain(part);
  });

  it('plans for several GPUs: memory, traffic and the tokens that hide it', async () => {
    const args = ['plan', '--shape', '8b', '--device-memory', '80', '--gpus', '8', '--nodes', '2'];
    const { stdout } = await cream(...args, '--json');
    const [plan] = JSON.parse(stdout) as {
      stages: { parts: { name: string; bytes: number }[] }[];
      traffic: { gradients: number; weights: number; seconds: number; tokens: number };
    }[];
    const parts = Object.fromEntries(plan!.stages[2]!.parts.map((p) => [p.name, p.bytes]));
    const parameters = parts['weights']! / 2;
    expect(parts['master weights']! / parameters).toBeCloseTo(4 / 16, 3);
    expect(parts['optimizer states']! / parameters).toBeCloseTo(8 / 16, 3);
    expect(parts['gradients']! / parameters).toBeCloseTo(4 / 16, 3);
    // The head alone as it is sent with its shard, and one layer as it is computed.
    const [head, layer] = [128256 * 4096, 4096 * (4096 * 2 + 1024 * 2 + 14336 * 3 + 2)];
    expect(parts['exchange']).toBe(4 * layer + 4 * head + (4 * head) / 16);
    expect(plan!.traffic.gradients).toBeCloseTo((4 * parameters * 15) / 16, -3);
    expect(plan!.traffic.weights).toBeCloseTo((2 * parameters * 15) / 16, -3);
    expect(plan!.traffic.seconds).toBeCloseTo((6 * parameters * 15) / 16 / 320e9, 6);
    const text = (await cream(...args)).stdout;
    expect(text).toContain(
      'training on 16 GPUs sends 30.1 GB of gradients per GPU and micro-batch, hidden by the ' +
        'backward pass from 1,276 tokens on, and 15.1 GB of weights per step',
    );
    const wrong = await cream('plan', '--gpus', 'two');
    expect(wrong.stderr).toContain("--gpus must be a whole number from 1 to 100000, got 'two'.");
  });

  it('shards the weights where the recipe says so, or where a training fits only so', async () => {
    const args = ['plan', '--shape', '8b', '--gpus', '8', '--device-memory'];
    interface Planned {
      stages: { shard: string; parts: { name: string; bytes: number }[]; shortBytes: number }[];
      traffic: { gradients: number; weights: number };
    }
    const planned = async (...more: string[]) => {
      const { stdout } = await cream(...args, ...more, '--json');
      const { stages, traffic } = (JSON.parse(stdout) as Planned[])[0]!;
      const [sample, , train] = stages as [Planned['stages'][0], unknown, Planned['stages'][0]];
      const part = (name: string) => train.parts.find((p) => p.name === name)?.bytes;
      return { train, part, traffic, parameters: sample.parts[0]!.bytes / 2 };
    };
    expect((await planned('80')).train.shard).toBe('optimizer');
    const small = await planned('32');
    expect(small.train).toMatchObject({ shard: 'weights', shortBytes: 0 });
    const { part, parameters, traffic } = small;
    expect(part('weights')).toBe((2 * parameters) / 8);
    // One layer, and the embedding or the head beside it.
    const [head, layer] = [128256 * 4096, 4096 * (4096 * 2 + 1024 * 2 + 14336 * 3 + 2)];
    expect(part('gathered weights')).toBe(2 * (layer + head));
    expect(traffic.weights).toBeCloseTo((2 * 2 * parameters * 7) / 8, -3);
    const text = (await cream(...args, '32')).stdout;
    expect(text).toContain('sharded weights');
    expect(text).toContain(
      'training on 8 GPUs sends 28.1 GB of gradients and 28.1 GB of weights per GPU and ' +
        'micro-batch, hidden by both passes from 1,588 tokens on: ',
    );
    const recipe = join(temporaryFolder('cream-plan-'), 'recipe.yaml');
    writeFileSync(recipe, 'train: {shard: weights}\n');
    const given = await cream('plan', recipe, ...args.slice(1), '80', '--json');
    expect((JSON.parse(given.stdout) as Planned[])[0]!.stages[2]!.shard).toBe('weights');
  });

  it.each([
    ['--gpus', '0x10', 'a whole number from 1 to 100000'],
    ['--gpus', '1e3', 'a whole number from 1 to 100000'],
    ['--gpus', '', 'a whole number from 1 to 100000'],
    ['--nodes', '1.5', 'a whole number from 1 to 100000'],
    ['--nodes', '0', 'a whole number from 1 to 100000'],
    ['--device-memory', 'Infinity', 'a number of GiB from 1 to 100000'],
    ['--device-memory', '1e30', 'a number of GiB from 1 to 100000'],
    ['--device-memory', '0x50', 'a number of GiB from 1 to 100000'],
    ['--device-memory', '0.5', 'a number of GiB from 1 to 100000'],
    ['--device-memory', '-8', 'a number of GiB from 1 to 100000'],
  ])('refuses %s %j', async (flag, value, wanted) => {
    const { code, stderr } = await cream('plan', '--shape', '8b', `${flag}=${value}`);
    expect({ code, stderr: stderr.trim() }).toEqual({
      code: 2,
      stderr: `cream: ${flag} must be ${wanted}, got '${value}'.`,
    });
  });

  it('lets models take turns in scoring where they do not fit together', () => {
    const scoring = (gib: number, otherModels: number) =>
      planMemory({
        configJson: shapeJson('8b'),
        source: '8b',
        stage: 'score',
        dtype: 'bfloat16',
        deviceBytes: gib * 2 ** 30,
        otherModels,
        promptTokens: 8,
        newTokens: 8,
        samples: 2,
      });
    const weights = ({ parts }: ReturnType<typeof scoring>) =>
      parts.filter(({ name }) => /weights|models/.test(name)).map(({ name }) => name);
    expect(scoring(79, 2)).toMatchObject({ offload: false, shortBytes: 0 });
    expect(weights(scoring(79, 2))).toEqual(['weights', 'other models']);
    expect(scoring(23, 2)).toMatchObject({ offload: true, shortBytes: 0 });
    expect(weights(scoring(23, 2))).toEqual(['weights']);
    expect(scoring(23, 0).offload).toBe(false);
    expect(scoring(8, 2).shortBytes).toBeGreaterThan(0);
  });

  it('refuses a file that is no config, by its name', () => {
    const request = {
      source: 'mine/config.json',
      stage: 'train',
      dtype: 'bfloat16',
      deviceBytes: 1e9,
      otherModels: 0,
      promptTokens: 8,
      newTokens: 8,
      samples: 2,
    } as const;
    expect(() => planMemory({ ...request, configJson: '{}' })).toThrow('mine/config.json');
    expect(planMemory({ ...request, configJson: shapeJson('7b') }).shortBytes).toBeGreaterThan(0);
  });

  it('counts on the CPU the packed weights, freed memory that is kept, and the process', () => {
    const parts = [
      { name: 'weights', bytes: 1600, gpuOnly: false },
      { name: 'other models', bytes: 3200, gpuOnly: false },
      { name: 'activations', bytes: 800, gpuOnly: false },
      { name: 'reserve', bytes: 9e9, gpuOnly: true },
    ];
    const process = 2 ** 28;
    expect(cpuBytes(parts, false, 0)).toBe((5600 * 17) / 16 + process);
    expect(cpuBytes(parts, true, 160)).toBe(((5600 + 4800 + 160) * 17) / 16 + process);
  });

  it("counts kto's mismatched completions: once for the reference, once per epoch", () => {
    const tokens = (loss: 'dpo' | 'kto', stage: string) =>
      estimateStages(
        recipeSchema.parse({ iterations: 2, train: { loss, epochs: 3 } }),
        { sample: 1, score: 1 },
        { prompts: 10, promptTokens: 64 },
      ).find((line) => line.stage === stage)!.tokens;
    expect(tokens('kto', 'train')).toBe(tokens('dpo', 'train'));
    const pass = tokens('dpo', 'train') / 3;
    expect(tokens('kto', 'score') - tokens('dpo', 'score')).toBe(4 * pass);
  });
});
