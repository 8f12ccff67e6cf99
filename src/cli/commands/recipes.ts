/** `cream recipes`: the recipes that come with the program. */
import type { Command } from 'commander';
import type { Cli } from '../cli.js';
import { firstSentence, shippedRecipes } from '../recipes.js';
import { printJson, printLine } from '../table.js';

export function addRecipes(program: Command, _cli: Cli): void {
  program
    .command('recipes')
    .description('list the recipes that come with the program')
    .option('--json', 'as JSON')
    .action(async (flags: { json?: boolean }) => {
      const recipes = await shippedRecipes();
      if (flags.json) return printJson(recipes);
      const width = Math.max(...recipes.map((recipe) => recipe.name.length));
      for (const recipe of recipes)
        printLine(`${recipe.name.padEnd(width)}  ${firstSentence(recipe.about)}`);
      printLine('\nRun one: cream run NAME. Copy one to change it: cream init NAME.');
    });
}
