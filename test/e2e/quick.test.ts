/**
 * The main job on the real default model, from the command line to the report, small enough for
 * every `npm test`.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ANSWER_COLUMNS,
  COMPLETION_COLUMNS,
  PAIR_COLUMNS,
  PROMPT_COLUMNS,
  RANKING_COLUMNS,
  SCORE_COLUMNS,
} from '../../src/data/columns.js';
import { readRecords } from '../../src/data/jsonl.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { cream, type Finished } from '../support/cli.js';
import { temporaryFolder } from '../support/tiny-model.js';

const work = temporaryFolder('cream-quick-');
const directory = join(work, 'run');
const at = (name: string) => join(directory, name);
let result: Finished;

beforeAll(async () => {
  const recipe = join(work, 'recipe.yaml');
  // Without SFT, θ_1 is θ_0: C is 1 and the margin must grow. Batches of all pairs: each step's
  // margin is that of the same pairs.
  writeFileSync(
    recipe,
    `
iterations: 1
prompts: {count: 6}
sample: {samples: 3, max_new_tokens: 32}
train: {learning_rate: 2.0e-5, epochs: 3, batch_size: 6, schedule: constant, warmup_ratio: 0}
evaluate: {count: 4, max_new_tokens: 24, baseline: false}
`,
  );
  result = await cream('run', recipe, '--out', directory);
});

describe('one run of the main job', () => {
  it('exits with 0 and shows its table and the places of model and report', () => {
    expect({ code: result.code, stderr: result.code === 0 ? '' : result.stderr }).toEqual({
      code: 0,
      stderr: '',
    });
    expect(result.stdout).toMatch(/^Iteration 1 +\d+\.\d %/m);
    expect(result.stdout).toContain(`Model:  ${at('iteration-1/checkpoint')}`);
    expect(result.stdout).toContain(`Report: ${at('report.html')}`);
    for (const stage of ['sample', 'score', 'rank', 'train', 'evaluate'])
      expect(result.stderr).toMatch(new RegExp(`^iteration 1 +${stage} +\\d+ \\w+ in `, 'm'));
  });

  it('leaves artefacts that parse, joined by their ids', async () => {
    const read = async <T extends object>(
      name: string,
      columns: Parameters<typeof readRecords<T>>[1],
    ) => readRecords<T>(at(`iteration-1/${name}.jsonl`), columns);
    const prompts = await read('prompts', PROMPT_COLUMNS);
    const completions = await read('completions', COMPLETION_COLUMNS);
    const scores = await read('scores', SCORE_COLUMNS);
    const rankings = await read('rankings', RANKING_COLUMNS);
    const pairs = await read('pairs', PAIR_COLUMNS);
    const answers = await read('answers', ANSWER_COLUMNS);
    expect([
      prompts.length,
      completions.length,
      scores.length,
      rankings.length,
      answers.length,
    ]).toEqual([6, 18, 18, 6, 4]);
    expect(prompts.every((prompt) => prompt.answer === undefined)).toBe(true);
    for (const pair of pairs) {
      const [chosen, rejected] = [pair.chosen_sample, pair.rejected_sample].map((sample) =>
        completions.find((c) => c.prompt_id === pair.prompt_id && c.sample === sample)!,
      );
      expect([pair.chosen_token_ids, pair.rejected_token_ids]).toEqual([
        chosen!.token_ids,
        rejected!.token_ids,
      ]);
      expect(pair.reward_chosen).toBeGreaterThan(pair.reward_rejected);
    }
    for (const name of ['run.json', 'summary.json']) JSON.parse(readFileSync(at(name), 'utf8'));
    for (const name of ['metrics.jsonl', 'events.jsonl', 'iteration-1/steps.jsonl'])
      readFileSync(at(name), 'utf8')
        .trimEnd()
        .split('\n')
        .forEach((line) => void JSON.parse(line));
    expect(readFileSync(at('report.html'), 'utf8')).toMatch(/^<!doctype html>[^]*<\/html>\s*$/);
  });

  it('scores a completion as the sampler did, within the rounding of bf16', async () => {
    const completions = await readRecords(at('iteration-1/completions.jsonl'), COMPLETION_COLUMNS);
    const scores = await readRecords(at('iteration-1/scores.jsonl'), SCORE_COLUMNS);
    for (const [i, { logprob, token_ids }] of completions.entries())
      expect(Math.abs(logprob - scores[i]!.logp_current)).toBeLessThan(
        0.05 * token_ids.length + 0.1,
      );
  });

  it('makes the reward margin of its own pairs grow from 0', () => {
    const steps = readFileSync(at('iteration-1/steps.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as StepRecord);
    const margins = steps.map((step) => step['rewards/margins']!);
    expect(Math.abs(margins[0]!)).toBeLessThan(0.02);
    expect(margins.at(-1)!).toBeGreaterThan(0.05);
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
  });

  it('saves a folder that holds other weights than the base, and loads', async () => {
    const checkpoint = at('iteration-1/checkpoint');
    for (const name of [
      'config.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'generation_config.json',
    ])
      expect(existsSync(join(checkpoint, name))).toBe(true);
    const again = await cream(
      'eval',
      '--model',
      checkpoint,
      '--count',
      '4',
      '--max-new-tokens',
      '24',
      '--out',
      join(work, 'answers.jsonl'),
      '--json',
    );
    expect(again.code).toBe(0);
    // Loaded from disk it answers what it answered in memory.
    const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(digest(join(work, 'answers.jsonl'))).toBe(digest(at('iteration-1/answers.jsonl')));
    const scored = join(work, 'scores.jsonl');
    expect(
      (
        await cream(
          'score',
          '--completions',
          at('iteration-1/completions.jsonl'),
          '--model',
          checkpoint,
          '--base',
          'smollm2-135m-instruct',
          '--out',
          scored,
        )
      ).code,
    ).toBe(0);
    expect(
      (await readRecords(scored, SCORE_COLUMNS)).every(
        (score) => score.logp_current !== score.logp_base,
      ),
    ).toBe(true);
  });
});
