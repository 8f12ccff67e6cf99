import { describe, expect, it } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipeFields } from '../../src/run/recipe-fields.js';
import { type Recipe } from '../../src/run/recipe.js';
import { recipesPage } from '../../src/run/recipe-page.js';

const root = new URL('../../', import.meta.url);
const names = readdirSync(new URL('recipes/', root)).filter((name) => name.endsWith('.yaml'));
const text = (name: string) => readFileSync(new URL(`recipes/${name}`, root), 'utf8');

describe('the recipes that come with the program', () => {
  it.each(names)('%s is valid, and opens with command, time, memory and what to expect', (name) => {
    parseRecipe(text(name), name);
    const head = text(name).split('\n\n')[0]!;
    for (const word of ['command', 'time', 'memory', 'expect'])
      expect(head).toMatch(new RegExp(`^#   ${word} +\\S`, 'm'));
  });

  // A method is data: what else differs between two recipes is an accident, and no comparison.
  it.each([
    ['srlm', ['rank.weighting']],
    ['srlm-kl', ['rank.weighting', 'train.kl_coefficient']],
    ['cream-dyn', ['rank.weighting']],
    ['cream-spearman', ['rank.consistency']],
    ['cream-top-order', ['rank.consistency']],
    ['cream-without-rc', ['rank.weighting', 'rank.fixed_consistency']],
    ['oracle', ['reward.source', 'rank.weighting']],
    ['oracle-model', ['reward.source', 'reward.model', 'rank.weighting']],
    ['scores-file', ['reward.source', 'reward.file', 'rank.weighting']],
    ['judge', ['reward.source', 'reward.judgements', 'reward.reasons', 'reward.max_new_tokens']],
    [
      'judge-implicit',
      ['reward.source', 'reward.judgements', 'reward.reasons', 'reward.max_new_tokens'],
    ],
    [
      'scir',
      [
        'reward.source',
        'reward.against',
        'reward.judgements',
        'reward.reasons',
        'reward.max_new_tokens',
        'rank.weighting',
        'rank.require_agreement',
      ],
    ],
    [
      'temporal',
      [
        'reward.source',
        'reward.judgements',
        'reward.reasons',
        'reward.max_new_tokens',
        'rank.weighting',
        'temporal.anchored_rejection',
        'temporal.future_chosen',
      ],
    ],
    ['likelihood', ['reward.source']],
    ['ipo', ['train.loss']],
    ['simpo', ['train.loss', 'train.beta', 'train.simpo_gamma']],
    ['kto', ['rank.weighting', 'train.loss']],
    ['robust', ['train.loss']],
    ['lora', ['train.learning_rate', 'lora.enabled']],
  ])('%s.yaml is quickstart.yaml but for %j', (name, keys) => {
    const quick = parseRecipe(text('quickstart.yaml'), 'quickstart.yaml');
    const other = parseRecipe(text(`${name}.yaml`), name);
    const different = recipeFields().filter(
      (field) =>
        field.type !== 'section' &&
        JSON.stringify(valueAt(quick, field.key)) !== JSON.stringify(valueAt(other, field.key)),
    );
    expect(different.map((field) => field.key)).toEqual(keys);
  });
});

const valueAt = (recipe: Recipe, key: string): unknown =>
  key.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], recipe);

it('docs/recipes.md is what the schema says; run: node scripts/recipes-doc.mjs', () => {
  expect(readFileSync(new URL('docs/recipes.md', root), 'utf8')).toBe(recipesPage());
});
