/**
 * The rules of Temporal Self-Rewarding (arXiv 2508.06026): which model's completions are chosen and
 * rejected, and from which model training starts. An interrupted run gives the same files.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CompletionRecord, PairRecord, ScoreRecord } from '../../src/data/records.js';
import { Model } from '../../src/engine/model.js';
import { bestAndWorst } from '../../src/preference/pair.js';
import { readRun } from '../../src/report/metrics.js';
import type { RunEvent } from '../../src/run/events.js';
import { artefacts, cream } from '../support/cli.js';
import { tinyRun, type Ran } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const SETTINGS = [
  'dtype=float32',
  'iterations=2',
  'sft.enabled=true',
  'sft.count=4',
  'sft.batch_size=2',
  'sft.learning_rate=1.0e-3',
  'rank.weighting=fixed',
  'temporal.anchored_rejection=true',
  'temporal.future_chosen=true',
];
let ran: Ran;
beforeAll(async () => {
  ran = await tinyRun(SETTINGS);
});

const key = ({ prompt_id, sample }: { prompt_id: string; sample: number }) =>
  `${prompt_id} ${sample}`;
/** The implicit reward of θ_2 (θ_2 ≠ θ_0) by completion. */
function rewards(...folders: string[]): Map<string, number> {
  return new Map(
    folders.flatMap((folder) =>
      ran
        .records<ScoreRecord>(`iteration-2/${folder}scores.jsonl`)
        .map((s): [string, number] => [key(s), s.logp_current - s.logp_base]),
    ),
  );
}
const ids = () => [
  ...new Set(ran.records<PairRecord>('iteration-2/pairs.jsonl').map((p) => p.prompt_id)),
];
const rewardsOf = (all: Map<string, number>, id: string) =>
  [...all].filter(([name]) => name.startsWith(`${id} `)).map(([, reward]) => reward);

describe('completions of three models', () => {
  it('are named by their model, and have sample numbers of their own', () => {
    for (const [folder, origin, first] of [
      ['', undefined, 0],
      ['initial/', 'initial', 3],
      ['future/', 'future', 6],
    ] as const)
      for (const t of [1, 2]) {
        const made = ran.records<CompletionRecord>(`iteration-${t}/${folder}completions.jsonl`);
        expect(made).toHaveLength(4 * 3);
        expect(new Set(made.map(({ sampled_by }) => sampled_by))).toEqual(new Set([origin]));
        expect(new Set(made.map(({ sample }) => sample))).toEqual(
          new Set([first, first + 1, first + 2]),
        );
      }
    // In iteration 1 θ_t is the first policy, which samples a second time.
    const texts = (folder: string) =>
      ran
        .records<CompletionRecord>(`iteration-1/${folder}completions.jsonl`)
        .map(({ completion }) => completion);
    expect(texts('initial/')).not.toEqual(texts(''));
  });

  it('come from θ_1 in every iteration where they are anchored', async () => {
    const first = await Model.load(join(ran.directory, 'sft/checkpoint'), { dtype: 'float32' });
    const made = ran.records<CompletionRecord>('iteration-2/initial/completions.jsonl');
    const { sums } = await first.score({
      groups: made.map((c) => ({ prompt: c.prompt_token_ids, completions: [c.token_ids] })),
    });
    await first.dispose();
    made.forEach(({ logprob }, i) => expect(logprob).toBeCloseTo(sums[i]!, 3));
  });
});

