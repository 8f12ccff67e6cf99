/** `cream plan`: its table, and one card in detail. */
import { describe, expect, it } from '@jest/globals';
import { planMemory } from '../../src/engine/plan.js';
import { shapeJson } from '../../src/cli/shapes.js';
import { cream } from '../support/cli.js';

describe('cream plan', () => {
  it('shows Llama shapes on common cards', async () => {
    const { stdout } = await cream('plan');
    expect(stdout).toMatchSnapshot();
  });

  it('shows the parts of one model on one card', async () => {
    const { stdout } = await cream('plan', '--shape', '8b', '--device-memory', '80');
    expect(stdout).toMatchSnapshot();
  });

  it('refuses a config that is none, by name', () => {
    const request = { source: 'mine/config.json', stage: 'train', dtype: 'bfloat16', deviceBytes: 1e9, otherModels: 0, promptTokens: 8, newTokens: 8, samples: 2 } as const;
    expect(() => planMemory({ ...request, configJson: '{}' })).toThrow('mine/config.json');
    expect(planMemory({ ...request, configJson: shapeJson('7b') }).shortBytes).toBeGreaterThan(0);
  });
});
