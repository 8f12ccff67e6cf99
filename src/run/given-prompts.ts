/**
 * Prompts that a Node program passes to run() (`prompts.source: program`). They are written to the
 * run directory before anything else, so that a resumed run reads the same ones.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Message } from '../data/records.js';
import { shown } from '../engine/arguments.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';
import type { Records } from './records.js';
import { onDisk, toJsonl } from './store.js';

export const PROGRAM = 'program';
/** The file of the given prompts in the run directory. */
export const GIVEN_PROMPTS = 'given-prompts.jsonl';

/** A prompt as text, or a row with the columns of a file of prompts (docs/data.md). */
export type PromptRow =
  | string
  | ({ id?: string; answer?: string } & (
      | { prompt: string | readonly Message[] }
      | { messages: readonly Message[] }
      | { instruction: string; input?: string }
      | { question: string }
    ));

/** Read once from beginning to end, or not at all if the run directory already has its prompts. */
export type PromptRows = Iterable<PromptRow> | AsyncIterable<PromptRow>;

/** The recipe with the given prompts as a file, which is written unless it exists. */
export async function locatePrompts(
  recipe: Recipe,
  given: PromptRows | undefined,
  { directory, records, signal }: { directory: string; records: Records; signal: AbortSignal },
): Promise<Recipe> {
  if (recipe.prompts.source !== PROGRAM) {
    if (given !== undefined)
      throw new RunError(
        'ERR_RECIPE',
        `prompts.source is ${shown(recipe.prompts.source)}, but run() was given prompts: set ` +
          `prompts.source to ${PROGRAM}, or leave \`prompts\` out.`,
      );
    return recipe;
  }
  const path = join(directory, GIVEN_PROMPTS);
  if (!existsSync(path)) {
    if (given === undefined) throw noProgram();
    const rows = await rowsOf(given, signal);
    await onDisk(path, () => records.write(GIVEN_PROMPTS, toJsonl(rows)));
  }
  return withLocatedPrompts(recipe, directory);
}

/** The recipe of the run in `directory` with the file of its prompts. */
export function withLocatedPrompts(recipe: Recipe, directory: string): Recipe {
  const source =
    recipe.prompts.source === PROGRAM ? join(directory, GIVEN_PROMPTS) : recipe.prompts.source;
  return { ...recipe, prompts: { ...recipe.prompts, source } };
}

/** The error of a recipe that takes its prompts from a program when there is none. */
export function noProgram(): RunError {
  return new RunError(
    'ERR_RECIPE',
    `prompts.source: ${PROGRAM} is for Node programs, which pass their prompts to run() as ` +
      '`prompts`; name a file, a data set or builtin instead.',
  );
}

async function rowsOf(given: PromptRows, signal: AbortSignal): Promise<object[]> {
  const rows: object[] = [];
  for await (const row of given) {
    signal.throwIfAborted();
    if (typeof row === 'string') rows.push({ prompt: row });
    else if (typeof row === 'object' && row !== null && !Array.isArray(row)) rows.push(row);
    else
      throw new RunError(
        'ERR_RUN_DATA',
        `Prompt ${rows.length} of those that run() was given is ${shown(row)}: give text, or an ` +
          'object with prompt, messages, instruction or question.',
      );
  }
  if (rows.length === 0)
    throw new RunError('ERR_RUN_DATA', 'run() was given no prompts: give at least one.');
  return rows;
}
