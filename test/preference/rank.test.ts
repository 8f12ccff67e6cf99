import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import {
  agreement,
  CONSISTENCY_METHODS,
  isUndefined,
  kendallTau,
  rescale,
  spearman,
  topOrder,
} from '../../src/preference/consistency.js';
import { bestAndWorst } from '../../src/preference/pair.js';
import { prefer } from '../../src/preference/prefer.js';
import { averageRanks, groupByPrompt, ordinalRanks } from '../../src/preference/rank.js';
import { lossWeights } from '../../src/preference/weight.js';
import { generator, type Generator } from './generator.js';

interface Golden {
  x: number[];
  y: number[];
  kendall: number | null;
  spearman: number | null;
  ranks: number[];
  best: number;
  worst: number;
  top_order: number;
}
interface Weights {
  avg: number;
  dyn: number[];
}
/** Prompts by their index in `cases`; those in `kept` make a pair. */
interface GoldenSet {
  cases: number[];
  kept: number[];
  kendall: Weights;
  spearman: Weights;
  top_order: Weights;
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/rank.json', import.meta.url), 'utf8'),
) as { scipy: string; cases: Golden[]; sets: GoldenSet[] };

describe('scipy', () => {
  it('has cases with and without ties, and constant sides', () => {
    expect(golden.cases.length).toBeGreaterThanOrEqual(300);
    expect(golden.cases.filter((c) => c.kendall === null).length).toBeGreaterThan(5);
    expect(golden.cases.filter((c) => new Set(c.x).size < c.x.length).length).toBeGreaterThan(50);
  });
  it('τ-b is equal, NaN included', () => {
    for (const c of golden.cases) {
      if (c.kendall === null) expect(kendallTau(c.x, c.y)).toBeNaN();
      else expect(Math.abs(kendallTau(c.x, c.y) - c.kendall)).toBeLessThanOrEqual(4e-16);
    }
  });
  it("Spearman's ρ is equal, NaN included", () => {
    for (const c of golden.cases) {
      if (c.spearman === null) expect(spearman(c.x, c.y)).toBeNaN();
      else expect(Math.abs(spearman(c.x, c.y) - c.spearman)).toBeLessThanOrEqual(1e-14);
    }
  });
  it('TopOrder, best and worst are those of argmax and argmin', () => {
    for (const c of golden.cases) {
      expect(topOrder(c.x, c.y)).toBe(c.top_order);
      const origins = c.x.map(() => ({}));
      const found = bestAndWorst({ reward_current: c.x }, origins);
      expect(found).toEqual({ best: c.best, worst: c.worst });
    }
  });
  it.each(
    CONSISTENCY_METHODS.flatMap((method) =>
      (['avg', 'dyn'] as const).map((weighting) => [method, weighting] as const),
    ),
  )('the weights of sets of prompts are equal: %s × %s', (method, weighting) => {
    expect(golden.sets.length).toBeGreaterThan(50);
    for (const set of golden.sets) {
      const prompts = set.cases.map((i) => ({ id: `p${i}`, ...golden.cases[i]! }));
      const records = prompts.flatMap(({ id, x, y }) =>
        x.map((reward, sample) => ({ id, sample, reward, previous: y[sample]! })),
      );
      const { pairs } = prefer({
        method,
        weighting: { method: weighting },
        rewards: records.map(({ id, sample, reward, previous }) => ({
          prompt_id: id,
          sample,
          reward_current: reward,
          reward_previous: previous,
        })),
        scores: records.map(({ id, sample }) => ({
          prompt_id: id,
          sample,
          tokens: 1,
          logp_current: -1,
          logp_previous: -1,
          logp_base: -1,
        })),
        completions: records.map(({ id, sample }) => ({
          prompt_id: id,
          sample,
          prompt: [],
          completion: `${sample}`,
          prompt_token_ids: [1],
          token_ids: [1],
          logprob: -1,
          finish_reason: 'eos' as const,
        })),
      });
      expect(pairs.map((pair) => pair.prompt_id)).toEqual(set.kept.map((i) => `p${i}`));
      const expected = weighting === 'avg' ? set.kept.map(() => set[method].avg) : set[method].dyn;
      for (const [i, pair] of pairs.entries())
        expect(Math.abs(pair.weight - expected[i]!)).toBeLessThanOrEqual(1e-14);
    }
  });
  it('ordinal ranks are rankdata(−x, "ordinal")', () => {
    for (const c of golden.cases) expect(ordinalRanks(c.x)).toEqual(c.ranks);
  });
});

