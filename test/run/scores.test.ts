/** θ_t's scores come from the sampler, and equal those of a scoring pass. */
import { describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CompletionRecord, PairRecord, ScoreRecord } from '../../src/data/records.js';
import { checkedGroups } from '../../src/run/stages/check-sampler.js';
import { groupCompletions } from '../../src/run/stages/score.js';
import { artefacts } from '../support/cli.js';
import { PACKED, tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';
import { SFT, TWO, LORA, warnings, scored, stopAt, scoredAnew } from '../support/scored-run.js';

describe('the scores of a run', () => {
  it.each<[string, string[]]>([
    ['all weights', []],
    ['adapters', LORA],
  ])('are in bfloat16 those of running θ_t, bit for bit: %s', async (_, settings) => {
    const ran = await tinyRun([...TWO, ...settings]);
    expect(
      new Set(
        [1, 2].flatMap((t) =>
          ran
            .records<CompletionRecord>(`iteration-${t}/completions.jsonl`)
            .map((c) => c.finish_reason),
        ),
      ),
    ).toEqual(new Set(['stop', 'eos', 'length']));
    for (const t of [1, 2]) {
      const scores = ran.records<ScoreRecord>(`iteration-${t}/scores.jsonl`);
      const anew = await scoredAnew(ran, t, 'bfloat16');
      expect(scores).toEqual(anew);
      expect(scores.every((s) => s.logp_current !== s.logp_base)).toBe(true);
      for (const { prompt_id, chosen_sample, rejected_sample, ...pair } of ran.records<PairRecord>(
        `iteration-${t}/pairs.jsonl`,
      )) {
        const [chosen, rejected] = [chosen_sample, rejected_sample].map((sample) =>
          anew.find((s) => s.prompt_id === prompt_id && s.sample === sample)!,
        );
        expect(pair).toMatchObject({
          ref_chosen_logps: chosen!.logp_current,
          ref_rejected_logps: rejected!.logp_current,
          base_chosen_logps: chosen!.logp_base,
          base_rejected_logps: rejected!.logp_base,
        });
      }
      if (PACKED)
        expect(scores.map((s) => s.logp_current)).toEqual(
          ran.records<CompletionRecord>(`iteration-${t}/completions.jsonl`).map((c) => c.logprob),
        );
    }
    if (PACKED) expect(warnings(ran.events)).toEqual([]);
  });

  it.each<[string, string[]]>([
    ['all weights', []],
    ['adapters', LORA],
  ])('are in float32 those of running θ_t up to rounding: %s', async (_, settings) => {
    const ran = await tinyRun([...TWO, ...settings, 'dtype=float32']);
    for (const t of [1, 2]) {
      const anew = await scoredAnew(ran, t, 'float32');
      const scores = ran.records<ScoreRecord>(`iteration-${t}/scores.jsonl`);
      scores.forEach((s, i) => {
        expect(Math.abs(s.logp_current - anew[i]!.logp_current)).toBeLessThan(
          1e-4 * Math.sqrt(s.tokens),
        );
        expect({ ...s, logp_current: 0 }).toEqual({ ...anew[i]!, logp_current: 0 });
      });
      expect(scores.map((s) => s.logp_current)).toEqual(
        ran.records<CompletionRecord>(`iteration-${t}/completions.jsonl`).map((c) => c.logprob),
      );
    }
    expect(warnings(ran.events)).toEqual([]);
  });

  it('cost the check alone where θ_t, θ_{t−1} and θ_0 are one model', async () => {
    if (!PACKED) return;
    const ran = await tinyRun(['prompts.count=6', 'sample.save_prompts=6', 'score.save_prompts=3']);
    const completions = ran.records<CompletionRecord>('iteration-1/completions.jsonl');
    for (const s of ran.records<ScoreRecord>('iteration-1/scores.jsonl')) {
      const { logprob } = completions.find(
        (c) => c.prompt_id === s.prompt_id && c.sample === s.sample,
      )!;
      expect([s.logp_current, s.logp_previous, s.logp_base]).toEqual([logprob, logprob, logprob]);
    }
    // A prompt's rows are shared, and the last token of a completion is never read.
    const rows = checkedGroups(groupCompletions(completions)).map(
      (group) =>
        group[0]!.prompt_token_ids.length +
        group.reduce((sum, c) => sum + c.token_ids.length - 1, 0),
    );
    expect(scored(ran.events)).toEqual([
      { tokens: rows.reduce((a, b) => a + b), note: 'θ_t as sampled, checked on 2 prompts' },
    ]);
  });
});

describe('a run that was stopped in scoring', () => {
  it.each([
    ['bfloat16', 1],
    ['bfloat16', 6],
    ['float32', 1],
    ['float32', 6],
  ] as const)('in %s after %d completions ends with the same bytes', async (dtype, done) => {
    const directory = join(temporaryFolder(), 'run');
    const settings = [...SFT, 'prompts.count=6', `dtype=${dtype}`];
    const whole = await tinyRun(settings);
    await expect(
      tinyRun(settings, {
        directory,
        ...stopAt(
          (event) =>
            event.type === 'stage_progress' && event.stage === 'score' && event.done >= done,
        ),
      }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(existsSync(join(directory, 'iteration-1/scores.jsonl'))).toBe(false);
    await tinyRun(settings, { directory });
    expect(artefacts(directory)).toEqual(artefacts(whole.directory));
  });
});
