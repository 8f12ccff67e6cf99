// Writes docs/recipes.md from the schema in src/run/recipe.ts (compiled to dist/). `--check` fails
// if the page is out of date.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { recipesPage } from '../dist/run/recipe-page.js';

const file = fileURLToPath(new URL('../docs/recipes.md', import.meta.url));
const page = recipesPage();
if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== page) {
    console.error('docs/recipes.md is out of date; run: node scripts/recipes-doc.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(file, page);
}
