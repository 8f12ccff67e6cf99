import { describe, expect, it } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipesPage } from '../../src/run/recipe-page.js';

const root = new URL('../../', import.meta.url);
const names = readdirSync(new URL('recipes/', root)).filter((name) => name.endsWith('.yaml'));
const text = (name: string) => readFileSync(new URL(`recipes/${name}`, root), 'utf8');

describe('the recipes that come with the program', () => {
  it.each(names)('%s is valid, and opens with command, time, memory and what to expect', (name) => {
    parseRecipe(text(name), name);
    const head = text(name).split('\n\n')[0]!;
    for (const word of ['command', 'time', 'memory', 'expect']) expect(head).toMatch(new RegExp(`^#   ${word} +\\S`, 'm'));
  });

  it('srlm.yaml is quickstart.yaml but for C', () => {
    const { rank: _, ...srlm } = parseRecipe(text('srlm.yaml'), 'srlm.yaml'), { rank: __, ...quick } = parseRecipe(text('quickstart.yaml'), 'quickstart.yaml');
    expect(srlm).toEqual(quick);
  });
});

it('docs/recipes.md is what the schema says; run: node scripts/recipes-doc.mjs', () => {
  expect(readFileSync(new URL('docs/recipes.md', root), 'utf8')).toBe(recipesPage());
});
