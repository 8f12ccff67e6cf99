/** Generates docs/recipes.md from the schema: a key is documented only where it is declared. */
import { stringify } from 'yaml';
import { conditionText } from './recipe-effect.js';
import { recipeFields, type RecipeField } from './recipe-fields.js';

const HEAD = `# Recipes

<!-- Made by scripts/recipes-doc.mjs from src/run/recipe.ts: change it there. -->

One YAML file describes a run. Settings that it leaves out have the defaults below, and the complete
recipe is written to \`recipe.yaml\` in the run directory. Settings can be overridden on the command
line, with the same checks:

\`\`\`sh requires=time
npx cream run quickstart --out runs/mine \\
  --set train.learning_rate=5.0e-6 --set iterations=3
\`\`\`

\`cream recipes\` lists the recipes that come with the program; \`cream init NAME\` copies one.
An error names the place:
\`recipe.yaml:5:3 sample.topp: unknown key; did you mean 'top_p'?\` Paths are
relative to the folder in which the command runs. A run directory belongs to its recipe: to change
a setting, choose another \`--out\`.

A setting that has no effect beside the others is an error: a key says where it is used. The keys of
\`sft\` and \`lora\` may stay in a recipe that sets their \`enabled\` to false.
`;

/** docs/recipes.md: every key of a recipe with its type, default and meaning. */
export function recipesPage(): string {
  const fields = recipeFields();
  const top = fields.filter((field) => !field.key.includes('.') && field.type !== 'section');
  const sections = fields.filter((field) => field.type === 'section');
  return (
    [
      HEAD,
      '## Top level\n',
      table(top),
      ...sections.flatMap((section) => [
        `\n## \`${section.key}\`\n`,
        `${section.description}${only(section)}\n`,
        table(fields.filter((field) => field.key.startsWith(`${section.key}.`))),
      ]),
    ].join('\n') + '\n'
  );
}

function table(fields: readonly RecipeField[]): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const row = (field: RecipeField) =>
    `| \`${field.key}\` | ${cell(field.type)} | \`${shown(field.default)}\` | ` +
    `${cell(field.description)}${only(field)} |`;
  return [
    '| key | type | default | what it does |',
    '| --- | --- | --- | --- |',
    ...fields.map(row),
  ].join('\n');
}

/** The key's own condition; that of its section is printed above the table. */
function only({ key, effects }: RecipeField): string {
  const outer = recipeFields().find((field) => field.key === key.replace(/\.?[^.]*$/, ''));
  const own = effects.at(outer?.effects.length ?? 0);
  return own === undefined
    ? ''
    : ` Used only where ${conditionText(own, (text) => `\`${text}\``)}.`;
}

function shown(value: unknown): string {
  return Array.isArray(value) ? JSON.stringify(value) : stringify(value).trim();
}
