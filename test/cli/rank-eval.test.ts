/** `cream rank-eval`, and the same check within a run. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { parse as parseYaml } from 'yaml';
import type { RankedPairRecord } from '../../src/data/records.js';
import type { Recipe } from '../../src/run/recipe.js';
import { cream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const SFT = ['sft.enabled=true', 'sft.count=4', 'sft.batch_size=2', 'sft.learning_rate=1.0e-3'];
const folder = temporaryFolder('cream-rank-eval-');

function pairsFile(name: string, rows: [string, string][]): string {
  const path = join(folder, name);
  const lines = rows.map(([chosen, rejected], i) =>
    JSON.stringify({ id: `p${i}`, prompt: `question ${i}`, chosen, rejected }),
  );
  writeFileSync(path, lines.join('\n'));
  return path;
}

type Share = { pairs: number; accuracy: number; low: number; high: number };
type Row = { model: string; reward: string; all: Share; matched: Share; balanced: Share };

describe('cream rank-eval', () => {
  it('takes the settings of the rewards that it measures', async () => {
    const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048 });
    const pairs = pairsFile('three.jsonl', [
      ['one', 'two'],
      ['three', 'four'],
      ['five', 'six'],
    ]);
    const flags = ['--pairs', pairs, '--model', model, '--json', '--count', '2'];
    const judged = ['--rewards', 'judge', 'likelihood', '--reward-judgements', '2'];
    const result = await cream('rank-eval', ...flags, ...judged, '--reward-reasons', 'false');
    expect(result).toMatchObject({ code: 0 });
    const rows = JSON.parse(result.stdout) as Row[];
    expect(rows.find(({ reward }) => reward === 'likelihood')!.all.pairs).toBe(2);
    const lines = (await cream('rank-eval', ...flags, '--rewards', 'likelihood', '-o', '-')).stdout;
    const rated = lines.trimEnd().split('\n');
    expect(rated.map((line) => (JSON.parse(line) as RankedPairRecord).id)).toHaveLength(2);
    expect(await cream('rank-eval', ...flags, '--reward-judgements', '2')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('reward.judgements: has no effect here'),
    });
  });

  it('measures length alone on all pairs, whatever a judge could not rate', async () => {
    const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048 });
    const pairs = pairsFile('unjudged.jsonl', [
      ['longer', 'two'],
      ['three', 'fo'],
    ]);
    const judged = ['--rewards', 'judge', '--reward-judgements', '1', '--reward-reasons', 'false'];
    const result = await cream(
      ...['rank-eval', '--pairs', pairs, '--model', model, '--json', ...judged],
    );
    expect(result).toMatchObject({ code: 0 });
    expect(result.stderr).toContain(
      'judge: 2 of 2 pairs have no readable judgement and are left out',
    );
    const [judge, length] = JSON.parse(result.stdout) as Row[];
    expect([judge!.all.pairs, length!.all]).toMatchObject([0, { pairs: 2, accuracy: 1 }]);
  });

  it('measures every model of a run by each reward, and length alone', async () => {
    const ran = await tinyRun(SFT);
    const pairs = pairsFile('pairs.jsonl', [
      ['long answer', 'short'],
      ['yes', 'a long answer'],
      ['abcde', 'vwxyz'],
    ]);
    const out = join(folder, 'rated.jsonl');
    const flags = ['--pairs', pairs, '--run', ran.directory, '--out', out, '--json'];
    const result = await cream('rank-eval', ...flags);
    expect(result).toMatchObject({ code: 0 });
    const rows = JSON.parse(result.stdout) as Row[];
    expect(rows.map(({ model, reward }) => [model, reward])).toEqual([
      ['Base model', 'implicit'],
      ['Base model', 'implicit_mean'],
      ['Base model', 'likelihood'],
      ['', 'length alone'],
      ...['After SFT', 'Iteration 1'].flatMap((model) =>
        ['implicit', 'implicit_mean', 'likelihood'].map((reward) => [model, reward]),
      ),
    ]);
    expect(rows[3]!.all.accuracy).toBe(0.5);
    const records = readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map(
        (line) =>
          JSON.parse(line) as RankedPairRecord & Record<'model' | 'reward' | 'where', string>,
      );
    expect(records.filter(({ id }) => id === 'p1').map(({ where }) => where)).toEqual(
      Array(9).fill(`${pairs} line 2`),
    );
    for (const { model, reward, all, matched } of rows.filter((row) => row.model !== '')) {
      const rated = records.filter((r) => r.model === model && r.reward === reward);
      const right = rated.filter((r) => r.reward_chosen > r.reward_rejected);
      expect(rated).toHaveLength(3);
      expect(all.accuracy).toBeCloseTo(right.length / 3, 12);
      expect(matched.pairs).toBe(1);
    }
    // The mean is the sum over the length; the base model's implicit reward is its likelihood.
    const of = (model: string, reward: string) =>
      records.filter((r) => r.model === model && r.reward === reward);
    for (const [i, sum] of of('After SFT', 'implicit').entries())
      expect(of('After SFT', 'implicit_mean')[i]!.reward_chosen).toBeCloseTo(
        sum.reward_chosen / sum.chosen_tokens,
        10,
      );
    expect(of('Base model', 'implicit').map((r) => r.reward_chosen)).toEqual(
      of('Base model', 'likelihood').map((r) => r.reward_chosen),
    );
  });

  it('names θ_0, and warns where it may be another', async () => {
    const [one, other] = [1, 2].map((seed) =>
      tinyModel({ tokenizer: true, seed, maxPositionEmbeddings: 2048 }),
    );
    const ran = await tinyRun([...SFT, 'iterations=1']);
    const pairs = pairsFile('guess.jsonl', [['abcde', 'vwxyz']]);
    const rankEval = (...flags: string[]) => cream('rank-eval', '--pairs', pairs, ...flags);
    const alone = await rankEval('--model', one!);
    expect(alone).toMatchObject({ code: 0 });
    expect(alone.stdout).toContain(
      `θ_0 of the implicit rewards: ${one}; its own are its log-probs`,
    );
    expect(alone.stderr).toContain(`${one} belongs to no run and is taken as θ_0`);

    const two = ['--model', one!, '--model', other!];
    const trained = ['--model', join(ran.directory, 'sft/checkpoint')];
    const first = await rankEval(...two);
    expect(first.stderr).toContain(`, also of ${other}, which belongs to no run.`);
    expect(first.stdout).toContain(`θ_0 of the implicit rewards: ${one};`);
    const mixed = await rankEval('--model', other!, ...trained);
    const base = (parseYaml(readFileSync(join(ran.directory, 'recipe.yaml'), 'utf8')) as Recipe)
      .model;
    expect(mixed.stderr).toContain(`${base} is taken as θ_0, also of ${other}, which belongs to`);
    expect(mixed.stdout).toContain(`θ_0 of the implicit rewards: ${base};`);
    const away = await tinyRun([...SFT, `model=${other}`]);
    expect(
      await rankEval(...trained, '--model', join(away.directory, 'sft/checkpoint')),
    ).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/different base models \(.*\): give --base <name>/),
    });
    const named = await rankEval(...two, '--base', other!, '--json');
    const rows = JSON.parse(named.stdout) as (Row & { base?: string })[];
    expect(rows.map(({ reward, base }) => [reward, base])).toContainEqual(['implicit', other]);
    expect(rows.find(({ reward }) => reward === 'likelihood')).not.toHaveProperty('base');
    const without = await rankEval(...two, '--rewards', 'likelihood');
    expect(without).toMatchObject({ code: 0 });
    expect(without.stdout).not.toContain('θ_0');
  });

  it("takes a run's base model as θ_0, and names checkpoints that are gone", async () => {
    const ran = await tinyRun([...SFT, 'iterations=2']);
    const pairs = pairsFile('of-run.jsonl', [
      ['abcde', 'vwxyz'],
      ['yes', 'no'],
    ]);
    const flags = ['rank-eval', '--pairs', pairs, '--rewards', 'implicit', '--json'];
    const rows = async (...models: string[]) => {
      const { stdout, stderr } = await cream(...flags, ...models);
      return { rows: JSON.parse(stdout) as Row[], stderr };
    };
    const checkpoint = join(ran.directory, 'sft/checkpoint');
    await rows('--model', checkpoint, '--out', join(folder, 'alone.jsonl'));
    rmSync(join(ran.directory, 'iteration-1/checkpoint'), { recursive: true });
    const whole = await rows('--run', ran.directory, '--out', join(folder, 'whole.jsonl'));
    expect(whole.stderr).toContain(
      'Not measured, because the run has no checkpoint of it: Iteration 1.',
    );
    const rewards = (name: string, model: string) =>
      readFileSync(join(folder, name), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as RankedPairRecord & { model: string })
        .filter((row) => row.model === model)
        .map((row) => [row.id, row.reward_chosen]);
    expect(rewards('alone.jsonl', checkpoint)).toEqual(rewards('whole.jsonl', 'After SFT'));
    expect(whole.rows.map(({ model }) => model)).toEqual([
      'Base model',
      '',
      'After SFT',
      'Iteration 2',
    ]);
  });

  it('names a missing input in one sentence', async () => {
    const pairs = pairsFile('few.jsonl', [['a', 'b']]);
    expect(
      await cream('rank-eval', '--pairs', pairs, '--model', 'm', '--rewards', 'model'),
    ).toMatchObject({
      code: 2,
      stderr: 'cream: --rewards model needs --reward-model <name>.\n',
    });
    const result = await cream('rank-eval', '--pairs', pairs);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain('rank-eval needs --model <name> or --run <folder>.');
  });
});

it('pairs that are too long, and columns that are not read, are named by both', async () => {
  const row = { prompt: 'question', chosen: 'yes', rejected: 'no' };
  const long = join(folder, 'long.jsonl');
  writeFileSync(long, JSON.stringify({ ...row, id: 'l', chosen: 'x'.repeat(5000) }));
  const unread = join(folder, 'unread.jsonl');
  writeFileSync(unread, JSON.stringify({ ...row, notes: 'it is a fact' }));

  const tooLong = new RegExp(
    String.raw`Pair "l" \(.*long\.jsonl line 1\) is at least \d+ tokens long and the model's ` +
      String.raw`context holds \d+: shorten it or remove it, or set rank_eval\.on_bad_row to ` +
      String.raw`skip\.$`,
    'm',
  );
  const notRead = /unread\.jsonl: the text in the column "notes" is not read\./;
  const model = tinyModel({ tokenizer: true });
  const flags = ['--model', model, '--rewards', 'likelihood', '--pairs'];
  expect((await cream('rank-eval', ...flags, long)).stderr).toMatch(tooLong);
  expect((await cream('rank-eval', ...flags, unread)).stderr).toMatch(notRead);
  await expect(tinyRun([...SFT, `rank_eval.source=${long}`])).rejects.toThrow(tooLong);
  const { events } = await tinyRun([...SFT, `rank_eval.source=${unread}`]);
  const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
  expect(warnings).toContainEqual(expect.stringMatching(notRead));
});

describe('pairs that cannot be used', () => {
  const lines = [
    { id: 'a', prompt: 'question', chosen: 'yes', rejected: 'no' },
    { id: 'b', prompt: 'question', chosen: '', rejected: 'no' },
    { id: 'c', prompt: 'question', chosen: 'x'.repeat(5000), rejected: 'no' },
    { id: 'd', prompt: 'question', chosen: 'x'.repeat(400), rejected: 'no' },
  ];
  const mixed = join(folder, 'mixed.jsonl');
  writeFileSync(mixed, lines.map((line) => JSON.stringify(line)).join('\n'));
  const first = 'mixed.jsonl line 2: "chosen" is empty';

  it('are refused, or left out if told to, also by the model that cannot read them', async () => {
    const wide = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048 });
    const narrow = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256, seed: 3 });
    const flags = ['rank-eval', '--pairs', mixed, '--rewards', 'likelihood', '--json'];
    expect(await cream(...flags, '--model', wide)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(first),
    });
    const models = ['--base', wide, '--model', wide, '--model', narrow];
    const result = await cream(...flags, ...models, '--on-bad-row', 'skip');
    expect(result).toMatchObject({ code: 0 });
    expect(result.stderr).toContain(`${mixed}: 2 rows were left out: 2 cannot be used (${mixed}`);
    expect(result.stderr).toMatch(
      /mixed\.jsonl, .*: 1 row was left out: .*line 4: the pair is at least \d+ tokens long/,
    );
    const rows = JSON.parse(result.stdout) as Row[];
    expect(rows.map(({ reward, all }) => [reward, all.pairs])).toEqual([
      ['likelihood', 2],
      ['length alone', 2],
      ['likelihood', 1],
    ]);
  });

  it('are left out of the check of a run likewise, and its events tell', async () => {
    const check = [...SFT, `rank_eval.source=${mixed}`, 'rank_eval.count=2'];
    await expect(tinyRun(check)).rejects.toThrow(first);
    const { events, records } = await tinyRun([...check, 'rank_eval.on_bad_row=skip']);
    expect(records('iteration-1/rank-eval.jsonl').length).toBeGreaterThan(0);
    expect(events).toContainEqual({
      type: 'rows_left_out',
      section: 'rank_eval',
      count: expect.any(Number),
      message: expect.stringContaining(first),
    });
  });
});

it('models and rewards that are given twice are measured once', async () => {
  const model = tinyModel({ tokenizer: true });
  const pairs = pairsFile('twice.jsonl', [['one', 'two']]);
  const result = await cream(
    ...['rank-eval', '--pairs', pairs, '--model', model, '--model', model, '--json'],
    ...['--rewards', 'likelihood', 'likelihood', 'implicit'],
  );
  expect(result).toMatchObject({ code: 0 });
  expect((JSON.parse(result.stdout) as Row[]).map(({ reward }) => reward)).toEqual([
    'likelihood',
    'implicit',
    'length alone',
  ]);
});

describe('rank_eval in a run', () => {
  it('warns if the reward ranks below chance, with the figure', async () => {
    // One of the two orders of a pair is ranked wrong, so that one of the files is below chance.
    const rows: [string, string][] = [['right', 'wrong']];
    const turned = rows.map(([a, b]): [string, string] => [b, a]);
    const told = await Promise.all(
      [rows, turned].map(async (pairs, i) => {
        const source = pairsFile(`check-${i}.jsonl`, pairs);
        const ran = await tinyRun([...SFT, `rank_eval.source=${source}`, 'rank_eval.count=0']);
        const row = ran
          .records<Record<string, number>>('metrics.jsonl')
          .find((candidate) => candidate['cream/rank_eval'] !== undefined)!;
        const warnings = ran.events.flatMap((event) =>
          event.type === 'warning' ? [event.message] : [],
        );
        return { accuracy: row['cream/rank_eval']!, warnings };
      }),
    );
    expect(told.map(({ accuracy }) => accuracy).sort()).toEqual([0, 1]);
    for (const { accuracy, warnings } of told)
      expect(warnings).toEqual(
        accuracy === 1
          ? []
          : [
              expect.stringContaining(
                'Iteration 1: the reward that this iteration follows ranks ' +
                  '0.0 % (0.0 – 79.3) of 1 given pairs',
              ),
            ],
      );
  });
});
