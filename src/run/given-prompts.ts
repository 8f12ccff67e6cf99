/**
 * Prompts that a Node program passes to run() (`prompts.source: program`). They are written to the
 * run directory before anything else, so that a resumed run reads the same ones.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Message } from '../data/records.js';
import { shown } from '../engine/arguments.js';
import { RunError, untilAborted } from './errors.js';
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

/** Read once from beginning to end, or not at all by a call that resumes a run. */
export type PromptRows = Iterable<PromptRow> | AsyncIterable<PromptRow>;

/**
 * The recipe with the given prompts as a file. A run that has made nothing yet takes the prompts of
 * this call, so that wrong ones can be corrected.
 */
export async function locatePrompts(
  recipe: Recipe,
  given: PromptRows | undefined,
  {
    directory,
    records,
    resumed,
    signal,
  }: { directory: string; records: Records; resumed: boolean; signal: AbortSignal },
): Promise<Recipe> {
  if (recipe.prompts.source !== PROGRAM) {
    if (given != null)
      throw new RunError(
        'ERR_RECIPE',
        `prompts.source is ${shown(recipe.prompts.source)}, but run() was given prompts: set ` +
          `prompts.source to ${PROGRAM}, or leave \`prompts\` out.`,
      );
    return recipe;
  }
  const path = join(directory, GIVEN_PROMPTS);
  if (!existsSync(path) || (given != null && !resumed)) {
    if (given == null) throw noProgram();
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
  for await (const row of untilStopped(given, signal)) {
    const prompt = `Prompt ${rows.length} of those that run() was given`;
    if (typeof row === 'string') rows.push({ prompt: row });
    else if (typeof row === 'object' && row !== null && !Array.isArray(row)) {
      refuseUnwritable(row, prompt);
      rows.push(row);
    } else
      throw new RunError(
        'ERR_RUN_DATA',
        `${prompt} is ${shown(row)}: give text, or an object with prompt, messages, instruction ` +
          'or question.',
      );
  }
  if (rows.length === 0)
    throw new RunError('ERR_RUN_DATA', 'run() was given no prompts: give at least one.');
  return rows;
}

/** The rows of a program's source, which may never deliver the next one. */
async function* untilStopped(given: PromptRows, signal: AbortSignal): AsyncGenerator<PromptRow> {
  const rows = (async function* () {
    yield* given;
  })();
  try {
    for (;;) {
      const { done, value } = await untilAborted(rows.next(), signal);
      if (done === true) return;
      yield value;
    }
  } finally {
    const closed = rows.return().catch(() => {});
    if (!signal.aborted) await closed;
  }
}

/** @throws RunError for a row with a value that JSON does not have, e.g. a bigint */
function refuseUnwritable(row: object, prompt: string): void {
  try {
    JSON.stringify(row);
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0]!;
    throw new RunError(
      'ERR_RUN_DATA',
      `${prompt} cannot be written as JSON (${reason}): give texts, numbers and lists.`,
      { cause },
    );
  }
}
