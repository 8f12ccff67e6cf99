/** Warnings before training: C that is 1 by construction, and C below ½. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import type { RunEvent } from '../../src/run/events.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipeWarnings } from '../../src/run/warnings.js';
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
