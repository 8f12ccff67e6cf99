import { describe, expect, it } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipeFields } from '../../src/run/recipe-fields.js';
import { type Recipe } from '../../src/run/recipe.js';
import { recipesPage } from '../../src/run/recipe-page.js';

const root = new URL('../../', import.meta.url);
const names = readdirSync(new URL('recipes/', root)).filter((name) => name.endsWith('.yaml'));
const text = (name: string) => readFileSync(new URL(`recipes/${name}`, root), 'utf8');

/** The recipes and keys of docs/method.md's table; a key without a section has that before it. */
const methods = readFileSync(new URL('docs/method.md', root), 'utf8')
  .split('\n## Every method is a recipe\n')[1]!
  .split('\n## ')[0]!
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .slice(1)
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => [...cell.matchAll(/`([^`]+)`/g)]))
  .flatMap(([, , recipes, keys]) => {
    let section = '';
    const full = keys!.map(([, text]) => {
      const key = text!.split(':')[0]!;
      if (key.includes('.')) section = key.split('.')[0]!;
      return key.includes('.') ? key : `${section}.${key}`;
    });
    return recipes!
      .map(([, name]) => name!)
      .filter((name) => names.includes(`${name}.yaml`))
      .map((name): [string, string[]] => [name, full]);
  });

describe('the recipes that come with the program', () => {
  it.each(names)('%s is valid, and opens with command, time, memory and what to expect', (name) => {
    parseRecipe(text(name), name);
    const head = text(name).split('\n\n')[0]!;
    for (const word of ['command', 'time', 'memory', 'expect'])
      expect(head).toMatch(new RegExp(`^#   ${word} +\\S`, 'm'));
  });

  it('each have a row in docs/method.md', () => {
    expect(methods.map(([name]) => `${name}.yaml`).sort()).toEqual([...names].sort());
  });

  // A method is data: what else differs between two recipes is an accident, and no comparison.
  it.each(methods.filter(([name]) => !['quickstart', 'cream', 'dpo', 'sft'].includes(name)))(
    '%s.yaml is quickstart.yaml but for %j',
    (name, keys) => {
      const quick = parseRecipe(text('quickstart.yaml'), 'quickstart.yaml');
      const other = parseRecipe(text(`${name}.yaml`), name);
      const different = recipeFields().filter(
        (field) =>
          field.type !== 'section' &&
          JSON.stringify(valueAt(quick, field.key)) !== JSON.stringify(valueAt(other, field.key)),
      );
      expect(different.map((field) => field.key).sort()).toEqual([...keys].sort());
    },
  );
});

const valueAt = (recipe: Recipe, key: string): unknown =>
  key.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], recipe);

it('every key of a recipe is documented', () => {
  expect(
    recipeFields().filter(
      (field) =>
        field.description.length < 10 || typeof field.type !== 'string' || field.type === '',
    ),
  ).toEqual([]);
});

it('docs/recipes.md is what the schema says; run: node scripts/recipes-doc.mjs', () => {
  expect(readFileSync(new URL('docs/recipes.md', root), 'utf8')).toBe(recipesPage());
});
