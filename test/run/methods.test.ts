/** Each method as a whole run of its recipe on a tiny model: the artefacts that define it. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PairRecord, RankingRecord, ScoreRecord } from '../../src/data/records.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { expectMarginAgainstBase } from '../support/margin.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const FIXED = ['rank.weighting=fixed'];
const SFT = ['sft.enabled=true', 'sft.count=4', 'sft.batch_size=2', 'sft.learning_rate=1.0e-3'];

describe('CREAM', () => {
  it.each(
    ['kendall', 'spearman', 'top_order'].flatMap((method) =>
      ['avg', 'dyn'].map((weighting) => [method, weighting] as const),
    ),
  )('%s × %s', async (method, weighting) => {
    const ran = await tinyRun([
      ...SFT,
      `rank.consistency=${method}`,
      `rank.weighting=${weighting}`,
    ]);
    const rankings = ran.records<RankingRecord>('iteration-1/rankings.jsonl');
    const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
    for (const ranking of rankings) {
      const expected = {
        kendall: (ranking.kendall_tau + 1) / 2,
        spearman: (ranking.spearman + 1) / 2,
        top_order: ranking.top_order,
      }[method]!;
      expect(ranking.consistency).toBeCloseTo(expected, 14);
    }
    const mean = pairs.reduce((sum, pair) => sum + pair.consistency, 0) / pairs.length;
    for (const pair of pairs)
      expect(pair.weight).toBeCloseTo(weighting === 'avg' ? mean : pair.consistency, 14);
  });

  it('without ranking consistency: a fixed C below 1', async () => {
    const ran = await tinyRun([...FIXED, 'rank.fixed_consistency=0.8']);
    expect(
      new Set(ran.records<PairRecord>('iteration-1/pairs.jsonl').map((pair) => pair.weight)),
    ).toEqual(new Set([0.8]));
  });

  it('leaves out prompts below min_consistency, and counts them', async () => {
    const all = await tinyRun([...SFT, 'rank.weighting=dyn']);
    const least = Math.max(
      ...all.records<RankingRecord>('iteration-1/rankings.jsonl').map((r) => r.consistency),
    );
    const ran = await tinyRun([...SFT, 'rank.weighting=dyn', `rank.min_consistency=${least}`]);
    const rankings = ran.records<RankingRecord>('iteration-1/rankings.jsonl');
    expect(rankings.some((r) => r.skipped === 'below_consistency')).toBe(
      rankings.some((r) => r.consistency < least),
    );
    expect(
      ran.records<PairRecord>('iteration-1/pairs.jsonl').every((pair) => pair.consistency >= least),
    ).toBe(true);
  });

  it('ranks by the implicit reward per token if the recipe says so', async () => {
    const ran = await tinyRun([...SFT, 'reward.length=mean']);
    const scores = ran.records<ScoreRecord>('iteration-1/scores.jsonl');
    for (const { prompt_id, samples, reward_current } of ran.records<RankingRecord>(
      'iteration-1/rankings.jsonl',
    )) {
      for (const [i, sample] of samples.entries()) {
        const score = scores.find((s) => s.prompt_id === prompt_id && s.sample === sample)!;
        expect(reward_current[i]).toBeCloseTo(
          (score.logp_current - score.logp_base) / score.tokens,
          12,
        );
      }
    }
  });

  it('by likelihood', async () => {
    const ran = await tinyRun([...SFT, 'reward.source=likelihood']);
    const scores = ran.records<ScoreRecord>('iteration-1/scores.jsonl');
    for (const { prompt_id, reward_current, reward_previous } of ran.records<RankingRecord>(
      'iteration-1/rankings.jsonl',
    )) {
      const of = scores.filter((s) => s.prompt_id === prompt_id);
      expect(reward_current).toEqual(of.map((s) => s.logp_current / s.tokens));
      expect(reward_previous).toEqual(of.map((s) => s.logp_previous / s.tokens));
    }
  });
});

describe('SRLM', () => {
  it('is C = 1', async () => {
    const ran = await tinyRun(FIXED);
    expect(
      new Set(ran.records<PairRecord>('iteration-1/pairs.jsonl').map((pair) => pair.weight)),
    ).toEqual(new Set([1]));
  });
});

describe('SRLM + KL', () => {
  it('reports the divergence from θ_0, which it keeps low', async () => {
    const settings = [
      ...SFT,
      ...FIXED,
      'sft.epochs=4',
      'train.batch_size=8',
      'train.epochs=6',
      'train.schedule=constant',
      'dtype=float32',
    ];
    const [plain, held] = [
      await tinyRun(settings),
      await tinyRun([...settings, 'train.kl_coefficient=1']),
    ];
    const pairs = held.records<PairRecord>('iteration-1/pairs.jsonl');
    const steps = held.records<StepRecord>('iteration-1/steps.jsonl');
    expect(pairs).toEqual(plain.records<PairRecord>('iteration-1/pairs.jsonl'));
    const first =
      pairs.reduce(
        (sum, p) =>
          sum +
          ((p.ref_chosen_logps - p.base_chosen_logps!) ** 2 +
            (p.ref_rejected_logps - p.base_rejected_logps!) ** 2) /
            4,
        0,
      ) / pairs.length;
    expect(steps[0]!.kl! / first).toBeCloseTo(1, 2);
    expect(steps[0]!.loss).toBeCloseTo(Math.LN2 + first, 2);
    expect(steps.at(-1)!.kl!).toBeLessThan(steps[0]!.kl!);
    expect(
      plain.records<StepRecord>('iteration-1/steps.jsonl').every((step) => step.kl === undefined),
    ).toBe(true);
  });
});

describe('training', () => {
  it('with θ_0 as reference starts at the margin that θ_t has over θ_0', async () => {
    const ran = await tinyRun([
      ...SFT,
      'train.reference=base',
      'train.batch_size=8',
      'sft.epochs=4',
    ]);
    const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
    const [first] = ran.records<StepRecord>('iteration-1/steps.jsonl');
    expectMarginAgainstBase(pairs, first!);
    expect(
      ran.events.filter(
        (event) => event.type === 'warning' && event.message.startsWith('At the first step'),
      ),
    ).toEqual([]);
  });
});

describe('DPO on given pairs', () => {
  const rows = [
    { prompt: 'one', chosen: 'yes', rejected: 'no' },
    {
      prompt: [{ role: 'user', content: 'two' }],
      chosen: [{ role: 'assistant', content: 'a' }],
      rejected: [{ role: 'assistant', content: 'bc' }],
      consistency: 0.75,
    },
    { prompt: 'three', chosen: 'same', rejected: 'same' },
    {
      prompt: [{ role: 'user', content: 'four' }],
      chosen: [
        { role: 'assistant', content: 'a' },
        { role: 'user', content: 'b' },
        { role: 'assistant', content: 'c' },
      ],
      rejected: [{ role: 'assistant', content: 'd' }],
    },
  ];
  it('scores them with θ_t, weights them 1 or by their column, and learns', async () => {
    const source = join(temporaryFolder(), 'pairs.jsonl');
    writeFileSync(source, rows.map((row) => JSON.stringify(row)).join('\n'));
    const ran = await tinyRun([
      ...SFT,
      `pairs.source=${source}`,
      'train.epochs=4',
      'train.schedule=constant',
    ]);
    const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
    const steps = ran.records<StepRecord>('iteration-1/steps.jsonl');
    expect(pairs.map((pair) => pair.weight)).toEqual([1, 0.75, 1]);
    expect(
      ran.events.flatMap((event) => (event.type === 'rows_left_out' ? [event.message] : [])),
    ).toEqual([
      expect.stringMatching(
        /pairs\.jsonl: 1 row was left out: 1 cannot be used \(.*line 3: .*equal/,
      ),
    ]);
    expect(Math.abs(steps[0]!['rewards/margins']!)).toBeLessThan(0.02);
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
    // As it is sampled: text and end of turn. Several turns: everything that the template writes
    // behind the prompt.
    const text = (ids: number[]) => String.fromCharCode(...ids.filter((id) => id < 256));
    const ends = (ids: number[]) => ids.filter((id) => id === 258).length;
    expect(pairs.map(({ chosen_token_ids: ids }) => [text(ids), ends(ids), ids.at(-1)])).toEqual([
      ['yes', 1, 258],
      ['a', 1, 258],
      [expect.stringMatching(/^a\nuser\nb\nassistant\nc$/), 3, 258],
    ]);
    expect(pairs.every((pair) => pair.ref_chosen_logps !== pair.base_chosen_logps)).toBe(true);
    for (const name of ['prompts.jsonl', 'completions.jsonl', 'rankings.jsonl'])
      expect(existsSync(join(ran.directory, 'iteration-1', name))).toBe(false);
  });

  it('refuses a pair that does not fit the context, naming it', async () => {
    const source = join(temporaryFolder(), 'pairs.jsonl');
    writeFileSync(
      source,
      JSON.stringify({ id: 'long', prompt: 'x', chosen: 'y'.repeat(2000), rejected: 'z' }),
    );
    await expect(tinyRun([`pairs.source=${source}`])).rejects.toThrow(
      /Pair ".*" \(.*pairs\.jsonl line 1\) is at least \d+ tokens long .* context holds 1024/,
    );
  });
});

describe('SFT alone', () => {
  it('is a run of no iterations: M0 → M1', async () => {
    const ran = await tinyRun([
      ...SFT,
      'iterations=0',
      'evaluate.tasks=[builtin]',
      'evaluate.count=2',
      'evaluate.max_new_tokens=4',
    ]);
    expect(existsSync(join(ran.directory, 'sft/checkpoint/model.safetensors'))).toBe(true);
    expect(existsSync(join(ran.directory, 'iteration-1'))).toBe(false);
    const summary = JSON.parse(ran.text('summary.json')) as { iterations: { phase: unknown }[] };
    expect(summary.iterations.map(({ phase }) => phase)).toEqual([0, 'sft']);
  });

  it(
    'made before: two methods begin from one M1, and make of it what the run that trained it ' +
      'makes',
    async () => {
      const whole = await tinyRun(SFT);
      const checkpoint = join(whole.directory, 'sft/checkpoint');
      const begun = await tinyRun(['sft.enabled=true', `sft.checkpoint=${checkpoint}`]);
      for (const name of [
        'iteration-1/completions.jsonl',
        'iteration-1/scores.jsonl',
        'iteration-1/checkpoint/model.safetensors',
        'sft/checkpoint/model.safetensors',
      ]) {
        expect([name, begun.text(name) === whole.text(name)]).toEqual([name, true]);
      }
      expect(existsSync(join(begun.directory, 'sft/demonstrations.jsonl'))).toBe(false);
      expect(begun.events.find((event) => event.type === 'stage_finished')).toMatchObject({
        stage: 'sft',
        note: `taken from ${checkpoint}`,
      });
    },
  );

  it('refuses an invalid or another model’s checkpoint before it writes anything', async () => {
    const empty = temporaryFolder();
    await expect(tinyRun(['sft.enabled=true', `sft.checkpoint=${empty}`])).rejects.toThrow(
      `sft.checkpoint: ${empty} is not a model folder`,
    );
    const other = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, hiddenSize: 64 });
    const directory = join(temporaryFolder(), 'run');
    await expect(
      tinyRun(['sft.enabled=true', `sft.checkpoint=${other}`], { directory }),
    ).rejects.toThrow(/its hiddenSize is 64, the base model's \d+/);
    expect(existsSync(join(directory, 'sft'))).toBe(false);
  });
});
