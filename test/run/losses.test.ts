/** Every loss in whole runs on a tiny model: its first step's value, and where it is refused. */
import { describe, expect, it } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MismatchedRecord, PairRecord } from '../../src/data/records.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipeWarnings } from '../../src/run/warnings.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { Model } from '../../src/engine/model.js';
import { cream } from '../support/cli.js';
import { tinyRun, TINY, type Ran } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

// One step with all pairs, whose metrics are those of the policy at its reference.
const ONE_STEP = [
  'dtype=float32',
  'sft.enabled=true',
  'sft.count=4',
  'sft.batch_size=2',
  'sft.learning_rate=1.0e-3',
  'rank.weighting=dyn',
  'train.batch_size=64',
];
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const first = (ran: Ran) => ran.records<StepRecord>('iteration-1/steps.jsonl')[0]!;
const pairsOf = (ran: Ran) => ran.records<PairRecord>('iteration-1/pairs.jsonl');
const softplus = (x: number) => Math.log1p(Math.exp(x));

describe('train.loss', () => {
  it('dpo is the default, and the loss of robust with no flipped labels', async () => {
    const dpo = await tinyRun(ONE_STEP);
    const robust = await tinyRun([...ONE_STEP, 'train.loss=robust', 'train.label_smoothing=0']);
    expect(first(dpo).loss).toBeCloseTo(Math.LN2, 4);
    expect(first(robust)).toEqual(first(dpo));
    const smoothed = await tinyRun([...ONE_STEP, 'train.loss=robust']);
    expect(first(smoothed).grad_norm).toBeGreaterThan(first(dpo).grad_norm);
  });

  it('ipo starts at 1/(4β²), whatever C is', async () => {
    const ran = await tinyRun([...ONE_STEP, 'train.loss=ipo', 'train.beta=0.5']);
    expect(first(ran).loss).toBeCloseTo(1, 3);
    expect(first(ran)['rewards/margins']).toBeCloseTo(0, 3);
  });

  it('simpo compares mean log-probs, without a reference and without a warning', async () => {
    const ran = await tinyRun([
      ...ONE_STEP,
      'train.loss=simpo',
      'train.beta=2',
      'train.simpo_gamma=1',
    ]);
    const rewards = pairsOf(ran).map((pair) => ({
      weight: pair.weight,
      chosen: (2 * pair.ref_chosen_logps) / pair.chosen_token_ids.length,
      rejected: (2 * pair.ref_rejected_logps) / pair.rejected_token_ids.length,
    }));
    const margins = rewards.map(({ chosen, rejected }) => chosen - rejected);
    expect(first(ran)['rewards/chosen']).toBeCloseTo(mean(rewards.map((r) => r.chosen)), 3);
    expect(first(ran)['rewards/margins']).toBeCloseTo(mean(margins), 3);
    expect(first(ran).loss).toBeCloseTo(
      mean(
        margins.map((z, i) => {
          const c = rewards[i]!.weight;
          return c * softplus(1 - z) + (1 - c) * softplus(1 + z);
        }),
      ),
      3,
    );
    // SimPO's first margin does not show whether the reference log-probs are of other weights.
    expect(ran.text('events.jsonl')).not.toContain('from other weights');
  });

  it('kto estimates KL on completions of other prompts, scored by the reference', async () => {
    const settings = [...ONE_STEP, 'train.loss=kto', 'train.epochs=3', 'train.schedule=constant'];
    const ran = await tinyRun(settings);
    const pairs = new Map(pairsOf(ran).map((pair) => [pair.prompt_id, pair]));
    const mismatched = ran.records<MismatchedRecord>('iteration-1/mismatched.jsonl');
    expect(mismatched.map(({ prompt_id }) => prompt_id).sort()).toEqual([...pairs.keys()].sort());
    await using reference = await Model.load(`${ran.directory}/sft/checkpoint`, {
      dtype: 'float32',
    });
    const { sums } = await reference.score({
      groups: mismatched.map(({ prompt_id, other_id }) => {
        const [own, other] = [pairs.get(prompt_id)!, pairs.get(other_id)!];
        expect(other.prompt_token_ids).not.toEqual(own.prompt_token_ids);
        return {
          prompt: own.prompt_token_ids,
          completions: [other.chosen_token_ids, other.rejected_token_ids],
        };
      }),
    });
    const told = mismatched.flatMap((record) => [
      record.ref_chosen_logps,
      record.ref_rejected_logps,
    ]);
    for (const [i, sum] of sums.entries()) expect(told[i]).toBeCloseTo(sum, 3);
    const steps = ran.records<StepRecord>('iteration-1/steps.jsonl');
    expect(steps).toHaveLength(3);
    expect(steps[0]!.loss).toBeCloseTo(0.5, 3);
    expect(steps[0]!['kto/kl']).toBeCloseTo(0, 3);
    for (const step of steps) expect(step['kto/kl']).toBeGreaterThanOrEqual(0);
    expect((await tinyRun(ONE_STEP)).text('iteration-1/steps.jsonl')).not.toContain('kto/kl');
  });

  it('kto refuses one prompt before it samples', async () => {
    const types: string[] = [];
    await expect(
      tinyRun([...ONE_STEP, 'train.loss=kto', 'prompts.count=1'], {
        onEvent: ({ type }) => types.push(type),
      }),
    ).rejects.toMatchObject({
      code: 'ERR_RUN_DATA',
      message: expect.stringContaining('pairs of at least two prompts'),
    });
    expect(types).not.toContain('stage_started');
  });

  it('kto goes on byte for byte where a run was stopped in training', async () => {
    const settings = [...ONE_STEP.slice(0, -1), 'train.loss=kto', 'train.save_steps=1'];
    const whole = await tinyRun(settings);
    const stop = new AbortController();
    let directory = '';
    await tinyRun(settings, {
      signal: stop.signal,
      onEvent: (event) => {
        if (event.type === 'run_started') ({ directory } = event);
        if (event.type === 'step' && event.phase === 1) stop.abort();
      },
    }).then(
      () => expect('finished').toBe('stopped'),
      () => {},
    );
    const resumed = await tinyRun(settings, { directory });
    for (const file of ['mismatched.jsonl', 'steps.jsonl'])
      expect(resumed.text(`iteration-1/${file}`)).toBe(whole.text(`iteration-1/${file}`));
  });
});

