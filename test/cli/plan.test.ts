/** `cream plan`: its table, and one card in detail. */
import { describe, expect, it } from '@jest/globals';
import { planMemory } from '../../src/engine/plan.js';
import { shapeJson } from '../../src/cli/shapes.js';
import { cream } from '../support/cli.js';

describe('cream plan', () => {
  const lines = (text: string) => text.split('\n').map((line) => line.replace(/ {2,}/g, '  '));

  it('shows Llama shapes on common cards', async () => {
    const table = lines((await cream('plan')).stdout);
    expect(table).toContain(
      '7b full, 40 GiB  35.6 GiB  39.9 GiB  short of 13.6 GiB  does not fit; LoRA would',
    );
    expect(table).toContain(
      '8b full, 80 GiB  46.0 GiB  50.2 GiB  79.3 GiB  2048 rows, recomputing, 8-bit ' +
        'states, split masters',
    );
    expect(table).toContain(
      '13b LoRA, 40 GiB  40.0 GiB  31.0 GiB  36.3 GiB  8192 rows, recomputing',
    );
  });

  it('shows the parts of one model on one card', async () => {
    const parts = lines((await cream('plan', '--shape', '8b', '--device-memory', '80')).stdout);
    for (const part of [
      'master weights  14.96',
      'optimizer states  15.19',
      'gradients  29.92',
      'KV cache  27.25',
    ])
      expect(parts).toContain(part);
  });

  it('refuses a config that is none, by name', () => {
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
});
