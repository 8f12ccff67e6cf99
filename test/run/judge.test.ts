/**
 * LLM-as-a-judge in a whole run: judgements by both models, rankings by their means, training on
 * the pairs; and an interruption while judging.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type {
  JudgementRecord,
  PairRecord,
  RankingRecord,
  ScoreRecord,
} from '../../src/data/records.js';
import { judgeRewards } from '../../src/reward/judge.js';
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
});

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

describe('a run with the model as its judge', () => {
  it.each([1, 2])('ranks iteration %d by mean points of θ_t and θ_{t−1}', (t) => {
    const judgements = whole.records<JudgementRecord>(`iteration-${t}/judgements.jsonl`);
    const rankings = whole.records<RankingRecord>(`iteration-${t}/rankings.jsonl`);
    // θ_0 and θ_1 are the same model here, which is asked once.
    expect(judgements).toHaveLength(6 * 4 * 2 * (t === 1 ? 1 : 2));
    expect(rankings).toHaveLength(6);
    expect(judgements.filter((j) => j.score !== null).length).toBeGreaterThan(
      judgements.length / 2,
    );
    const other = t === 1 ? 'current' : 'previous';
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
            (s) => points(s, 'current').length === 0 || points(s, other).length === 0,
          ),
        ).toBe(true);
        continue;
      }
      expect(reward_current).toEqual(samples.map((s) => mean(points(s, 'current'))));
      expect(reward_previous).toEqual(samples.map((s) => mean(points(s, other))));
    }
    const pairs = whole.records<PairRecord>(`iteration-${t}/pairs.jsonl`);
    expect(pairs.length).toBeGreaterThan(0);
    expect(pairs.every((pair) => pair.reward_chosen > pair.reward_rejected)).toBe(true);
  });

  it('has C = 1 in an iteration with one model, and counts the judgements without a score', () => {
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
  });
});

describe('rewards of one model beside and with each other', () => {
  const scoresOf = (ran: Ran) =>
    new Map(
      ran
        .records<ScoreRecord>('iteration-2/scores.jsonl')
        .map((s) => [`${s.prompt_id} ${s.sample}`, s.logp_current - s.logp_base]),
    );

  it('SCIR: pairs only where judge and implicit reward of θ_t agree', async () => {
    const ran = await tinyRun([
      ...settings,
      'prompts.count=24',
      'reward.judgements=6',
      'reward.against=own_implicit',
      'rank.weighting=fixed',
      'rank.require_agreement=true',
    ]);
    const rankings = ran.records<RankingRecord>('iteration-2/rankings.jsonl');
    const implicit = scoresOf(ran);
    for (const { prompt_id, samples, reward_previous } of rankings)
      expect(reward_previous).toEqual(samples.map((s) => implicit.get(`${prompt_id} ${s}`)));
    const skipped = rankings.filter((r) => r.skipped === 'rankings_disagree');
    const pairs = ran.records<PairRecord>('iteration-2/pairs.jsonl');
    expect(pairs.length).toBeGreaterThan(0);
    for (const { prompt_id, chosen_sample, rejected_sample, reward_chosen, weight } of pairs) {
      expect(implicit.get(`${prompt_id} ${chosen_sample}`)).toBeGreaterThan(
        implicit.get(`${prompt_id} ${rejected_sample}`)!,
      );
      expect(reward_chosen).toBeLessThanOrEqual(5);
      expect(weight).toBe(1);
    }
    for (const { samples, reward_current, prompt_id } of skipped) {
      const best = samples[reward_current.indexOf(Math.max(...reward_current))]!;
      const worst = samples[reward_current.indexOf(Math.min(...reward_current))]!;
      expect(implicit.get(`${prompt_id} ${best}`)).toBeLessThanOrEqual(
        implicit.get(`${prompt_id} ${worst}`)!,
      );
    }
  });

  it('both together: z-scores of points and of log-ratios, added', async () => {
    const ran = await tinyRun([...settings, 'reward.source=judge_implicit']);
    const implicit = scoresOf(ran);
    const judged = judgeRewards(ran.records<JudgementRecord>('iteration-2/judgements.jsonl'));
    const points = new Map(
      judged.rewards.map((r) => [`${r.prompt_id} ${r.sample}`, r.reward_current]),
    );
    const z = (values: number[]) => {
      const spread = Math.sqrt(mean(values.map((v) => (v - mean(values)) ** 2)));
      return values.map((v) => (spread === 0 ? 0 : (v - mean(values)) / spread));
    };
    const ranked = ran
      .records<RankingRecord>('iteration-2/rankings.jsonl')
      .filter(({ samples }) => samples.length > 0);
    expect(ranked.length).toBeGreaterThan(0);
    for (const { prompt_id, samples, reward_current } of ranked) {
      const of = (values: Map<string, number>) =>
        z(samples.map((sample) => values.get(`${prompt_id} ${sample}`)!));
      const expected = of(points).map((value, i) => value + of(implicit)[i]!);
      reward_current.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 9));
    }
  });
});
