/** The official code ranks the files that we write: its pairs and its C equal ours. */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { Draw } from '../../src/data/draw.js';
import { officialText, toOfficialDpo, toOfficialRewarding } from '../../src/data/official.js';
import { loadPreferences } from '../../src/data/preferences.js';
import type { CompletionRecord, ScoreRecord } from '../../src/data/records.js';
import { prefer } from '../../src/preference/prefer.js';
import { rewardSet } from '../../src/reward/reward.js';

const at = (name: string) => new URL(`../golden/official/${name}`, import.meta.url).pathname;
const draw = new Draw('official');
// No prompt is skipped: the official code would give every later one another's consistency.
const completions: CompletionRecord[] = ['10', 'x', '2', 'a"b', 'ü\u2028'].flatMap((prompt_id) =>
  [0, 1, 2, 3, 4].map((sample) => ({
    prompt_id,
    sample,
    prompt: [{ role: 'user' as const, content: `Question ${prompt_id}` }],
    completion: `Answer ${sample} 🙂\n`,
    prompt_token_ids: [1],
    token_ids: [sample, 2],
    logprob: -1,
    finish_reason: 'eos' as const,
  })),
);
const logp = () => -draw.int(1, 100_000) / 1024;
const scores: ScoreRecord[] = completions.map(({ prompt_id, sample }) => ({
  prompt_id,
  sample,
  tokens: 2,
  logp_current: logp(),
  logp_previous: logp(),
  logp_base: logp(),
}));

describe('the official code', () => {
  it.each(['current', 'previous'] as const)(
    'was given what is written today: %s.json',
    async (role) => {
      const text = officialText(toOfficialRewarding(scores, completions, role));
      if (process.env['CREAM_WRITE_GOLDEN']) await writeFile(at(`${role}.json`), text);
      expect(await readFile(at(`${role}.json`), 'utf8')).toBe(text);
    },
  );

  it.each(['kendall', 'spearman'] as const)(
    'finds our pairs and our consistency by %s, and its file is read back',
    async (method) => {
      const { pairs } = prefer({
        rewards: rewardSet(scores),
        scores,
        completions,
        method,
        weighting: { method: 'dyn' },
      });
      const theirs = JSON.parse(await readFile(at(`dpo-${method}.json`), 'utf8')) as Record<
        string,
        { consistency: number }
      >;
      const ours = Object.fromEntries(
        toOfficialDpo(pairs.map((pair) => ({ ...pair, id: pair.prompt_id }))),
      ) as typeof theirs;
      expect(Object.keys(theirs).sort()).toEqual(Object.keys(ours).sort());
      for (const [id, { consistency, ...pair }] of Object.entries(ours)) {
        expect(theirs[id]).toMatchObject(pair);
        expect(theirs[id]!.consistency).toBeCloseTo(consistency, 12);
      }
      const { records } = await loadPreferences(at(`dpo-${method}.json`));
      for (const { id, chosen, rejected } of records)
        expect([chosen, rejected]).toEqual(
          pairs
            .filter(({ prompt_id }) => prompt_id === id)
            .map((pair) => [pair.chosen, pair.rejected])[0],
        );
    },
  );
});
