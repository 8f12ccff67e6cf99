/** The recipes that come with the program: those beside package.json, by name. */
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isFile } from '../files/files.js';

const FOLDER = fileURLToPath(new URL('../../recipes', import.meta.url));

export interface ShippedRecipe {
  name: string;
  path: string;
  /** Its opening comment, without `#`. */
  about: string;
}

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

/**
 * A file of that name where there is one, else the shipped recipe; else the name, for the reader to
 * complain about.
 */
export async function findRecipe(name: string): Promise<string> {
  // not a run directory of that name
  if (isFile(name)) return name;
  return (await shippedRecipes()).find((recipe) => recipe.name === name)?.path ?? name;
}
