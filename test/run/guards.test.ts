/** The guards, each a recipe key, in whole runs on a tiny model. */
import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  NoiseRecord,
  PairRecord,
  RankingRecord,
  ScoreRecord,
} from '../../src/data/records.js';
import { kendallTau } from '../../src/preference/consistency.js';
import { measureNoise } from '../../src/evaluate/iteration.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { noiseRecords } from '../../src/run/noise.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { tinyRun, type Ran } from '../support/run.js';

const SFT = ['sft.enabled=true', 'sft.count=4', 'sft.batch_size=2', 'sft.learning_rate=1.0e-3'];

describe('guards', () => {
  it('rank.consistency_floor: no pair weighs less, and the reported C stays', async () => {
    const ran = await tinyRun([...SFT, 'rank.weighting=dyn', 'rank.consistency_floor=0.9']);
    for (const { consistency, weight } of ran.records<PairRecord>('iteration-1/pairs.jsonl'))
      expect(weight).toBe(Math.max(0.9, consistency));
    const rankings = ran.records<RankingRecord>('iteration-1/rankings.jsonl');
    expect(rankings.some(({ consistency }) => consistency < 0.9)).toBe(true);
  });

  it('where every weight is ½ an iteration leaves the weights as they are', async () => {
    const even = [...SFT, 'rank.weighting=fixed', 'rank.fixed_consistency=0.5', 'train.epochs=2'];
    const weights = (ran: Ran, folder: string) =>
      readFileSync(join(ran.directory, folder, 'checkpoint/model.safetensors'));
    const steps = (ran: Ran) => ran.records<StepRecord>('iteration-1/steps.jsonl');
    const ran = await tinyRun(even);
    expect(steps(ran)).toHaveLength(1);
    expect(steps(ran)[0]!.loss).toBeCloseTo(Math.log(2), 3);
    expect(weights(ran, 'iteration-1').equals(weights(ran, 'sft'))).toBe(true);
    // The penalty draws θ_t to θ_0, so there is something to learn.
    const drawn = await tinyRun([...even, 'train.kl_coefficient=0.1']);
    expect(steps(drawn).length).toBeGreaterThan(1);
    expect(weights(drawn, 'iteration-1').equals(weights(drawn, 'sft'))).toBe(false);
  });

  it('train.warmup_start: first_step wastes no step', async () => {
    const warm = ['train.warmup_ratio=0.5', 'train.epochs=2', 'train.schedule=constant'];
    const rates = async (settings: string[]) =>
      (await tinyRun([...warm, ...settings]))
        .records<StepRecord>('iteration-1/steps.jsonl')
        .map(({ learning_rate }) => learning_rate / 1e-3);
    const close = (values: number[]) => values.map((value): unknown => expect.closeTo(value, 12));
    expect(await rates([])).toEqual(close([0, 1 / 2, 1, 1]));
    expect(await rates(['train.warmup_start=first_step'])).toEqual(close([1 / 3, 2 / 3, 1, 1]));
  });

  it.each(['sum', 'controlled'])('score.noise_prompts: θ_t against itself, %s', async (length) => {
    const ran = await tinyRun([...SFT, 'score.noise_prompts=3', `reward.length=${length}`]);
    const noise = ran.records<NoiseRecord>('iteration-1/noise.jsonl');
    const rankings = ran.records<RankingRecord>('iteration-1/rankings.jsonl');
    expect(noise).toHaveLength(3);
    for (const { prompt_id, samples, reward, reward_float32, consistency } of noise) {
      const ranking = rankings.find((record) => record.prompt_id === prompt_id)!;
      expect(samples).toEqual(ranking.samples);
      expect(reward).toEqual(ranking.reward_current);
      expect(reward_float32).not.toEqual(reward);
      const tau = kendallTau(reward, reward_float32);
      expect(consistency).toBeCloseTo((tau + 1) / 2, 12);
    }
    const row = ran
      .records<Record<string, number>>('metrics.jsonl')
      .find((candidate) => candidate['cream/noise_rms'] !== undefined)!;
    expect(row['cream/noise_consistency']).toBeCloseTo(measureNoise(noise).noise_consistency!, 14);
    expect(row['cream/noise_rms']!).toBeGreaterThan(0);
  });

  it('says where no prompt has a ranking', async () => {
    const equal = ['sample.top_k=1', 'sample.max_new_tokens=1'];
    // Without a pair the run ends behind this stage.
    await expect(tinyRun([...SFT, ...equal, 'score.noise_prompts=1'])).rejects.toThrow(
      'Iteration 1 has no preference pair',
    );
  });

  it('measures rounding within prompts: a constant error moves no ranking', () => {
    const score = (sample: number, current: number, base: number): ScoreRecord => ({
      prompt_id: 'p',
      sample,
      tokens: 2,
      logp_current: current,
      logp_previous: base,
      logp_base: base,
    });
    const recipe = parseRecipe('{}', 'defaults');
    const rounded = [score(0, -1, -2), score(1, -3, -7), score(2, -4, -7)];
    const exact = [score(0, -2, -2), score(1, -4, -7), score(2, -2, -7)];
    // Rewards 1, 4, 3 against 0, 3, 5: the differences 1, 1, −2 have the mean 0.
    const noise = noiseRecords(exact, rounded, recipe);
    expect(noise).toEqual([
      expect.objectContaining({ reward: [1, 4, 3], reward_float32: [0, 3, 5] }),
    ]);
    expect(measureNoise(noise).noise_rms).toBeCloseTo(Math.sqrt(2), 14);
    expect(measureNoise(noise).noise_consistency).toBeCloseTo(2 / 3, 14);
  });

  it('measures no rounding where a prompt has no ranking', () => {
    const scores = [0, 1].map((sample) => ({
      prompt_id: 'p',
      sample,
      tokens: 2,
      logp_current: -1,
      logp_previous: -2,
      logp_base: -2,
    }));
    expect(noiseRecords(scores, scores, parseRecipe('{}', 'defaults'))).toEqual([]);
  });

  it.each([
    ['rank.consistency_floor=0.5', 'rank.weighting=fixed', /consistency_floor: has no effect here/],
    ['score.noise_prompts=2', 'dtype=float32', /noise_prompts: has no effect here/],
    ['reward.length=controlled', 'reward.source=judge', /length: has no effect here/],
  ])('%s is refused with %s', (key, other, message) => {
    expect(() => parseRecipe('{}', 'recipe', [key, other])).toThrow(message);
  });
});
