/** Evaluation during training and early stopping. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { bestStep, stopsAfter } from '../../src/run/stages/in-training.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { artefacts, cream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';

/** Steps with these accuracies; null is a step that was not evaluated. */
const steps = (...accuracies: (number | null)[]): StepRecord[] =>
  accuracies.map((accuracy, i) => ({
    step: i + 1,
    epoch: 0,
    loss: 0,
    grad_norm: 0,
    learning_rate: 0,
    num_tokens: 0,
    ...(accuracy !== null && { 'eval/accuracy': accuracy }),
  }));
const column = 'eval/accuracy';

describe('early stopping', () => {
  it('takes the first of the best values', () => {
    expect(bestStep({ column }, steps(null, null))).toBeUndefined();
    expect(bestStep({ column }, steps(null, 0.5, null, 0.7, 0.7, 0.1))).toBe(4);
    expect(bestStep({ column }, steps(-2, -1, -3))).toBe(2);
  });

  it.each([
    [1, [0.5], false],
    [1, [0.5, null, 0.5], true],
    [2, [0.5, 0.4], false],
    [2, [0.5, 0.4, 0.3], true],
    [2, [0.5, 0.4, 0.6, 0.1], false],
    [0, [0.5, 0.4, 0.3, 0.2], false],
    [1, [null, null], false],
  ])('with patience %d after %j stops: %s', (patience, accuracies, stops) =>
    expect(stopsAfter({ column, patience }, steps(...accuracies))).toBe(stops),
  );
});

describe('the recipe', () => {
  it('refuses accuracy without a task, and keys that have no effect', () => {
    const parse = (text: string) => () => parseRecipe(text, 'r.yaml');
    expect(parse('evaluate: {every: 2, metric: accuracy, tasks: []}')).toThrow(
      'evaluate.tasks: must name a task if evaluate.metric is accuracy',
    );
    expect(parse('evaluate: {patience: 2}')).toThrow('has no effect here');
    expect(parse('evaluate: {every: 2, metric: accuracy, pairs: 3}')).toThrow('has no effect here');
  });
});

const MARGIN = [
  'prompts.count=12',
  'train.epochs=4',
  'train.batch_size=3',
  'train.learning_rate=0.05',
  'train.save_steps=2',
  'evaluate.every=1',
  'evaluate.pairs=3',
];
const SOME = ['iteration-1/checkpoint/model.safetensors', 'iteration-1/steps.jsonl'] as const;

describe('a run', () => {
  it('evaluates on pairs that it does not train on, and keeps the last weights', async () => {
    const { records, directory } = await tinyRun([...MARGIN, 'train.learning_rate=1e-3']);
    const all = records<StepRecord>('iteration-1/steps.jsonl');
    const pairs = records('iteration-1/pairs.jsonl').length;
    expect(all).toHaveLength(4 * Math.ceil((pairs - Math.min(3, Math.floor(pairs / 4))) / 3));
    expect(all.every((step) => typeof step['eval/rewards/margins'] === 'number')).toBe(true);
    // Before the first step the margin is 0; a small step moves it a little.
    expect(Math.abs(all[0]!['eval/rewards/margins']!)).toBeLessThan(0.5);
    const rows = records<StepRecord>('metrics.jsonl').filter((row) => row['eval/rewards/margins']);
    expect(rows).toHaveLength(all.length);
    expect(readFileSync(join(directory, 'report.html'), 'utf8')).toContain('Margin in evaluation');
    expect(existsSync(join(directory, 'iteration-1/training'))).toBe(false);
  });

  it('stops early, keeps the best weights, and is the same if stopped and resumed', async () => {
    const settings = [...MARGIN, 'evaluate.patience=2'];
    const whole = await tinyRun(settings);
    const all = whole.records<StepRecord>('iteration-1/steps.jsonl');
    const best = bestStep({ column: 'eval/rewards/margins' }, all)!;
    const total = await tinyRun(MARGIN);
    const whole_ = total.records<StepRecord>('iteration-1/steps.jsonl');
    expect(all).toEqual(whole_.slice(0, all.length));
    expect([all.length, best]).toEqual([best + 2, expect.any(Number)]);
    expect(all.length).toBeLessThan(whole_.length);
    // A run whose training ends at the best step has the same checkpoint.
    const note = whole.events.flatMap((event) =>
      event.type === 'stage_finished' && event.stage === 'train' ? event.note : [],
    );
    expect(note[0]).toContain(`the weights of step ${best} are kept of ${all.length} (of `);
    expect(await cream('verify', whole.directory)).toMatchObject({ code: 0 });

    for (let at = 1; at <= all.length; at++) {
      const stop = new AbortController();
      let left = at;
      const options = {
        signal: stop.signal,
        onEvent: ({ type }: { type: string }) =>
          void (type === 'step' && --left === 0 && stop.abort()),
      };
      const directory = join(whole.directory, '..', `stopped-${at}`);
      await tinyRun(settings, { directory, ...options }).catch(() => {});
      const resumed = await tinyRun(settings, { directory });
      expect(artefacts(resumed.directory)).toEqual(artefacts(whole.directory));
    }
    const files = readdirSync(join(whole.directory, 'iteration-1/checkpoint'));
    expect(files).toEqual(readdirSync(join(total.directory, 'iteration-1/checkpoint')));
    const [weights] = SOME;
    expect(artefacts(whole.directory)[weights]).not.toBe(artefacts(total.directory)[weights]);
  });

  it('stops early on a task', async () => {
    const { records, events } = await tinyRun([
      ...MARGIN.slice(0, -1),
      'evaluate.tasks=[builtin]',
      'evaluate.count=3',
      'evaluate.max_new_tokens=4',
      'evaluate.baseline=false',
      'evaluate.metric=accuracy',
      'evaluate.patience=1',
    ]);
    // A tiny model answers nothing right, so the second evaluation is no better than the first.
    const all = records<StepRecord>('iteration-1/steps.jsonl');
    expect(all.map((step) => step['eval/accuracy'])).toEqual([0, 0]);
    expect(events.some(({ type }) => type === 'run_finished')).toBe(true);
  });

  it('warns of too few pairs and trains to the end', async () => {
    const { records, events } = await tinyRun(['evaluate.every=1', 'prompts.count=3']);
    const warnings = events.flatMap((event) => (event.type === 'warning' ? event.message : []));
    expect(warnings.join()).toContain('too few to leave any out of training');
    expect(records<StepRecord>('iteration-1/steps.jsonl')[0]).not.toHaveProperty(
      'eval/rewards/margins',
    );
  });
});
