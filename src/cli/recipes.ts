/** The recipes that are shipped with the program, by name. */
import { existsSync, statSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { editDistance } from '../files/edit-distance.js';
import { readText, type FileError } from '../files/read.js';
import { isRun } from '../run/run-folder.js';
import { RunError } from '../run/errors.js';
import { RECIPE } from '../run/store.js';

const FOLDER = fileURLToPath(new URL('../../recipes', import.meta.url));

export interface ShippedRecipe {
  name: string;
  path: string;
  /** Its opening comment, without `#`. */
  about: string;
}

/** The recipes that come with the package, by name, each with the comment at its head. */
export async function shippedRecipes(): Promise<ShippedRecipe[]> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.yaml')).sort();
  return Promise.all(
    files.map(async (file) => {
      const path = join(FOLDER, file);
      const comment = (await readFile(path, 'utf8')).split('\n').slice(0, 40);
      const end = comment.findIndex((line) => !line.startsWith('#'));
      return {
        name: basename(file, '.yaml'),
        path,
        about: comment
          .slice(0, end)
          .map((line) => line.replace(/^# ?/, ''))
          .join('\n')
          .trim(),
      };
    }),
  );
}

/** The first sentence of a recipe's comment, on one line. */
export function firstSentence(about: string): string {
  const paragraph = about.split(/\n\s*\n/)[0]!.replace(/\s+/g, ' ');
  return /^.+?\.(?= \p{Lu}|$)/u.exec(paragraph)?.[0] ?? paragraph;
}

/**
 * The text of a recipe: the file of that name if it exists, otherwise the shipped recipe. @throws
 * RunError with the known names
 */
export async function readRecipe(name: string): Promise<{ file: string; text: string }> {
  try {
    return { file: name, text: await readText(name, 'recipe') };
  } catch (cause) {
    const { code, reason } = cause as FileError;
    if (!['ENOENT', 'ENOTDIR', 'EISDIR'].includes(code))
      // Otherwise it is a name or a run directory.
      throw new RunError('ERR_RECIPE', `Cannot read the recipe ${name}: ${reason}.`, { cause });
  }
  const shipped = await shippedRecipes();
  const found = shipped.find((recipe) => recipe.name === name);
  if (found === undefined) throw new RunError('ERR_RECIPE', noRecipe(name, shipped));
  return { file: found.path, text: await readFile(found.path, 'utf8') };
}

function noRecipe(name: string, shipped: readonly ShippedRecipe[]): string {
  if (statSync(name, { throwIfNoEntry: false })?.isDirectory()) return folderInsteadOfRecipe(name);
  const [nearest] = shipped
    .map((recipe) => ({ name: recipe.name, distance: editDistance(name, recipe.name) }))
    .sort((a, b) => a.distance - b.distance);
  const near = nearest !== undefined && nearest.distance <= 2;
  return (
    `There is no recipe '${name}': no such file, and none that comes with the program. ` +
    (near
      ? `Did you mean '${nearest.name}'?`
      : `These do: ${shipped.map((recipe) => recipe.name).join(', ')}.`)
  );
}

function folderInsteadOfRecipe(folder: string): string {
  const recipe = join(folder, RECIPE);
  if (isRun(folder))
    return (
      `${folder} is a run directory; to resume it, run its recipe: cream run ${recipe} ` +
      `--out ${folder}`
    );
  return existsSync(recipe)
    ? `${folder} is a folder; run its recipe: cream run ${recipe} --out <dir>`
    : `${folder} is a folder; name a recipe's YAML file.`;
}
