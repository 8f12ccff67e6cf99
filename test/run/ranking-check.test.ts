/** Rewards of given pairs: models that score the same pairs for several rewards run once. */
import { expect, it, jest } from '@jest/globals';
import type { PreferenceRecord } from '../../src/data/preferences.js';
import { rankingAccuracy } from '../../src/evaluate/ranking.js';
import { loadModel } from '../../src/lm/language-model.js';
import {
  rankingWarning,
  measurePairs,
  ratePreferences,
  rewardsOfPairs,
  ScoredPairs,
} from '../../src/run/ranking-check.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { tinyModel } from '../support/tiny-model.js';

const hooks = { progress: () => {}, signal: new AbortController().signal };
const preferences = (...words: string[]): PreferenceRecord[] =>
  words.map((word, i) => ({
    id: `p${i}`,
    prompt: [{ role: 'user', content: 'which?' }],
    chosen: [{ role: 'assistant', content: word }],
    rejected: [{ role: 'assistant', content: `not ${word}` }],
  }));
const SETTINGS = [
  '{source: implicit}',
  '{source: implicit, length: mean}',
  '{source: implicit, length: controlled}',
  '{source: likelihood}',
].map((reward) => parseRecipe(`reward: ${reward}`, 'recipe.yaml'));

it('scores pairs once for all rewards, with the results of scoring them for each', async () => {
  const options = { dtype: 'float32' } as const;
  const base = await loadModel(tinyModel({ tokenizer: true, seed: 1 }), options);
  const policy = await loadModel(tinyModel({ tokenizer: true, seed: 2 }), options);
  const runs = [base, policy].map(({ model }) => jest.spyOn(model, 'score'));
  const rankers = { policy, base: base.model };
  const some = preferences('one', 'two', 'three');
  const each = [];
  for (const settings of SETTINGS) each.push(await ratePreferences(some, rankers, settings, hooks));
  expect(runs.map(({ mock }) => mock.calls.length)).toEqual([4, 4]);

  const scored = new ScoredPairs();
  const known = { ...rankers, scored };
  const [settings] = SETTINGS;
  const sources = SETTINGS.map(({ reward }) => reward.source);
  const measured = await measurePairs(some, known, sources, settings!, hooks);
  expect(SETTINGS.map(({ reward }) => rewardsOfPairs(measured, reward))).toEqual(each);
  expect(runs.map(({ mock }) => mock.calls.length)).toEqual([5, 5]);
  // Another policy of the same tokens: θ_0 has scored them.
  const again = { ...known, policy: base };
  await measurePairs(some, again, sources, settings!, hooks);
  expect(runs.map(({ mock }) => mock.calls.length)).toEqual([5, 5]);
  // In parts, as they are saved.
  const parts = [some.slice(0, 1), some.slice(1)];
  const ofParts = [];
  for (const part of parts)
    ofParts.push(...(await measurePairs(part, rankers, sources, settings!, hooks)));
  expect(ofParts).toEqual(measured);

  const others = preferences('one', 'two', 'four');
  expect(await ratePreferences(others, known, settings!, hooks)).toEqual(
    await ratePreferences(others, rankers, settings!, hooks),
  );
  await base.dispose();
  await policy.dispose();
});

it.each([
  [50, 100, undefined],
  [45, 100, 'which is no better than chance (50 %)'],
  [30, 100, 'which is below chance (50 %)'],
  [80, 100, undefined],
])('%i of %i pairs right: %s', (right, pairs, expected) => {
  const rated = Array.from({ length: pairs }, (_, i) => ({
    chosen: { tokens: 9, reward: i < right ? 1 : -1 },
    rejected: { tokens: 1, reward: 0 },
  }));
  const warning = rankingWarning(1, rankingAccuracy(rated, 0.1));
  if (expected === undefined) expect(warning).toBeUndefined();
  else expect(warning).toContain(`ranks ${right}.0 % (`);
  if (expected !== undefined) expect(warning).toContain(expected);
});

it('a reward that follows length alone is told, and one that does not is not', () => {
  // 80 longer chosen completions and 20 shorter ones.
  const warning = (wins: (longer: boolean, i: number) => boolean) =>
    rankingWarning(
      2,
      rankingAccuracy(
        Array.from({ length: 100 }, (_, i) => ({
          chosen: { tokens: i < 80 ? 9 : 5, reward: wins(i < 80, i) ? 1 : -1 },
          rejected: { tokens: 7, reward: 0 },
        })),
        0.1,
      ),
    );
  const ofLength = warning((longer, i) => (longer ? i >= 4 : i === 99));
  expect(ofLength).toContain('ranks 77.0 % (');
  expect(ofLength).toContain('but 50.0 % (');
  expect(ofLength).toContain('It may follow length alone');
  expect(warning((longer) => longer)).toContain('It may follow length alone');
  expect(warning((longer, i) => (longer ? i >= 8 : i === 99))).toContain(
    'ranks 73.0 % (63.6 – 80.7) of 100 given pairs right, but 47.5 % (42.8 – 57.1) balanced by',
  );
  expect(warning((_, i) => i % 5 > 0)).toBeUndefined();
});
