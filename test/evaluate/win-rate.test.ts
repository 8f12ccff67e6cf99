/** Win rates against scikit-learn (scripts/golden/win_rate.py), and the judge of pairs. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { wilson } from '../../src/evaluate/intervals.js';
import { judgePairs, pairPrompt, type AnswerPair } from '../../src/evaluate/pairwise.js';
import { Draw } from '../../src/data/draw.js';
import { controlledRate, fitLogistic, winRate } from '../../src/evaluate/win-rate.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { tinyModel } from '../support/tiny-model.js';

interface Golden {
  preference: number[];
  before_length: number[];
  after_length: number[];
  theta: number;
  phi: number;
  rate: number;
}
const golden = JSON.parse(
  readFileSync(new URL('../golden/win-rate.json', import.meta.url), 'utf8'),
) as Golden[];
const deltas = ({ before_length, after_length }: Golden) =>
  after_length.map((length, i) => length - before_length[i]!);
const preferences = (of: Golden) =>
  of.preference.map((preference, i) => ({
    preference,
    before_length: of.before_length[i]!,
    after_length: of.after_length[i]!,
  }));

describe('the length-controlled win rate', () => {
  it.each([0, 1, 2, 3])('is scikit-learn’s regression at equal length (case %i)', (i) => {
    const of = golden[i]!;
    const delta = deltas(of);
    const mean = delta.reduce((sum, d) => sum + d, 0) / delta.length;
    const spread = Math.sqrt(
      delta.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (delta.length - 1),
    );
    const { theta, phi } = fitLogistic(
      of.preference,
      delta.map((d) => Math.tanh(d / spread)),
    );
    expect(theta).toBeCloseTo(of.theta, 4);
    expect(phi).toBeCloseTo(of.phi, 4);
    expect(controlledRate(of.preference, delta)!.rate).toBeCloseTo(of.rate, 5);
  });

  it('has an interval around it, and the same one each time', () => {
    const result = winRate(preferences(golden[1]!));
    expect(result).toEqual(winRate(preferences(golden[1]!)));
    const { raw, controlled } = result;
    const { preference } = golden[1]!;
    expect(raw.rate).toBeCloseTo(preference.reduce((sum, p) => sum + p, 0) / 60, 12);
    for (const rate of [raw, controlled!]) {
      expect(rate.low).toBeLessThan(rate.rate);
      expect(rate.high).toBeGreaterThan(rate.rate);
    }
    const wins = preference.reduce((sum, p) => sum + p, 0);
    expect([raw.low, raw.high]).toEqual([wilson(wins, 60).low, wilson(wins, 60).high]);
  });

  it('is ½ for a judge of length alone, whose preference for length is reported', () => {
    const judged = Array.from({ length: 40 }, (_, i) => {
      const longer = i % 4 !== 0;
      return {
        preference: longer ? 0.9 : 0.1,
        before_length: 100,
        after_length: longer ? 150 : 50,
      };
    });
    const { raw, controlled, longer_preferred } = winRate(judged);
    expect(raw.rate).toBeCloseTo(0.7, 12);
    expect(controlled!.rate).toBeCloseTo(0.5, 3);
    expect(longer_preferred).toEqual({ rate: 1, ...wilson(40, 40) });
  });

  it('is the raw rate if all lengths are equal', () => {
    const judged = [1, 1, 0.5, 0].map((preference) => ({
      preference,
      before_length: 9,
      after_length: 9,
    }));
    const { controlled, longer_preferred } = winRate(judged);
    expect(controlled!.rate).toBeCloseTo(0.625, 3);
    expect(longer_preferred).toBeNull();
  });

  it('is null if all second answers are longer, or all are shorter', () => {
    const judged = (length: (i: number) => number) =>
      winRate(
        [1, 1, 0].map((preference, i) => ({
          preference,
          before_length: 100,
          after_length: length(i),
        })),
      ).controlled;
    expect(judged(() => 112)).toBeNull();
    expect(judged((i) => 150 + i)).toBeNull();
    expect(judged((i) => 50 - i)).toBeNull();
    expect(judged((i) => 100 + i)).not.toBeNull();
  });

  it.each([
    { shift: 0, theta: 0.4 },
    { shift: 1, theta: -0.5 },
    { shift: 2, theta: 0.7 },
  ])('has an interval that contains it: shift $shift, θ $theta', ({ shift, theta }) => {
    const draw = new Draw(`win rate coverage ${shift}`);
    const uniform = () => draw.int(0, 2 ** 32 - 1) / 2 ** 32;
    const truth = 1 / (1 + Math.exp(-theta));
    const estimates = Array.from({ length: 400 }, () => {
      // Sums of twelve uniform numbers are almost normal.
      const delta = Array.from({ length: 100 }, () =>
        Math.round(
          100 * (shift - 6 + Array.from({ length: 12 }, uniform).reduce((sum, u) => sum + u, 0)),
        ),
      );
      const p = delta.map((d) =>
        Number(uniform() < 1 / (1 + Math.exp(-theta - 1.2 * Math.tanh(d / 100)))),
      );
      return controlledRate(p, delta) ?? [];
    }).flat();
    const covered = estimates.filter(({ low, high }) => low <= truth && truth <= high).length;
    expect(covered / estimates.length).toBeGreaterThan(0.9);
  });

  it('has a wide interval where few answers show what equal length gives', () => {
    // The preference has nothing to do with the length, which is almost confounded with the model.
    const delta = Array.from({ length: 100 }, (_, i) => (i === 0 ? -1 : 200 + (i % 40)));
    const { low, high } = controlledRate(
      delta.map(() => 0.8),
      delta,
    )!;
    expect(low).toBeLessThan(0.4);
    expect(high).toBeGreaterThan(0.97);
  });

  it('has an interval with a width where one model always wins', () => {
    const { raw, controlled } = winRate(
      Array.from({ length: 20 }, (_, i) => ({
        preference: 1,
        before_length: 50,
        after_length: 40 + i,
      })),
    );
    expect(raw).toEqual({ rate: 1, ...wilson(20, 20) });
    expect(controlled!.low).toBeLessThan(0.95);
    expect(controlled!.high).toBeGreaterThan(0.999);
  });

  it('stays finite where one model always wins', () => {
    const { rate } = controlledRate([1, 1, 1, 1], [3, -5, 8, 1])!;
    expect(rate).toBeGreaterThan(0.99);
    expect(rate).toBeLessThan(1);
  });

  it('has a wide interval for few prompts', () => {
    const one = { preference: 0.6, before_length: 9, after_length: 9 };
    const { raw, controlled } = winRate([one]);
    expect(raw).toEqual({ rate: 0.6, ...wilson(0.6, 1) });
    expect(controlled!.rate).toBeCloseTo(0.6, 3);
    for (const { low, high } of [raw, controlled!]) {
      expect(low).toBeLessThan(0.15);
      expect(high).toBeGreaterThan(0.9);
    }
    expect(winRate([one, one]).raw).toEqual({ rate: 0.6, ...wilson(1.2, 2) });
  });

  it('refuses an empty list of preferences', () =>
    expect(() => winRate([])).toThrow('no preference'));
});

describe('the judge of pairs', () => {
  const prompt = [{ role: 'user' as const, content: 'Why is the sky blue?' }];
  const pairs: AnswerPair[] = [
    { prompt_id: 'a', prompt, before: 'Because.', after: 'Because of Rayleigh 🐋.' },
    { prompt_id: 'b', prompt, before: 'the same', after: 'the same' },
    { prompt_id: 'c', prompt, before: 'x'.repeat(2000), after: 'y' },
  ];
  const hooks = { signal: new AbortController().signal, progress: () => {} };
  let judge: LanguageModel;
  beforeAll(async () => {
    judge = await loadModel(tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024 }), {
      dtype: 'float32',
    });
  });
  afterAll(() => judge.dispose());

  it('compares the two letters in both positions', async () => {
    const [first, same, long] = await judgePairs(pairs, judge, 'auto', hooks);
    const share = async (a: string, b: string) => {
      const { sums } = await judge.model.score({
        groups: [
          {
            prompt: await judge.encodePrompt(pairPrompt(prompt, a, b)),
            completions: ['A', 'B'].map((letter) => judge.tokenizer.encode(letter)),
          },
        ],
      });
      return Math.exp(sums[1]!) / (Math.exp(sums[0]!) + Math.exp(sums[1]!));
    };
    const { before, after } = pairs[0]!;
    expect(first).toMatchObject({ prompt_id: 'a', before_length: 8, after_length: 22 });
    expect(first!.shown_second).toBeCloseTo(await share(before, after), 6);
    expect(first!.shown_first).toBeCloseTo(1 - (await share(after, before)), 6);
    // Equal answers: what one position gains, the other loses.
    expect((same!.shown_first! + same!.shown_second!) / 2).toBeCloseTo(0.5, 12);
    expect([long!.shown_first, long!.shown_second]).toEqual([null, null]);
  });

  it('shows the conversation and both answers', () => {
    const [message] = pairPrompt(
      [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hi' },
      ],
      ' one ',
      'two',
    );
    expect(message!.content).toContain('system: Be brief.\n\nuser: Hi');
    expect(message!.content).toContain('<answer A>\none\n</answer A>\n\n<answer B>\ntwo\n');
  });
});
