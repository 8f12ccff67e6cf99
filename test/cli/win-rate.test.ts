/** `cream win-rate` as a user has it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { JudgedPair } from '../../src/evaluate/pairwise.js';
import { cream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-win-rate-');
const judge = tinyModel({ tokenizer: true, maxPositionEmbeddings: 2048 });
const tiny = (seed: number) => tinyModel({ tokenizer: true, maxPositionEmbeddings: 512, seed });
const completions = (name: string, texts: Record<string, string>): string => {
  const path = join(work, name);
  const lines = Object.entries(texts).map(([prompt_id, completion]) =>
    JSON.stringify({
      prompt_id,
      sample: 0,
      prompt: [{ role: 'user', content: `question ${prompt_id}` }],
      completion,
      prompt_token_ids: [1],
      token_ids: [2],
      logprob: -1,
      finish_reason: 'eos',
    }),
  );
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
};

describe('cream win-rate', () => {
  it('compares two files of completions by prompt', async () => {
    const before = completions('before.jsonl', { a: 'short', b: 'some words', c: 'only here' });
    const after = completions('after.jsonl', { b: 'many more words', a: 'short too' });
    const out = join(work, 'judged.jsonl');
    const result = await cream(
      ...['win-rate', '--before', before, '--after', after, '--judge', judge, '--out', out],
      '--json',
    );
    expect(result).toMatchObject({ code: 0 });
    expect(result.stderr).toContain('1 answers are to a prompt that the other side lacks');
    const judged = readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JudgedPair);
    expect(judged.map(({ prompt_id }) => prompt_id)).toEqual(['a', 'b']);
    const mean = judged.reduce((sum, pair) => sum + pair.shown_first! + pair.shown_second!, 0) / 4;
    expect(JSON.parse(result.stdout)).toMatchObject({
      prompts: 2,
      raw: { rate: expect.closeTo(mean, 9) },
      before_length: 7.5,
      after_length: 12,
    });
  });

  it('lets two models answer, and prints a table', async () => {
    const result = await cream(
      ...['win-rate', '--before', tiny(1), '--after', tiny(2), '--judge', judge],
      ...['--prompts', 'builtin', '--count', '3', '--max-new-tokens', '6'],
    );
    expect(result).toMatchObject({ code: 0 });
    const [header, , row] = result.stdout.split('\n').map((line) => line.trim().split(/ {2,}/));
    expect(header!.slice(0, 5)).toEqual([
      'pairs',
      'win rate',
      '95 % interval',
      'equal length',
      '95 % interval',
    ]);
    expect(row![0]).toBe('3');
    expect(row![1]).toMatch(/^\d+\.\d %$/);
  });

  it('leaves out rows that cannot be used if told to, and names them', async () => {
    const prompts = join(work, 'mixed.jsonl');
    writeFileSync(prompts, '{"prompt": "One"}\n{"prompt": ""}\n{"prompt": "Two"}\n');
    const flags = ['--judge', judge, '--prompts', prompts, '--max-new-tokens', '4'];
    const command = ['win-rate', '--before', tiny(1), '--after', tiny(2), ...flags];
    const result = await cream(...command, '--on-bad-row', 'skip', '--json');
    expect(result).toMatchObject({ code: 0 });
    expect(JSON.parse(result.stdout)).toMatchObject({ prompts: 2 });
    expect(result.stderr).toContain('1 row was left out: 1 cannot be used');
    expect(result.stderr.split('left out').length).toBe(2);
  });

  it('judges the first sample of a prompt, and says so', async () => {
    const before = completions('first.jsonl', { a: 'one', b: 'two' });
    const [one, two] = readFileSync(before, 'utf8').trimEnd().split('\n');
    const again = one!.replace('"sample":0', '"sample":1');
    writeFileSync(before, `${[again, one, two].join('\n')}\n`);
    const after = completions('second.jsonl', { a: 'one', b: 'two' });
    const result = await cream(
      ...['win-rate', '--before', before, '--after', after, '--judge', judge, '--json'],
    );
    expect(result).toMatchObject({ code: 0 });
    expect(result.stderr).toContain(
      `1 of the 3 completions in ${before} are further samples of a prompt: left out`,
    );
    expect(JSON.parse(result.stdout)).toMatchObject({ prompts: 2 });
  });

  it('refuses answers to other prompts with the same ids', async () => {
    const before = completions('these.jsonl', { a: 'one' });
    const after = completions('others.jsonl', { a: 'two' });
    writeFileSync(after, readFileSync(after, 'utf8').replace('question a', 'another question'));
    expect(
      await cream('win-rate', '--before', before, '--after', after, '--judge', judge),
    ).toMatchObject({
      code: 1,
      stderr:
        `cream: Prompt "a" is not the same in ${before} and ${after}: compare answers to the ` +
        'same prompts.\n',
    });
  });

  it('says what to do where no pair fits, and what one prompt tells', async () => {
    const short = completions('short.jsonl', { a: 'one' });
    const long = completions('long.jsonl', { a: 'x'.repeat(4000) });
    const judged = (after: string, ...flags: string[]) =>
      cream('win-rate', '--before', short, '--after', after, '--judge', judge, ...flags);
    const none = `cream: No pair of answers fits into the context of the judge ${judge}: use a`;
    expect(await judged(long)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(
        `${none} judge with a longer one, or give shorter completions.\n`,
      ),
    });
    const prompts = join(work, 'long-prompt.jsonl');
    const question = { id: 'a', prompt: 'question a' };
    writeFileSync(prompts, JSON.stringify(question));
    writeFileSync(short, readFileSync(short, 'utf8').replace('"one"', `"${'x'.repeat(4000)}"`));
    const sampling = ['--prompts', prompts, '--max-new-tokens', '4'];
    expect(await judged(tiny(1), ...sampling)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(
        `${none} judge with a longer one, or lower --max-new-tokens.\n`,
      ),
    });
    const one = completions('one.jsonl', { a: 'one' });
    const result = await cream(
      ...['win-rate', '--before', one, '--after', one, '--judge', judge, '--json'],
    );
    expect(JSON.parse(result.stdout)).toMatchObject({
      prompts: 1,
      raw: { low: expect.closeTo(0.05, 1), high: expect.closeTo(0.95, 1) },
      controlled: { low: expect.closeTo(0, 1), high: expect.closeTo(1, 1) },
    });
  });

  it('names a missing input in one sentence', async () => {
    const before = completions('x.jsonl', { a: 'one' });
    const after = completions('y.jsonl', { b: 'two' });
    expect(
      await cream('win-rate', '--before', before, '--after', after, '--judge', judge),
    ).toMatchObject({ code: 1, stderr: expect.stringContaining('have no prompt in common') });
    expect(
      await cream('win-rate', '--before', before, '--after', judge, '--judge', judge),
    ).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('win-rate needs --prompts, which'),
    });
  });
});