const MONOTONE: ((v: number) => number)[] = [
  (v) => 2 * v + 7,
  (v) => v ** 3,
  (v) => Math.atan(v),
  (v) => v / 1024,
];

function draw(g: Generator): { x: number[]; y: number[]; order: number[] } {
  const n = 2 + g.integer(7);
  const range = 2 + g.integer(30);
  const list = () => Array.from({ length: n }, () => g.integer(range) - range / 2);
  return { x: list(), y: list(), order: g.permutation(n) };
}

describe.each(CONSISTENCY_METHODS)('properties of %s', (method) => {
  const C = (x: number[], y: number[]) => agreement(x, y, method).consistency;
  const each = (check: (x: number[], y: number[], order: number[]) => void) => {
    const g = generator(7);
    for (let i = 0; i < 400; i++) {
      const { x, y, order } = draw(g);
      check(x, y, order);
    }
  };

  it('lies in [0, 1], is symmetric, and 1 of a list with itself', () =>
    each((x, y) => {
      expect(C(x, y)).toBeGreaterThanOrEqual(0);
      expect(C(x, y)).toBeLessThanOrEqual(1);
      expect(C(x, y)).toBeCloseTo(C(y, x), 14);
      expect(C(x, x)).toBeCloseTo(1, 14);
    }));
  it('does not change under monotone transforms of either reward', () =>
    each((x, y) => {
      for (const f of MONOTONE) expect(C(x.map(f), y)).toBeCloseTo(C(x, y), 14);
    }));
  it('does not change when the records of the samples are shuffled', () =>
    each((x, y, order) => {
      const records = x.map((_, s) => ({
        prompt_id: 'p',
        sample: s,
        reward_current: x[s]!,
        reward_previous: y[s]!,
      }));
      const [a] = groupByPrompt(records);
      const [b] = groupByPrompt(order.map((i) => records[i]!));
      expect(b).toEqual(a);
    }));
});

describe('τ, ρ', () => {
  it('do not change if both lists are permuted alike, and change sign if one is negated', () => {
    const g = generator(11);
    for (let i = 0; i < 400; i++) {
      const { x, y, order } = draw(g);
      for (const correlation of [kendallTau, spearman]) {
        const value = correlation(x, y);
        if (Number.isNaN(value)) continue;
        expect(
          correlation(
            order.map((k) => x[k]!),
            order.map((k) => y[k]!),
          ),
        ).toBeCloseTo(value, 14);
        expect(
          correlation(
            x,
            y.map((v) => -v),
          ),
        ).toBeCloseTo(-value, 14);
      }
    }
  });
  it('are exactly 1 of a list with itself, whatever ties it has', () => {
    const g = generator(12);
    for (let i = 0; i < 400; i++) {
      const { x } = draw(g);
      for (const correlation of [kendallTau, spearman]) {
        const value = correlation(x, x);
        if (!Number.isNaN(value)) expect(value).toBe(1);
      }
    }
    expect(kendallTau([1, 2, 3, 3, 3], [1, 2, 3, 3, 3])).toBe(1);
  });
  it('take infinities as values and NaN as no value', () => {
    expect(kendallTau([-Infinity, 0, Infinity], [1, 2, 3])).toBe(1);
    expect(spearman([-Infinity, 0, Infinity], [3, 2, 1])).toBeCloseTo(-1, 15);
    expect(kendallTau([NaN, 0], [1, 2])).toBeNaN();
    expect(spearman([0, 1], [1, NaN])).toBeNaN();
  });
  it('refuse lists of unequal length', () => {
    expect(() => kendallTau([1, 2], [1])).toThrow('compares 2 rewards with 1');
  });
});