describe('pairs', () => {
  it('of the future model: best of θ_t, worst of θ_t and θ_1', () => {
    const own = rewards('');
    const both = rewards('', 'initial/');
    const pairs = ran.records<PairRecord>('iteration-2/future/pairs.jsonl');
    expect(pairs.length).toBeGreaterThan(0);
    for (const { prompt_id: id, reward_chosen, reward_rejected, weight } of pairs) {
      expect(reward_chosen).toBe(Math.max(...rewardsOf(own, id)));
      expect(reward_rejected).toBe(Math.min(...rewardsOf(both, id)));
      expect(weight).toBe(1);
    }
  });

  it('of θ_{t+1}: best of θ_t and θ_f, the same rejected completion', () => {
    const chosenFrom = rewards('', 'future/');
    const rejectedFrom = rewards('', 'initial/');
    const pairs = ran.records<PairRecord>('iteration-2/pairs.jsonl');
    for (const id of ids()) {
      const pair = pairs.find(({ prompt_id }) => prompt_id === id)!;
      expect(pair.reward_chosen).toBe(Math.max(...rewardsOf(chosenFrom, id)));
      expect(pair.reward_rejected).toBe(Math.min(...rewardsOf(rejectedFrom, id)));
      expect([3, 4, 5]).not.toContain(pair.chosen_sample);
      expect(pair.rejected_sample).toBeLessThan(6);
    }
    const before = new Map(
      ran
        .records<PairRecord>('iteration-2/future/pairs.jsonl')
        .map((pair) => [pair.prompt_id, pair.rejected_sample]),
    );
    for (const { prompt_id, rejected_sample } of pairs)
      if (before.has(prompt_id)) expect(rejected_sample).toBe(before.get(prompt_id));
  });

  it('prefer θ_t’s completion where rewards are equal', () => {
    const origin = [{}, { sampled_by: 'initial' as const }, { sampled_by: 'future' as const }];
    expect(bestAndWorst({ reward_current: [2, 2, 2] }, origin)).toEqual({ best: 0, worst: 0 });
    expect(bestAndWorst({ reward_current: [2, 9, 1] }, origin)).toEqual({ best: 0, worst: 0 });
    expect(bestAndWorst({ reward_current: [2, 1, 3] }, origin)).toEqual({ best: 2, worst: 1 });
  });
});

describe('models', () => {
  it('θ_f and θ_{t+1} both start from θ_t: their first margins are 0', () => {
    for (const t of [1, 2])
      for (const folder of ['', 'future/']) {
        const [first] = ran.records<Record<string, number>>(`iteration-${t}/${folder}steps.jsonl`);
        expect(Math.abs(first!['rewards/margins']!)).toBeLessThan(1e-3);
      }
  });
  it('θ_f is removed and the run is whole', async () => {
    for (const t of [1, 2])
      expect(existsSync(join(ran.directory, `iteration-${t}/future/checkpoint`))).toBe(false);
    expect(await cream('verify', ran.directory)).toMatchObject({ code: 0 });
  });
  it('have their completions in the report', () => {
    expect(ran.events.filter(({ type }) => type === 'warning')).toEqual([]);
    const [, second] = readRun(ran.directory).phases.filter(({ ranking }) => ranking !== null);
    const shown = second!.ranking!.examples.flatMap(({ samples }) => samples);
    expect(new Set(shown.map(({ sample }) => sample))).toEqual(
      new Set([0, 1, 2, 3, 4, 5, 6, 7, 8]),
    );
  });
  it('its steps are not among the run’s metrics', () => {
    const steps = ran
      .records<{ stage: string; iteration: number; stage_step?: number }>('metrics.jsonl')
      .filter((row) => row.iteration === 2 && row.stage === 'train');
    expect(steps).toHaveLength(ran.records('iteration-2/steps.jsonl').length);
  });
});

it.each([
  ['sample', 2],
  ['train', 1],
  ['sample', 3],
])('a run that is stopped after its %s number %i makes the same', async (stage, number) => {
  const directory = join(temporaryFolder('cream-temporal-'), 'run');
  const stop = new AbortController();
  let seen = 0;
  const onEvent = (event: RunEvent) => {
    if (event.type === 'stage_finished' && event.stage === stage && event.iteration === 1) {
      if (++seen === number) stop.abort();
    }
  };
  await expect(
    tinyRun(SETTINGS, { directory, signal: stop.signal, onEvent }),
  ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  await tinyRun(SETTINGS, { directory });
  expect(artefacts(directory)).toEqual(artefacts(ran.directory));
});
