/** `cream init NAME`: a copy of a shipped recipe, with the user's model, prompts and counts. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { isScalar, parseDocument } from 'yaml';
import { loadPrompts } from '../../data/prompts.js';
import { RunError } from '../../run/errors.js';
import { parseRecipe } from '../../run/recipe-file.js';
import { requireIfLocal } from '../../run/sources.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { wholeNumber, type Cli } from '../cli.js';
import { outputOf, writeOutput } from '../output.js';
import { shippedRecipes } from '../recipes.js';
import { openTerminal } from '../terminal.js';
import { fetchData } from '../stage.js';
import { printJson, printLine } from '../table.js';

interface Flags {
  out: string;
  model?: string;
  prompts?: string;
  iterations?: number;
  json?: boolean;
}

export function addInit(program: Command, cli: Cli): void {
  program
    .command('init')
    .description('copy a recipe and fit it to your model and prompts')
    .argument('[name]', 'the recipe, see `cream recipes`', 'quickstart')
    .option('-o, --out <file>', 'the copy', 'recipe.yaml')
    .option('--model <name>', 'the base model')
    .option('--prompts <source>', 'your prompts: a file or hub:org/name; counts are fitted to it')
    .option('--iterations <number>', 'iterations', wholeNumber)
    .option('--json', 'print the result as JSON')
    .action(async (name: string, flags: Flags) => {
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
      const given = { ...(await askFor(flags, cli)), ...flags };
      if (given.model !== undefined) {
        given.model = modelOrCheckpoint(given.model);
        await requireIfLocal(given.model);
      }
      const text = await fitted(name, await readFile(found.path, 'utf8'), given, cli);
      parseRecipe(text, flags.out); // refuses a flag that contradicts the recipe
      await writeOutput(output, text, cli.signal);
      if (output.kind !== 'file') return;
      if (flags.json) return printJson({ file: flags.out, recipe: name });
      printLine(`${flags.out} is a copy of ${name}.`);
      printLine(`Estimate it: npx cream plan ${flags.out}`);
      printLine(`Run it:      npx cream run ${flags.out}`);
    });
}

/** Asks on a terminal for the model and the prompts that no flag gives. */
async function askFor({ model, prompts }: Flags, { signal }: Cli): Promise<Partial<Flags>> {
  if (!process.stdin.isTTY || model !== undefined || prompts !== undefined) return {};
  const terminal = openTerminal(signal);
  const answer = async (text: string) => (await terminal.question(text, { signal })).trim();
  const asked = {
    model: await answer('Model, a folder, GGUF file or hub id [as in the recipe]: '),
    prompts: await answer('Your prompts, a file or hub:org/name [as in the recipe]: '),
  };
  terminal.close();
  return Object.fromEntries(Object.entries(asked).filter(([, text]) => text !== ''));
}

/**
 * The recipe with these settings. Its comments are kept, apart from those that were about other
 * values: its head, and the comments of the keys that are set.
 */
async function fitted(
  name: string,
  text: string,
  flags: Partial<Flags>,
  cli: Cli,
): Promise<string> {
  const { model, prompts, iterations } = flags;
  const document = parseDocument(text);
  const set = (path: string[], value: string | number): void => {
    document.setIn(path, value);
    const node = document.getIn(path, true);
    if (isScalar(node)) node.comment = null;
  };
  if (prompts !== undefined && document.hasIn(['pairs', 'source']))
    throw new RunError(
      'ERR_RECIPE',
      `The recipe ${name} trains on given preference pairs and takes no --prompts: leave the ` +
        'flag out and set pairs.source in the copy to your pairs.',
    );
  if (model !== undefined) set(['model'], model);
  if (iterations !== undefined) set(['iterations'], iterations);
  if (prompts !== undefined) {
    await fetchData([prompts], cli);
    const { records } = await loadPrompts(prompts);
    const parts = Number(document.get('iterations') ?? 2);
    const each = Math.floor(records.length / Math.max(1, parts));
    if (each === 0)
      throw new RunError(
        'ERR_RUN_DATA',
        `${prompts} holds ${records.length} prompts, too few for ${parts} iterations; add ` +
          'prompts, or give a lower --iterations.',
      );
    set(['prompts', 'source'], prompts);
    set(['prompts', 'count'], each);
    const batch = Number(document.getIn(['train', 'batch_size']) ?? 32);
    if (batch > each) set(['train', 'batch_size'], each);
  }
  if (model === undefined && prompts === undefined && iterations === undefined) return text;
  document.commentBefore =
    ` The recipe ${name} with settings of cream init. Time, memory and results of the original\n` +
    ' stand in its head (cream init without flags); docs/recipes.md explains every key.';
  return document.toString({ lineWidth: 0 });
}