describe('a judge without an order', () => {
  it.each([
    [[1, 1, 1], [2, 2, 2], 1, 1],
    [[1, 1, 1], [1, 2, 3], 0, 0.5],
    [[1, 2, 3], [0, 0, 0], 0, 0.5],
    [[5], [9], 1, 1],
  ])('%j against %j: τ = %d, C = %d', (x, y, tau, c) => {
    expect(agreement(x, y, 'kendall')).toMatchObject({
      kendall_tau: tau,
      spearman: tau,
      consistency: c,
    });
    expect(isUndefined(x, y)).toBe(true);
  });
  it('is not assumed if both lists vary', () =>
    expect(isUndefined([1, 1, 2], [3, 4, 4])).toBe(false));
});

describe('ranks', () => {
  it('1 is best; equal rewards in the order of their samples', () => {
    expect(ordinalRanks([3, 9, 3, -1])).toEqual([2, 1, 3, 4]);
    expect(averageRanks([3, 9, 3, -1])).toEqual([2.5, 4, 2.5, 1]);
    expect(ordinalRanks([])).toEqual([]);
  });
  it('TopOrder looks at the best and the worst, not at the first and last listed', () => {
    // Only the middle differs; the best and the worst agree.
    expect(topOrder([0, 5, 2, -3, 1], [1, 9, 0, -4, 2])).toBe(1);
    // The first and the last listed agree, the best does not.
    expect(topOrder([0, 5, 2, -3, 1], [0, 2, 5, -3, 1])).toBe(0);
    expect(topOrder([1, 2, 3], [2, 1, 3])).toBe(0); // only the best agrees
  });
  it('rescale maps [−1, 1] to [0, 1]', () => expect([-1, 0, 1].map(rescale)).toEqual([0, 0.5, 1]));
});

describe('groupByPrompt', () => {
  const record = (prompt_id: string, sample: number, r = 0) => ({
    prompt_id,
    sample,
    reward_current: r,
    reward_previous: r,
  });
  it('joins interleaved prompts by id', () => {
    expect(groupByPrompt([record('b', 1, 4), record('a', 0, 1), record('b', 0, 3)])).toEqual([
      { prompt_id: 'b', samples: [0, 1], reward_current: [3, 4], reward_previous: [3, 4] },
      { prompt_id: 'a', samples: [0], reward_current: [1], reward_previous: [1] },
    ]);
  });
  it('names the prompt of a repeated sample or a reward that is no number', () => {
    expect(() => groupByPrompt([record('a', 0), record('a', 0)])).toThrow(
      'sample 0 of prompt "a" is listed twice',
    );
    expect(() => groupByPrompt([record('q"', 2, NaN)])).toThrow(
      'sample 2 of prompt "q\\"" has reward_current = NaN',
    );
    expect(() => groupByPrompt([{ ...record('a', 0), reward_previous: -Infinity }])).toThrow(
      'reward_previous = -Infinity',
    );
  });
});

describe('lossWeights', () => {
  it('avg: the mean for all; dyn: each its own; fixed: the given number', () => {
    expect(lossWeights([0.2, 0.4, 0.9], { method: 'avg' })).toEqual([0.5, 0.5, 0.5]);
    expect(lossWeights([0.2, 0.4, 0.9], { method: 'dyn' })).toEqual([0.2, 0.4, 0.9]);
    expect(lossWeights([0.2, 0.4], { method: 'fixed', value: 1 })).toEqual([1, 1]);
  });
  it('accepts one prompt, and none', () => {
    expect(lossWeights([0.7], { method: 'avg' })).toEqual([0.7]);
    expect(lossWeights([], { method: 'avg' })).toEqual([]);
  });
  it.each([-0.1, 1.5, NaN])('refuses a fixed weight of %d', (value) => {
    expect(() => lossWeights([1], { method: 'fixed', value })).toThrow('C lies between 0 and 1');
  });
});