describe('cream train', () => {
  it('takes every loss; kto refuses pairs of one prompt', async () => {
    const work = temporaryFolder();
    const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
    const train = (loss: string, rows: object[]) => {
      const pairs = join(work, `${loss}-${rows.length}.jsonl`);
      writeFileSync(pairs, rows.map((row) => JSON.stringify(row)).join('\n'));
      const out = join(work, `${loss}-${rows.length}-model`);
      return {
        out,
        ended: cream('train', '--pairs', pairs, '--model', model, '--loss', loss, '--out', out),
      };
    };
    const rows = [1, 2, 3].map((i) => ({ prompt: `Q${i}?`, chosen: `yes ${i}`, rejected: 'no' }));
    for (const loss of ['ipo', 'simpo', 'kto', 'robust']) {
      const { out, ended } = train(loss, rows);
      expect(await ended).toMatchObject({ code: 0 });
      const [step] = readFileSync(join(out, 'steps.jsonl'), 'utf8').trim().split('\n');
      expect('kto/kl' in (JSON.parse(step!) as object)).toBe(loss === 'kto');
    }
    const { code, stderr } = await train('kto', [rows[0]!, { ...rows[0]!, chosen: 'ja' }]).ended;
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('train.loss kto needs pairs of at least two prompts'),
    });
  });
});

describe('settings of a loss', () => {
  const refusal = (...settings: string[]) => {
    try {
      parseRecipe(TINY, 'tiny.yaml', settings);
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };

  it('are refused beside a loss that does not read them', () => {
    expect(refusal('train.simpo_gamma=1')).toMatch(
      /train\.simpo_gamma.*used only where train\.loss is simpo/,
    );
    expect(refusal('train.loss=ipo', 'train.label_smoothing=0.2')).toMatch(
      /train\.label_smoothing.*used only where train\.loss is robust/,
    );
    expect(refusal('train.loss=simpo', 'train.reference=base')).toMatch(
      /train\.reference.*used only where train\.loss is not simpo/,
    );
    expect(refusal('train.loss=robust', 'train.label_smoothing=0.5')).toMatch(/label_smoothing/);
    expect(refusal('train.loss=orpo')).toMatch(/train\.loss/);
  });

  it('kto with one C for all pairs is warned of', () => {
    const warnings = (...settings: string[]) =>
      recipeWarnings(parseRecipe(TINY, 'tiny.yaml', settings)).filter((text) =>
        text.includes('kto'),
      );
    expect(warnings('train.loss=kto')).toEqual([expect.stringContaining('rank.weighting to dyn')]);
    expect(warnings('train.loss=kto', 'rank.weighting=dyn')).toEqual([]);
    expect(warnings()).toEqual([]);
  });
});
