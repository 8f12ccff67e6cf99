/**
 * Converting between stages on the built command line: files of the official code and of TRL to
 * ours, and back.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { COMPLETION_COLUMNS, SCORE_COLUMNS } from '../../src/data/columns.js';
import { readRecords } from '../../src/data/jsonl.js';
import type { CompletionRecord, ScoreRecord } from '../../src/data/records.js';
import { standInHub } from '../hub/stand-in.js';
import { cream, startCream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-convert-');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
const other = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256, seed: 7 });
const at = (name: string): string => join(work, name);
const file = (name: string, content: unknown): string => {
  writeFileSync(at(name), typeof content === 'string' ? content : JSON.stringify(content));
  return at(name);
};
const done = async (...args: string[]) => {
  const result = await cream(...args);
  expect([args, result.code, result.stderr]).toEqual([args, 0, expect.any(String)]);
  return result;
};
const json = (name: string) => JSON.parse(readFileSync(at(name), 'utf8')) as unknown;
const sampling = {
  '12': { prompt: [{ role: 'user', content: 'Hi?' }], responses: ['Yes.', 'No ü🙂', 'Perhaps'] },
  '3': { prompt: [{ role: 'user', content: 'Why?' }], responses: ['So', 'Because', '…'] },
};

describe('--columns', () => {
  const rows = file('renamed.jsonl', '{"q": "Hi?", "good": "Yes.", "bad": "No."}\n');
  const plain = ['prompt=q', 'chosen=good', 'rejected=bad'];
  const list = [`[${plain.join(', ')}]`];

  it('takes several mappings, or a list of them as in a recipe, in every command', async () => {
    const pairs = { prompt: [{ role: 'user', content: 'Hi?' }] };
    for (const columns of [plain, list]) {
      await done('convert', rows, at('named.jsonl'), '--to', 'trl', '--columns', ...columns);
      expect(JSON.parse(readFileSync(at('named.jsonl'), 'utf8'))).toMatchObject(pairs);
      const rated = ['--model', model, '--rewards', 'likelihood', '--json', '--columns'];
      const { stdout } = await done('rank-eval', '--pairs', rows, ...rated, ...columns);
      expect(JSON.parse(stdout)).toMatchObject([{ all: { pairs: 1 } }, {}]);
    }
    for (const columns of [['prompt=q'], ['[prompt=q]']]) {
      const prompts = ['--prompts', rows, '--samples', '1', '--max-new-tokens', '2'];
      const out = ['--model', model, '--out', at('sampled.jsonl'), '--columns'];
      await done('generate', ...prompts, ...out, ...columns);
      expect(JSON.parse(readFileSync(at('sampled.jsonl'), 'utf8'))).toMatchObject(pairs);
    }
  });

  it('is shown in the help, and refused in a sentence', async () => {
    for (const command of ['convert', 'rank-eval', 'generate', 'train', 'win-rate'])
      expect((await cream(command, '--help')).stdout).toContain('--columns <ours=theirs...>');
    const wrong = ['convert', rows, at('wrong.jsonl'), '--to', 'trl'];
    expect(await cream(...wrong, '--columns', 'prompt=q', 'good')).toMatchObject({
      code: 2,
      stderr:
        'cream: --columns prompt=q good pairs.columns.1: must be of the form ours=theirs, such ' +
        "as prompt=query, got the text 'good'\n",
    });
    expect(await cream(...wrong, '--on-bad-row', 'drop')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--on-bad-row drop pairs\.on_bad_row: must be .*error.*skip/),
    });
  });
});

describe('official responses, ranked and trained on here', () => {
  it(
    "become completions with the model's tokens and log-probs, then scores, pairs and the " +
      'official files again',
    async () => {
      await done(
        'convert',
        file('sampling.json', sampling),
        at('completions.jsonl'),
        '--to',
        'cream',
        '--model',
        model,
        '--dtype',
        'float32',
      );
      const completions = await readRecords<CompletionRecord>(
        at('completions.jsonl'),
        COMPLETION_COLUMNS,
      );
      expect(
        completions.map(({ prompt_id, sample, completion }) => [prompt_id, sample, completion]),
      ).toEqual(
        Object.entries(sampling).flatMap(([id, { responses }]) =>
          responses.map((text, i) => [id, i, text]),
        ),
      );
      expect(
        completions.every(({ token_ids, logprob }) => token_ids.length > 1 && logprob < 0),
      ).toBe(true);

      await done(
        'score',
        '--completions',
        at('completions.jsonl'),
        '--model',
        model,
        '--base',
        other,
        '--dtype',
        'float32',
        '--out',
        at('scores.jsonl'),
      );
      const scores = await readRecords<ScoreRecord>(at('scores.jsonl'), SCORE_COLUMNS);
      for (const [i, { logp_current }] of scores.entries())
        expect(logp_current).toBeCloseTo(completions[i]!.logprob, 4);

      await done('convert', at('completions.jsonl'), at('again.json'), '--to', 'official');
      expect(json('again.json')).toEqual(sampling);
      await done(
        'convert',
        at('scores.jsonl'),
        at('current.json'),
        '--to',
        'official',
        '--completions',
        at('completions.jsonl'),
      );
      await done(
        'convert',
        at('scores.jsonl'),
        at('previous.json'),
        '--to',
        'official',
        '--completions',
        at('completions.jsonl'),
        '--role',
        'previous',
      );
      await done(
        'convert',
        at('current.json'),
        at('rewards.jsonl'),
        '--to',
        'cream',
        '--previous',
        at('previous.json'),
      );
      const rewards = readFileSync(at('rewards.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map(
          (line) =>
            JSON.parse(line) as {
              prompt_id: string;
              sample: number;
              reward: number;
              reward_previous: number;
            },
        );
      const of = (s: ScoreRecord) =>
        rewards.find(({ prompt_id, sample }) => prompt_id === s.prompt_id && sample === s.sample)!;
      for (const s of scores)
        expect([of(s).reward, of(s).reward_previous]).toEqual([
          s.logp_current - s.logp_base,
          s.logp_previous / s.tokens,
        ]); // the previous model is the base

      await done(
        'prefer',
        '--scores',
        at('scores.jsonl'),
        '--completions',
        at('completions.jsonl'),
        '--out',
        at('pairs.jsonl'),
      );
      await done('convert', at('pairs.jsonl'), at('dpo.json'), '--to', 'official');
      await done('convert', at('dpo.json'), at('trl.jsonl'), '--to', 'trl');
      await done('convert', at('pairs.jsonl'), at('trl-standard.jsonl'), '--to', 'trl-standard');
      const pairs = (name: string) =>
        readFileSync(at(name), 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(
        pairs('trl.jsonl')
          .map(({ id, prompt, chosen, rejected }) => ({ id, prompt, chosen, rejected }))
          .sort((a, b) => ((a.id as string) < (b.id as string) ? -1 : 1)),
      ).toEqual(
        pairs('pairs.jsonl')
          .map(({ prompt_id, prompt, chosen, rejected }) => ({
            id: prompt_id,
            prompt,
            chosen,
            rejected,
          }))
          .sort((a, b) => ((a.id as string) < (b.id as string) ? -1 : 1)),
      );
      expect(pairs('trl-standard.jsonl')[0]).toMatchObject({
        prompt: expect.stringMatching(/\?$/),
        chosen: expect.any(String),
      });
    },
  );
});

describe('wrong use', () => {
  const scores = file('scores.jsonl', `${JSON.stringify({ logp_current: -1 })}\n`);
  const pairs = file('given.jsonl', '{"prompt": "a", "chosen": "b", "rejected": "c"}\n');
  it.each<[string, string[], RegExp]>([
    [
      'responses without their model',
      [file('s.json', sampling), '--to', 'cream'],
      /^cream: These are responses as texts: name with --model the model that made them/,
    ],
    [
      'a format that is none',
      [at('s.json'), '--to', 'parquet'],
      /'parquet' is invalid\. Allowed choices are cream, official, trl, trl-standard\.\n$/,
    ],
    ['a role that is none', [scores, '--to', 'official', '--role', 'x'], /are current, previous/],
    ['scores alone', [scores, '--to', 'official'], /name the completions with --completions\.\n$/],
    [
      'a model for pairs',
      [pairs, '--to', 'trl', '--model', 'x'],
      /^cream: --model has no effect in converting preference pairs to trl; leave it out\.\n$/,
    ],
    [
      'columns of scores',
      [scores, '--to', 'official', '--columns', 'prompt=q'],
      /--columns has no effect in converting scores to official/,
    ],
  ])('%s', async (_, [input, ...args], message) => {
    expect(await cream('convert', input!, at('x'), ...args)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
  });
});

describe('one sentence', () => {
  it.each<[string, string[], RegExp]>([
    [
      'an official file to official',
      [at('s.json'), at('x'), '--to', 'official'],
      /s\.json is a sampling file of the official code already/,
    ],
    [
      'responses as pairs',
      [at('s.json'), at('x'), '--to', 'trl'],
      /s\.json key "3": this is a sampling file of the official code .*; give its dpo file/,
    ],
    [
      'pairs without a column',
      [
        file(
          'p.jsonl',
          '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}\n',
        ),
        at('x'),
        '--to',
        'trl',
      ],
      /p\.jsonl line 2: no preference pair found: column "rejected" is missing/,
    ],
    [
      'a second file of another kind',
      [
        file('r.json', {
          a: {
            prompt: [{ role: 'user', content: 'Hi' }],
            response: [null],
            score: [null],
            ref_score: [null],
            reward: [null],
          },
        }),
        at('x'),
        '--to',
        'cream',
        '--previous',
        at('s.json'),
      ],
      /s\.json is not a rewarding file of the official code/,
    ],
  ])('%s', async (_, args, message) => {
    const result = await cream('convert', ...args);
    expect({ code: result.code, stdout: result.stdout, stderr: result.stderr }).toEqual({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
  });
});

describe('a data set of the hub', () => {
  it('is fetched, sampled from, and read again without the network', async () => {
    const hub = await standInHub({ 'train.jsonl': '{"query": "Hi?"}\n{"query": "Why?"}\n' });
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: at('home'), CREAM_CACHE: at('cache') };
    const args = [
      'generate',
      '--prompts',
      'hub:org/words',
      '--columns',
      '[prompt=query]',
      '--model',
      model,
      '--samples',
      '2',
      '--max-new-tokens',
      '4',
      '--out',
      at('sampled.jsonl'),
    ];
    const online = await startCream(args, env).finished;
    await hub.close();
    expect([online.code, hub.log.filter((line) => line.includes('train.jsonl')).length]).toEqual([
      0, 1,
    ]);
    expect(
      (await readRecords<CompletionRecord>(at('sampled.jsonl'), COMPLETION_COLUMNS)).map(
        ({ prompt }) => prompt[0]!.content,
      ),
    ).toEqual(expect.arrayContaining(['Hi?', 'Why?']));
    expect((await startCream(args, { ...env, HF_HUB_OFFLINE: '1' }).finished).code).toBe(0);
    const gone = await startCream(
      ['generate', '--prompts', 'hub:org/other', '--model', model, '--out', at('x.jsonl')],
      { ...env, HF_HUB_OFFLINE: '1' },
    ).finished;
    expect(gone).toMatchObject({
      code: 1,
      stdout: '',
      stderr:
        'cream: hub:org/other is not in the cache, and the network may not be used ' +
        '(HF_HUB_OFFLINE); allow it once, or name local files.\n',
    });
  });
});
