import { describe, expect, it } from '@jest/globals';
import type { CompletionRecord, RewardRecord, ScoreRecord } from '../../src/data/records.js';
import { prefer } from '../../src/preference/prefer.js';
import { generator } from './generator.js';

/** A prompt's completions with the given rewards under both models; base log-prob −10. */
function prompt(
  id: string,
  current: number[],
  previous: number[],
  texts = current.map((_, s) => `${id} answer ${s}`),
) {
  const completions: CompletionRecord[] = texts.map((completion, sample) => ({
    prompt_id: id,
    sample,
    prompt: [{ role: 'user', content: `question ${id}` }],
    completion,
    prompt_token_ids: [1, 2],
    token_ids: [10 + sample, 0],
    logprob: -5,
    finish_reason: 'eos',
  }));
  const scores: ScoreRecord[] = current.map((r, sample) => ({
    prompt_id: id,
    sample,
    tokens: 2,
    logp_current: r - 10,
    logp_previous: previous[sample]! - 10,
    logp_base: -10,
  }));
  const rewards: RewardRecord[] = current.map((r, sample) => ({
    prompt_id: id,
    sample,
    reward_current: r,
    reward_previous: previous[sample]!,
  }));
  return { completions, scores, rewards };
}

function set(...prompts: ReturnType<typeof prompt>[]) {
  return {
    completions: prompts.flatMap((p) => p.completions),
    scores: prompts.flatMap((p) => p.scores),
    rewards: prompts.flatMap((p) => p.rewards),
  };
}

const agree = prompt('agree', [1, 2, 3], [1, 2, 3]); // C = 1
const reversed = prompt('reversed', [1, 2, 3], [3, 2, 1]); // C = 0
const flat = prompt('flat', [2, 2, 2], [1, 2, 3]); // skipped
const mixed = prompt('mixed', [5, 1, 3], [5, 3, 1]); // τ = 1/3, C = 2/3

