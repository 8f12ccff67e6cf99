import { describe, expect, it } from '@jest/globals';
import { lossWeights } from '../../src/preference/weight.js';

describe('the floor of the weights', () => {
  it('raises smaller weights of avg and dyn to it, and no others', () => {
    expect(lossWeights([0.25, 0.5, 0.75], { method: 'dyn' }, 0.5)).toEqual([0.5, 0.5, 0.75]);
    expect(lossWeights([0.25, 0.5], { method: 'avg' }, 0.5)).toEqual([0.5, 0.5]);
    expect(lossWeights([0.5, 1], { method: 'avg' }, 0.5)).toEqual([0.75, 0.75]);
    expect(lossWeights([0.25], { method: 'dyn' })).toEqual([0.25]);
  });
});
