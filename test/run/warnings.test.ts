/** Warnings before training: C that is 1 by construction, and C below ½. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import type { PairRecord } from '../../src/data/records.js';
import type { RunEvent } from '../../src/run/events.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { preferenceObjective } from '../../src/run/stages/train.js';
import { recipeWarnings, weightWarning } from '../../src/run/warnings.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const warnings = (text: string) => recipeWarnings(parseRecipe(text, 'recipe.yaml'));

it.each<[string, RegExp[]]>([
  ['iterations: 2', [/iteration 1, C is 1 by construction: .*Set sft\.enabled to true/]],
  ['reward: {source: judge}', [/C is 1 by construction/]],
  ['sft: {enabled: true}', []],
  ['rank: {weighting: fixed}', []],
  [
    'rank: {weighting: fixed, fixed_consistency: 0.3}',
    [/C is 0\.3, below ½: .*Set rank\.fixed_consistency to 0\.5 or more/],
  ],
  ['iterations: 1\npairs: {source: p.jsonl}', []],
  ['reward: {source: gold, against: implicit}', []],
])('%s', (text, expected) =>
  expect(warnings(text)).toEqual(expected.map((pattern) => expect.stringMatching(pattern))),
);

const told = (events: readonly RunEvent[], pattern: RegExp): number[] =>
  events.flatMap((event, i) =>
    event.type === 'warning' && pattern.test(event.message) ? [i] : [],
  );
const training = (events: readonly RunEvent[]): number =>
  events.findIndex((event) => event.type === 'stage_started' && event.stage === 'train');

it('a run without SFT is warned once, before it trains', async () => {
  const { events } = await tinyRun(['iterations=2', 'prompts.count=2']);
  const found = told(events, /iteration 1, C is 1 by construction/i);
  expect(found).toHaveLength(1);
  expect(found[0]).toBeLessThan(training(events));
});

it('a training that changed nothing is found by its scores', async () => {
  const { events } = await tinyRun([
    'iterations=1',
    'sft.enabled=true',
    'sft.count=2',
    'sft.learning_rate=1.0e-30',
  ]);
  const found = told(events, /C is 1 by construction: .*Raise sft\.learning_rate/);
  expect(found).toHaveLength(1);
  expect(found[0]).toBeLessThan(training(events));
});

it('given pairs with a C below ½ are counted', async () => {
  const path = join(temporaryFolder(), 'pairs.jsonl');
  const row = (consistency: number, rejected: string) =>
    JSON.stringify({ prompt: 'Hi', chosen: 'a', rejected, consistency });
  writeFileSync(path, [row(0.2, 'b'), row(0.9, 'c')].join('\n'));
  const { events } = await tinyRun([`pairs.source=${path}`]);
  const found = told(events, /^1 of 2 pairs have a C below ½: .*drop their column consistency/);
  expect(found).toHaveLength(1);
  expect(found[0]).toBeLessThan(training(events));
});

it('a weight of ½, which teaches nothing, is told', async () => {
  const { events } = await tinyRun(['rank.weighting=fixed', 'rank.fixed_consistency=0.5']);
  const found = told(events, /^Iteration 1: the weight of all \d+ pairs is ½, .*raise rank\.fixed/);
  expect(found).toHaveLength(1);
  expect(found[0]).toBeLessThan(training(events));
});

it.each<[string, number[], RegExp | undefined]>([
  ['ranked', [0.2, 0.9], /^1 of 2 pairs have a C below ½: .*`cream prefer --min-consistency 0\.5`/],
  ['ranked', [0.5, 0.5], /^the weight of all 2 pairs is ½, .*rank them again/],
  ['given', [0.5], /^the weight of all 1 pairs is ½, .*column consistency\.$/],
  ['avg', [0.5, 0.5], /set rank\.weighting to fixed/],
  ['dyn', [0.5, 0.9], undefined],
  ['fixed', [0.3], undefined],
  ['ranked', [], undefined],
])('weights of %s pairs: %j', (origin, weights, expected) => {
  const pairs = weights.map((weight) => ({ weight, consistency: weight }) as PairRecord);
  const warning = weightWarning(pairs, origin as Parameters<typeof weightWarning>[1]);
  if (expected === undefined) expect(warning).toBeUndefined();
  else expect(warning).toMatch(expected);
});

it.each([
  [
    'chosen and rejected alike',
    { chosen: -5.579, rejected: -5.57 },
    /chosen completions is -5\.58/,
  ],
  ['one of them', { chosen: 0.01, rejected: 4 }, /rejected completions is 4\.00/],
  ['the margin', { chosen: 0.6, rejected: -0.6 }, /reward margin is 1\.20/],
  ['no reward beyond rounding', { chosen: 0.001, rejected: -0.001 }, undefined],
])('a reference of other weights: %s', (_, { chosen, rejected }, expected) => {
  const recipe = parseRecipe('{}', 'recipe.yaml');
  const pair = { chosen_token_ids: [1, 2], rejected_token_ids: [3] } as unknown as PairRecord;
  const warned: string[] = [];
  preferenceObjective({ pairs: [pair], mismatched: [] }, recipe, ['key'], (message) =>
    warned.push(message),
  ).checkFirst!({
    'rewards/chosen': chosen,
    'rewards/rejected': rejected,
    'rewards/margins': chosen - rejected,
  } as StepRecord);
  expect(warned).toEqual(expected ? [expect.stringMatching(expected)] : []);
});
