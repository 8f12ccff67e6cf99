/** Models that do not fit a GPU together take turns. */
import { expect, it } from '@jest/globals';
import type { Model } from '../../src/engine/model.js';
import { score, type ScoringModels } from '../../src/run/stages/score.js';

const group = [{ prompt_id: 'a', sample: 0, prompt_token_ids: [1], token_ids: [2, 3] }];
const hooks = { signal: new AbortController().signal, progress: () => {} };
const settings = { max_num_batched_tokens: 64 };

/** Models that write down what is asked of them. */
function scoringModels(log: string[]): ScoringModels {
  const made = (name: string, sum: number): Model =>
    ({
      score: () => {
        log.push(`${name} scores`);
        return Promise.resolve({ sums: Float64Array.of(sum), forwardTokens: 3 });
      },
      offload: () => {
        log.push(`${name} waits`);
        return Promise.resolve();
      },
    }) as unknown as Model;
  return { current: made('current', -1), previous: made('previous', -2), base: made('base', -3) };
}

it('gives the GPU back after each turn, before the next model scores', async () => {
  const log: string[] = [];
  const own = scoringModels(log);
  const known = new Map([[own.current, Float64Array.of(-1)]]);
  const records = await score([group], { ...own, offload: true }, settings, hooks, known);
  expect(log).toEqual(['previous scores', 'previous waits', 'base scores', 'base waits']);
  expect(records).toMatchObject([{ logp_current: -1, logp_previous: -2, logp_base: -3 }]);
});

it('keeps models that fit together', async () => {
  const log: string[] = [];
  await score([group], scoringModels(log), settings, hooks);
  expect(log).toEqual(['current scores', 'previous scores', 'base scores']);
});
