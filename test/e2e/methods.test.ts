/**
 * The methods on the command line: stages run separately give the artefacts of a run, and a run
 * killed by -9 ends with the same bytes.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JudgementRecord, PairRecord } from '../../src/data/records.js';
import { artefacts, cream, startCream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { talkingModel } from '../support/talking-model.js';
import { temporaryFolder } from '../support/tiny-model.js';

const work = temporaryFolder('cream-methods-');
const at = (name: string) => join(work, name);
const recipe = at('recipe.yaml');
const whole = at('whole');
const records = <T>(path: string): T[] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
let model: string;

beforeAll(async () => {
  model = await talkingModel();
  // The judge and the adapters together: the files of both must survive a kill.
  writeFileSync(
    recipe,
    `
model: ${model}
seed: 7
threads: 1
iterations: 2
prompts: {count: 6}
sample: {samples: 4, temperature: 1.2, max_new_tokens: 12, save_prompts: 2}
score: {save_prompts: 2}
reward: {source: judge, judgements: 2, temperature: 1, max_new_tokens: 12}
train: {learning_rate: 1.0e-4, batch_size: 2, epochs: 2, save_steps: 1}
lora: {enabled: true, rank: 4, alpha: 8, dropout: 0.1}
evaluate: {count: 2, max_new_tokens: 4}
`,
  );
  expect(await cream('run', recipe, '--out', whole)).toMatchObject({ code: 0 });
});

const lines = (path: string): number =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;

it('a run with judge and adapters ends with the same bytes after repeated kill -9', async () => {
  const directory = at('killed');
  const log = join(directory, 'events.jsonl');
  let kills = 0;
  let code: number | null = null;
  for (let round = 0; round < 7 && code !== 0; round++) {
    const goal = lines(log) + 3 + 4 * round;
    const { child, finished } = startCream(['run', recipe, '--out', directory]);
    const timer = setInterval(() => {
      if (lines(log) < goal) return;
      clearInterval(timer);
      setTimeout(() => child.kill('SIGKILL'), Math.floor(Math.random() * 40));
    }, 1);
    const result = await finished;
    clearInterval(timer);
    code = result.code;
    kills += result.signal === 'SIGKILL' ? 1 : 0;
  }
  if (code !== 0) expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
  expect(kills).toBeGreaterThan(0);
  expect(artefacts(directory)).toEqual(artefacts(whole));
});

describe('stages as commands', () => {
  const of = (name: string) => join(whole, 'iteration-2', name);
  const done = async (...args: string[]) => expect(await cream(...args)).toMatchObject({ code: 0 });

  it('judge and prefer make what the run made', async () => {
    const [current, previous] = ['iteration-1/checkpoint', ''].map((name) =>
      name ? join(whole, name) : model,
    ) as [string, string];
    await done(
      'judge',
      '--completions',
      of('completions.jsonl'),
      '--model',
      current,
      '--previous',
      previous,
      '--iteration',
      '2',
      '--seed',
      '7',
      '--threads',
      '1',
      '--save-prompts',
      '2',
      '--judgements',
      '2',
      '--temperature',
      '1',
      '--max-new-tokens',
      '12',
      '--out',
      at('judgements.jsonl'),
    );
    expect(records<JudgementRecord>(at('judgements.jsonl'))).toEqual(
      records<JudgementRecord>(of('judgements.jsonl')),
    );
    await done(
      'prefer',
      '--scores',
      of('scores.jsonl'),
      '--completions',
      of('completions.jsonl'),
      '--reward-source',
      'judge',
      '--judgements',
      at('judgements.jsonl'),
      '--rankings',
      at('rankings.jsonl'),
      '--out',
      at('pairs.jsonl'),
    );
    for (const name of ['rankings.jsonl', 'pairs.jsonl'])
      expect(readFileSync(at(name), 'utf8')).toBe(readFileSync(of(name), 'utf8'));
  });

  it('prefer takes gold answers and scores files, and says what it lacks', async () => {
    const files = [
      '--scores',
      of('scores.jsonl'),
      '--completions',
      of('completions.jsonl'),
      '--out',
      at('other.jsonl'),
    ];
    const rewards = at('rewards.jsonl');
    writeFileSync(
      rewards,
      records<{ prompt_id: string; sample: number }>(of('completions.jsonl'))
        .map(({ prompt_id, sample }) => JSON.stringify({ prompt_id, sample, reward: sample }))
        .join('\n'),
    );
    await done(
      'prefer',
      ...files,
      '--reward-source',
      'file',
      '--rewards',
      rewards,
      '--weighting',
      'fixed',
    );
    expect(
      records<PairRecord>(at('other.jsonl')).every(
        (pair) => pair.chosen_sample === 3 && pair.rejected_sample === 0 && pair.weight === 1,
      ),
    ).toBe(true);
    const gold = await cream(
      'prefer',
      ...files,
      '--reward-source',
      'gold',
      '--prompts',
      of('gold.jsonl'),
      '--weighting',
      'fixed',
    );
    expect([gold.stdout + gold.stderr, gold.code]).toEqual([
      expect.stringContaining('pairs of 6 prompts'),
      expect.any(Number),
    ]);
    for (const [args, message] of [
      [
        ['--reward-source', 'file', '--rewards', rewards],
        'rank.weighting: without effect, because there is no second ranking: reward.source is ' +
          'file, its rows have no reward_previous and reward.against is none',
      ],
      [
        ['--reward-source', 'file', '--rewards', rewards, '--weighting', 'fixed'].concat([
          '--consistency',
          'spearman',
          '--require-agreement',
          'true',
        ]),
        'rank.require_agreement, rank.consistency: without effect',
      ],
      [['--reward-source', 'judge'], '--reward-source judge needs --judgements <file>.'],
      [['--reward-source', 'gold'], '--weighting must be fixed where reward.source is gold'],
      [['--reward-source', 'gold', '--weighting', 'fixed', '--prompts', rewards], 'rewards.jsonl'],
    ] as const)
      expect(await cream('prefer', ...files, ...args)).toMatchObject({
        code: expect.any(Number),
        stdout: '',
        stderr: expect.stringContaining(message),
      });
  });

  it('train fits an adapter to given pairs, and merge makes a full model of it', async () => {
    const pairs = at('trl.jsonl');
    writeFileSync(
      pairs,
      [
        ['a', 'b'],
        ['c', 'd'],
      ]
        .map(([chosen, rejected]) => JSON.stringify({ prompt: 'Q', chosen, rejected }))
        .join('\n'),
    );
    await done(
      'train',
      '--model',
      model,
      '--pairs',
      pairs,
      '--out',
      at('adapter'),
      '--lora-enabled',
      'true',
      '--lora-rank',
      '2',
      '--lora-dropout',
      '0',
      '--learning-rate',
      '1.0e-2',
      '--epochs',
      '4',
      '--kl-coefficient',
      '0.01',
      '--threads',
      '1',
    );
    const steps = records<{ loss: number; kl: number }>(join(at('adapter'), 'steps.jsonl'));
    expect(steps).toHaveLength(4);
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
    await done(
      'merge',
      '--adapter',
      at('adapter'),
      '--base',
      model,
      '--out',
      at('merged'),
      '--dtype',
      'float32',
    );
    expect(existsSync(join(at('merged'), 'model.safetensors'))).toBe(true);
    // The merged model gives the logits of base and adapter.
    const scored = async (name: string, out: string) => {
      await done(
        'score',
        '--completions',
        of('completions.jsonl'),
        '--model',
        name,
        '--base',
        model,
        '--dtype',
        'float32',
        '--out',
        at(out),
        '--threads',
        '1',
      );
      return records<{ logp_current: number; logp_base: number }>(at(out));
    };
    const [together, merged] = [
      await scored(at('adapter'), 'a.jsonl'),
      await scored(at('merged'), 'b.jsonl'),
    ];
    for (const [i, score] of merged.entries()) {
      expect(score.logp_current).not.toBe(score.logp_base);
      expect(Math.abs(score.logp_current - together[i]!.logp_current)).toBeLessThan(2e-2);
    }
    expect(
      await cream('merge', '--adapter', at('adapter'), '--base', model, '--out', at('merged')),
    ).toMatchObject({
      code: 1,
      stderr:
        `cream: ${at('merged')} exists already and is not replaced: choose ` + 'another --out.\n',
    });
  });
});

it('a run with a function reward is refused, because only programs have one', async () => {
  const path = at('function.yaml');
  writeFileSync(
    path,
    readFileSync(recipe, 'utf8').replace(
      /^reward: .*$/m,
      'reward: {source: function}\nrank: {weighting: fixed}',
    ),
  );
  expect(await cream('run', path, '--out', at('function'))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(
      'reward.source: function is for Node programs, which pass it to run() as `rewards`',
    ),
  });
});

it('iterations: 0 prints the place of M1', async () => {
  const path = at('sft.yaml');
  writeFileSync(
    path,
    `model: ${model}\nthreads: 1\niterations: 0\nsft: {enabled: true, count: 2}\nevaluate: ` +
      `{tasks: []}\n`,
  );
  expect(await cream('run', path, '--out', at('sft'))).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`Model:  ${at('sft/sft/checkpoint')}`),
  });
});

it('DPO on given pairs ends with a table and a report', async () => {
  const path = at('dpo.yaml');
  const pairs = at('dpo.jsonl');
  writeFileSync(
    pairs,
    [
      ['a', 'b'],
      ['c', 'd'],
      ['e', 'f'],
    ]
      .map(([chosen, rejected]) => JSON.stringify({ prompt: `Q ${chosen}`, chosen, rejected }))
      .join('\n'),
  );
  writeFileSync(
    path,
    `model: ${model}\nthreads: 1\niterations: 1\npairs: {source: ${pairs}}\nevaluate: ` +
      `{tasks: [builtin], count: 2, max_new_tokens: 4}\n`,
  );
  const result = await cream('run', path, '--out', at('dpo'));
  expect(result).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Iteration 1 /m) });
  expect(result.stderr).toContain('3 pairs, loss 0.693');
  expect(readFileSync(join(at('dpo'), 'report.html'), 'utf8')).toMatch(
    /^<!doctype html>[^]*<\/html>\s*$/,
  );
  expect(result.stdout).not.toMatch(/NaN|undefined|null/);
  // After its last artefact was lost, the same command resumes and ends with the same bytes.
  const before = artefacts(at('dpo'));
  rmSync(join(at('dpo'), 'iteration-1/pairs.jsonl'));
  rmSync(join(at('dpo'), 'summary.json'));
  expect(await cream('run', path, '--out', at('dpo'))).toMatchObject({ code: 0 });
  expect(artefacts(at('dpo'))).toEqual(before);
});

it('the library writes what the command writes', async () => {
  const ran = await tinyRun(['rank.weighting=dyn']);
  const path = at('tiny.yaml');
  writeFileSync(path, ran.text('recipe.yaml'));
  expect(await cream('run', path, '--out', at('tiny'))).toMatchObject({ code: 0 });
  expect(artefacts(at('tiny'))).toEqual(artefacts(ran.directory));
});
