/** `cream init NAME`: a copy of a shipped recipe to change. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { RunError } from '../../run/errors.js';
import type { Cli } from '../cli.js';
import { outputOf, writeOutput } from '../output.js';
import { shippedRecipes } from '../recipes.js';
import { printLine } from '../table.js';

export function addInit(program: Command, _cli: Cli): void {
  program
    .command('init')
    .description('copy a recipe to change it')
    .argument('[name]', 'which one, see `cream recipes`', 'quickstart')
    .option('-o, --out <file>', 'the copy [recipe.yaml]', 'recipe.yaml')
    .action(async (name: string, flags: { out: string }) => {
      const recipes = await shippedRecipes();
      const found = recipes.find((recipe) => recipe.name === name);
      if (!found)
        throw new RunError(
          'ERR_RECIPE',
          `There is no recipe '${name}'; there are ` +
            `${recipes.map((recipe) => recipe.name).join(', ')}.`,
        );
      const output = outputOf(flags.out);
      if (output.kind === 'file' && existsSync(flags.out))
        throw new RunError(
          'ERR_DISK',
          `Cannot write ${flags.out}: the file exists; choose another --out.`,
        );
      await writeOutput(output, await readFile(found.path, 'utf8'));
      if (output.kind === 'file')
        printLine(`${flags.out} is a copy of ${name}. Run it: cream run ${flags.out}`);
    });
}
