/**
 * LLM-as-a-judge in a whole run: judgements by both models, rankings by their means, training on
 * the pairs; and an interruption while judging.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { JudgementRecord, PairRecord, RankingRecord } from '../../src/data/records.js';
import type { RunEvent } from '../../src/run/events.js';
import { artefacts } from '../support/cli.js';
import { tinyRun, type Ran } from '../support/run.js';
import { talkingModel } from '../support/talking-model.js';
import { temporaryFolder } from '../support/tiny-model.js';

let settings: string[];
let whole: Ran;

beforeAll(async () => {
  settings = [
    `model=${await talkingModel()}`,
    'iterations=2',
    'prompts.count=6',
    'sample.samples=4',
    'sample.temperature=1.2',
    'sample.max_new_tokens=12',
    'score.save_prompts=2',
    'train.learning_rate=1.0e-5',
    'reward.source=judge',
    'reward.judgements=2',
    'reward.temperature=1',
    'reward.max_new_tokens=12',
  ];
  whole = await tinyRun(settings);
}, 120_000);

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

describe('a run with the model as its judge', () => {
  it.each([1, 2])('ranks iteration %d by mean points of θ_t and θ_{t−1}', (t) => {
    const judgements = whole.records<JudgementRecord>(`iteration-${t}/judgements.jsonl`);
    const rankings = whole.records<RankingRecord>(`iteration-${t}/rankings.jsonl`);
    expect(judgements).toHaveLength(6 * 4 * 2 * 2);
    expect(rankings).toHaveLength(6);
    expect(judgements.filter((j) => j.score !== null).length).toBeGreaterThan(
      judgements.length / 2,
    );
    for (const { prompt_id, samples, reward_current, reward_previous, skipped } of rankings) {
      const points = (sample: number, judge: string) =>
        judgements.flatMap((j) =>
          j.prompt_id === prompt_id && j.sample === sample && j.judge === judge && j.score !== null
            ? [j.score]
            : [],
        );
      if (skipped === 'no_judgement') {
        expect(
          [0, 1, 2, 3].some(
            (s) => points(s, 'current').length === 0 || points(s, 'previous').length === 0,
          ),
        ).toBe(true);
        continue;
      }
      expect(reward_current).toEqual(samples.map((s) => mean(points(s, 'current'))));
      expect(reward_previous).toEqual(samples.map((s) => mean(points(s, 'previous'))));
    }
    const pairs = whole.records<PairRecord>(`iteration-${t}/pairs.jsonl`);
    expect(pairs.length).toBeGreaterThan(0);
    expect(pairs.every((pair) => pair.reward_chosen > pair.reward_rejected)).toBe(true);
  });

  it('has C = 1 in an iteration whose two models are one, and counts what could not be read', () => {
    expect(
      whole
        .records<RankingRecord>('iteration-1/rankings.jsonl')
        .every((r) => r.skipped !== undefined || r.consistency === 1),
    ).toBe(true);
    const failed = whole
      .records<JudgementRecord>('iteration-2/judgements.jsonl')
      .filter((j) => j.score === null).length;
    expect(
      whole
        .records<Record<string, unknown>>('metrics.jsonl')
        .find((row) => row.iteration === 2 && row.stage === 'iteration'),
    ).toMatchObject({ 'cream/judgements': 96, 'cream/judgements_without_score': failed });
  });

  it('stopped while it judges goes on at the next block and ends with the same bytes', async () => {
    const directory = join(temporaryFolder(), 'run');
    const stop = new AbortController();
    const onEvent = (event: RunEvent) =>
      event.type === 'stage_progress' &&
      event.stage === 'reward' &&
      event.iteration === 2 &&
      event.done > 8 &&
      stop.abort();
    await expect(
      tinyRun(settings, { directory, signal: stop.signal, onEvent }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const parts = join(directory, 'iteration-2/judgements.jsonl.parts');
    expect(
      existsSync(parts) && readdirSync(parts).filter((name) => name.endsWith('.jsonl')).length,
    ).toBeGreaterThanOrEqual(1);
    await tinyRun(settings, { directory });
    expect(artefacts(directory)).toEqual(artefacts(whole.directory));
  }, 60_000);
});
