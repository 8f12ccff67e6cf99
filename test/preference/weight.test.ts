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

describe('the controls', () => {
  it('permuted deals the C of dyn to other pairs, the same way for one key', () => {
    const own = Array.from({ length: 40 }, (_, i) => i / 40);
    const dealt = lossWeights(own, { method: 'permuted', key: '7 1' });
    expect(dealt.toSorted((a, b) => a - b)).toEqual(own);
    expect(dealt).not.toEqual(own);
    expect(lossWeights(own, { method: 'permuted', key: '7 1' })).toEqual(dealt);
    expect(lossWeights(own, { method: 'permuted', key: '7 2' })).not.toEqual(dealt);
    expect(Math.min(...lossWeights(own, { method: 'permuted', key: '7 1' }, 0.5))).toBe(0.5);
  });
  it('sign keeps the direction of the mean C and nothing of its size', () => {
    expect(lossWeights([0.2, 0.7], { method: 'sign' })).toEqual([0, 0]);
    expect(lossWeights([0.3, 0.7], { method: 'sign' })).toEqual([1, 1]);
    expect(lossWeights([0.9, 0.2], { method: 'sign' })).toEqual([1, 1]);
  });
});
