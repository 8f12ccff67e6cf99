/** The check of the sampler, and runs in which sampler and scorer disagree. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompletionRecord, SamplerCheckRecord, ScoreRecord } from '../../src/data/records.js';
import { Model, type DType } from '../../src/engine/model.js';
import type { RunEvent } from '../../src/run/events.js';
import {
  checkedGroups,
  checksFit,
  checkSampler,
  samplerHolds,
} from '../../src/run/stages/check-sampler.js';
import { groupCompletions, score } from '../../src/run/stages/score.js';
import { acceptFiles } from '../../src/run/verify.js';
import { PACKED, tinyRun, type Ran } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import {
  SFT,
  SMALL_HEADS,
  hooks,
  warnings,
  scored,
  stopAt,
  scoredAnew,
} from '../support/scored-run.js';

describe('the check of an iteration', () => {
  it('is in its metrics, summary and artefacts', async () => {
    const ran = await tinyRun([...SFT, 'dtype=float32']);
    const checks = ran.records<SamplerCheckRecord>('iteration-1/sampler-check.jsonl');
    const scores = ran.records<ScoreRecord>('iteration-1/scores.jsonl');
    expect(checks.map(({ prompt_id }) => prompt_id)).toEqual([
      scores[0]!.prompt_id,
      scores[6]!.prompt_id,
    ]);
    const difference = Math.max(
      ...checks.flatMap((c) => c.logp_sampled.map((logp, i) => Math.abs(logp - c.logp_scored[i]!))),
    );
    expect(ran.records<Record<string, unknown>>('metrics.jsonl').at(-1)).toMatchObject({
      'cream/sampler_difference': difference,
      'cream/sampler_tau': expect.closeTo(1, 12),
    });
    const summary = JSON.parse(ran.text('summary.json')) as { iterations: object[] };
    expect(summary.iterations.at(-1)).toMatchObject({
      iteration: { sampler_difference: difference, sampler_tau: expect.closeTo(1, 12) },
    });
  });

  it('takes 2 prompts, or 2 % of many, spread over the iteration', () => {
    const of = (n: number) => checkedGroups(Array.from({ length: n }, (_, i) => i));
    expect([1, 2, 5, 48, 149].map(of)).toEqual([[0], [0, 1], [0, 2], [0, 24], [0, 74]]);
    expect(of(4000)).toEqual(Array.from({ length: 80 }, (_, i) => 50 * i));
  });

  const row = (some: Partial<SamplerCheckRecord>): SamplerCheckRecord => ({
    prompt_id: 'a',
    samples: [0, 1],
    tokens: [100, 4],
    logp_sampled: [-9, -3],
    logp_scored: [-9, -3],
    logp_base: [-8, -4],
    kendall_tau: 1,
    ...some,
  });

  it('allows no difference in bfloat16, rounding in float32, and one ranking alone', () => {
    for (const [some, dtype, holds] of [
      [{}, 'bfloat16', true],
      [{ logp_scored: [-9 + 2e-15, -3] }, 'bfloat16', false],
      [{ logp_scored: [-9 + 9e-4, -3 - 1.9e-4] }, 'float32', true],
      [{ logp_scored: [-9, -3.0003] }, 'float32', false],
      [{ kendall_tau: 1 - 1e-15 }, 'bfloat16', true],
      [{ kendall_tau: 0.8 }, 'bfloat16', false],
      [{ kendall_tau: 0.8 }, 'float32', false],
    ] as [Partial<SamplerCheckRecord>, DType, boolean][])
      expect([some, samplerHolds([row({}), row(some)], dtype)]).toEqual([some, holds]);
  });

  it('ranks a response that was drawn twice once, and by what training changed', async () => {
    const model = await Model.load(tinyModel(), { dtype: 'float32' });
    const other = await Model.load(tinyModel({ seed: 2 }), { dtype: 'float32' });
    const twin = model.snapshot();
    try {
      const completion = (
        sample: number,
        token_ids: number[],
        error: number,
      ): CompletionRecord & { error: number } => ({
        prompt_id: 'a',
        sample,
        prompt: [],
        completion: '',
        prompt_token_ids: [5, 6],
        token_ids,
        logprob: 0,
        finish_reason: 'eos',
        error,
      });
      // Two responses and a repeat of one of them, whose sum differs only by rounding.
      const group = [
        completion(0, [7, 8, 9], 0),
        completion(1, [10, 11], 1e-5),
        completion(2, [10, 11], -1e-5),
      ];
      const plain = await score(
        [group],
        { current: model, previous: model, base: model },
        { max_num_batched_tokens: 64 },
        hooks,
      );
      const sampled = [group.map((c, i) => ({ ...c, logprob: plain[i]!.logp_current + c.error }))];
      const tau = async (base: Model) =>
        (
          await checkSampler(
            sampled,
            { current: model, base },
            { max_num_batched_tokens: 64 },
            hooks,
          )
        ).map((check) => check.kendall_tau);
      expect(await tau(other)).toEqual([1]);
      expect(await tau(model)).toEqual([1]);
      // θ_t that training has not moved: its rewards are all 0, and the sampler's would be rounding
      // and nothing else.
      expect(await tau(twin)).toEqual([0]);
    } finally {
      for (const loaded of [twin, model, other]) await loaded.dispose();
    }
  });

  it('is computed again if the completions have changed', async () => {
    const ran = await tinyRun([]);
    const groups = groupCompletions(ran.records<CompletionRecord>('iteration-1/completions.jsonl'));
    const checks = ran.records<SamplerCheckRecord>('iteration-1/sampler-check.jsonl');
    expect(checksFit(checks, groups)).toBe(true);
    expect(checksFit([], groups)).toBe(false);
    expect(
      checksFit(
        checks,
        groups.map((group) => group.map((c) => ({ ...c, logprob: c.logprob - 1 }))),
      ),
    ).toBe(false);
    expect(checksFit(checks, [...groups].reverse())).toBe(false);
  });
});

describe('where sampler and scorer contradict each other', () => {
  /**
   * A run that is stopped after sampling. The recorded log-prob of one checked completion is then
   * raised by 5 nats.
   */
  async function tampered(settings: string[], directory: string): Promise<Ran> {
    await expect(
      tinyRun(settings, {
        directory,
        ...stopAt((event) => event.type === 'stage_finished' && event.stage === 'sample'),
      }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const path = join(directory, 'iteration-1/completions.jsonl');
    const ran = await tinyRun(settings, { directory: temporaryFolder() });
    const [first, ...others] = ran.records<CompletionRecord>('iteration-1/completions.jsonl');
    writeFileSync(
      path,
      [{ ...first!, logprob: first!.logprob + 5 }, ...others]
        .map((c) => `${JSON.stringify(c)}\n`)
        .join(''),
    );
    await acceptFiles(directory); // the record would name the edited file
    return ran;
  }

  it.each(['bfloat16', 'float32'] as const)(
    'θ_t scores everything in %s, with one warning',
    async (dtype) => {
      const directory = join(temporaryFolder(), 'run');
      const settings = [...SFT, `dtype=${dtype}`];
      const whole = await tampered(settings, directory);
      const ran = await tinyRun(settings, { directory });
      expect(warnings(ran.events)).toEqual([
        expect.stringMatching(
          new RegExp(
            "^Iteration 1: the log-probs that came with the completions differ from θ_t's by up " +
              String.raw`to 5\.0 nats per completion \(Kendall's τ ` +
              String.raw`(0\.33|-0\.33|-1\.00|1\.00)\), so θ_t scores them all\.`,
          ),
        ),
      ]);
      expect(ran.records('iteration-1/scores.jsonl')).toEqual(await scoredAnew(ran, 1, dtype));
      if (dtype === 'bfloat16')
        for (const name of ['scores', 'pairs', 'steps'])
          expect(ran.text(`iteration-1/${name}.jsonl`)).toBe(
            whole.text(`iteration-1/${name}.jsonl`),
          );
      expect(
        ran.records<Record<string, unknown>>('metrics.jsonl').at(-1)!['cream/sampler_difference'],
      ).toBeCloseTo(5, 3);
      expect(scored(ran.events)[0]!.tokens).toBeGreaterThan(
        PACKED ? scored(whole.events)[0]!.tokens : 0,
      );
      expect(scored(ran.events)[0]!.note).toBe('');
    },
  );

  it('a resumed run keeps the decision that was made and warns no second time', async () => {
    const directory = join(temporaryFolder(), 'run');
    const settings = [...SFT, 'prompts.count=6'];
    await tampered(settings, directory);
    const first: RunEvent[] = [];
    const { signal, onEvent } = stopAt(
      (event) => event.type === 'stage_progress' && event.stage === 'score' && event.done >= 6,
    );
    await expect(
      tinyRun(settings, {
        directory,
        signal,
        onEvent: (event) => {
          first.push(event);
          onEvent(event);
        },
      }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(warnings(first)).toHaveLength(1);
    expect(existsSync(join(directory, 'iteration-1/scores.jsonl'))).toBe(false);
    const ran = await tinyRun(settings, { directory });
    expect(warnings(ran.events)).toEqual([]);
    expect(ran.records('iteration-1/scores.jsonl')).toEqual(await scoredAnew(ran, 1, 'bfloat16'));
  });

  it('as for heads without a kernel that is the same for one row and for many', async () => {
    const settings = ['sample.max_new_tokens=24', 'rank.weighting=fixed'];
    const ran = await tinyRun([...SFT, `model=${SMALL_HEADS}`, ...settings]);
    expect(warnings(ran.events)).toEqual([expect.stringContaining('This is rounding in bfloat16')]);
    expect(ran.records('iteration-1/scores.jsonl')).toEqual(await scoredAnew(ran, 1, 'bfloat16'));
  });
});