describe('prefer', () => {
  it('pairs argmax with argmin of the current reward, with reference log-probs of θ_t', () => {
    const { pairs } = prefer(set(mixed));
    expect(pairs).toEqual([
      {
        prompt_id: 'mixed',
        prompt: [{ role: 'user', content: 'question mixed' }],
        chosen: [{ role: 'assistant', content: 'mixed answer 0' }],
        rejected: [{ role: 'assistant', content: 'mixed answer 1' }],
        chosen_sample: 0,
        rejected_sample: 1,
        prompt_token_ids: [1, 2],
        chosen_token_ids: [10, 0],
        rejected_token_ids: [11, 0],
        ref_chosen_logps: -5,
        ref_rejected_logps: -9,
        base_chosen_logps: -10,
        base_rejected_logps: -10,
        reward_chosen: 5,
        reward_rejected: 1,
        consistency: expect.closeTo(2 / 3, 14),
        weight: expect.closeTo(2 / 3, 14),
      },
    ]);
  });

  it("never gives one prompt another's C, wherever a skipped prompt stands", () => {
    const expected = { agree: 1, reversed: 0, mixed: 2 / 3 };
    for (let at = 0; at <= 3; at++) {
      const prompts = [agree, reversed, mixed];
      prompts.splice(at, 0, flat);
      const { rankings, pairs } = prefer({ ...set(...prompts), weighting: { method: 'dyn' } });
      expect(rankings.map((r) => r.prompt_id)).toHaveLength(4);
      expect(rankings.filter((r) => r.skipped).map((r) => [r.prompt_id, r.skipped])).toEqual([
        ['flat', 'all_equal'],
      ]);
      for (const pair of pairs) {
        expect(pair.weight).toBeCloseTo(expected[pair.prompt_id as keyof typeof expected], 14);
        expect(pair.prompt[0]!.content).toBe(`question ${pair.prompt_id}`);
        expect(pair.chosen[0]!.content).toContain(pair.prompt_id);
      }
    }
  });

  it('gives the same pairs when the records of all three files are shuffled', () => {
    const g = generator(3);
    const ordered = prefer({ ...set(agree, reversed, flat, mixed), weighting: { method: 'dyn' } });
    const byId = <T extends { prompt_id: string }>(list: T[]) =>
      [...list].sort((a, b) => a.prompt_id.localeCompare(b.prompt_id));
    for (let i = 0; i < 50; i++) {
      const s = set(agree, reversed, flat, mixed);
      const shuffle = <T>(list: T[]) => g.permutation(list.length).map((k) => list[k]!);
      const shuffled = prefer({
        completions: shuffle(s.completions),
        scores: shuffle(s.scores),
        rewards: shuffle(s.rewards),
        weighting: { method: 'dyn' },
      });
      expect(byId(shuffled.pairs)).toEqual(byId(ordered.pairs));
      expect(byId(shuffled.rankings)).toEqual(byId(ordered.rankings));
    }
  });

  it('avg is the mean over the kept prompts alone', () => {
    const { pairs, summary } = prefer(set(agree, flat, reversed));
    expect(pairs.map((p) => [p.prompt_id, p.consistency, p.weight])).toEqual([
      ['agree', 1, 0.5],
      ['reversed', 0, 0.5],
    ]);
    expect(summary).toEqual({
      prompts: 3,
      pairs: 2,
      skipped: { all_equal: 1 },
      undefined_agreement: 1,
      empty_completions: 0,
      duplicate_completions: 0,
      mean_consistency: 0.5,
      mean_margin: 2,
    });
  });

  it.each([
    ['too_few_completions', prompt('p', [1], [1])],
    ['all_equal', prompt('p', [4, 4], [1, 2])],
    ['identical_pair', prompt('p', [3, 2, 1], [1, 2, 3], ['same', 'other', 'same'])],
    ['below_threshold', prompt('p', [3, 2.9], [1, 2])],
  ] as const)('says why a prompt has no pair: %s', (reason, p) => {
    const { rankings, pairs, summary } = prefer({ ...p, minMargin: 0.5 });
    expect(pairs).toEqual([]);
    expect(rankings).toEqual([expect.objectContaining({ prompt_id: 'p', skipped: reason })]);
    expect(summary).toMatchObject({
      pairs: 0,
      skipped: { [reason]: 1 },
      mean_consistency: 0,
      mean_margin: 0,
    });
  });

  it.each([
    ['a margin', prompt('p', [8 / 3, 5 / 3], [1, 2]), { minMargin: 1 }],
    ['a margin', prompt('p', [1000.3, 1000.1], [1, 2]), { minMargin: 0.2 }],
    ['C', prompt('p', [1, 2, 3, 3, 3], [1, 2, 3, 3, 3]), { minConsistency: 1 }],
    ['C', prompt('p', [1, 2, 3, 4], [1, 2, 4, 3]), { minConsistency: 5 / 6 }],
  ] as const)('%s at its threshold makes a pair, however float64 rounds it', (_, p, threshold) => {
    expect(prefer({ ...p, ...threshold }).pairs).toHaveLength(1);
  });

  it('keeps a pair whose texts repeat elsewhere among the samples', () => {
    expect(prefer(prompt('p', [3, 2, 1], [1, 2, 3], ['same', 'same', 'other'])).pairs).toHaveLength(
      1,
    );
  });

  it('takes one prompt (the official code fails below two) and none', () => {
    expect(prefer(agree).pairs).toHaveLength(1);
    expect(prefer({ rewards: [], scores: [], completions: [] }).rankings).toEqual([]);
  });

  it('writes rankings that JSON can hold', () => {
    const { rankings } = prefer(set(agree, flat, prompt('one', [1], [1])));
    expect(JSON.parse(JSON.stringify(rankings))).toEqual(rankings);
  });

  it('uses the given method', () => {
    const p = prompt('p', [1, 2, 3, 4], [1, 3, 2, 4]);
    expect(prefer({ ...p, method: 'top_order' }).rankings[0]!.consistency).toBe(1);
    expect(prefer({ ...p, method: 'spearman' }).rankings[0]!.consistency).toBeCloseTo(0.9, 14);
    expect(prefer(p).rankings[0]!.consistency).toBeCloseTo(5 / 6, 14);
  });

  it('names the prompt where the files do not fit together', () => {
    const s = set(agree);
    expect(() => prefer({ ...s, completions: s.completions.slice(1) })).toThrow(
      'sample 0 of prompt "agree" has a reward but is missing from the completions',
    );
    expect(() => prefer({ ...s, scores: s.scores.slice(0, 2) })).toThrow(
      'sample 2 of prompt "agree" has a reward but is missing from the scores',
    );
    expect(() => prefer({ ...s, rewards: s.rewards.slice(0, 2) })).toThrow(
      'sample 2 of prompt "agree" is in the completions but has no reward',
    );
    expect(() => prefer({ ...s, completions: [...s.completions, s.completions[0]!] })).toThrow(
      'sample 0 of prompt "agree" is listed twice in the completions',
    );
    expect(() => prefer({ ...s, scores: [...s.scores, s.scores[1]!] })).toThrow(
      'sample 1 of prompt "agree" is listed twice in the scores',
    );
  });
});
