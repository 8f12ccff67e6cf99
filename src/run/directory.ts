/**
 * Checks a run directory before work continues in it: which run it belongs to, what is finished,
 * and whether recipe, model, inputs and files are unchanged.
 */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, rmSync, statSync, type Stats } from 'node:fs';
import { basename, join } from 'node:path';
import type { PromptRecord } from '../data/records.js';
import { isFile, isThere } from '../files/files.js';
import { modelDigest, type ResolvedModel } from '../models/resolve.js';
import { choosePrompts, readPrompts } from './data.js';
import { RunError, stoppable } from './errors.js';
import { GIVEN_PROMPTS, PROGRAM, withLocatedPrompts } from './given-prompts.js';
import { readOwnText } from './own-files.js';
import { firstDifference, parseRecipe, recipeDigest, recipeText } from './recipe-file.js';
import type { Recipe } from './recipe.js';
import { Records, RECORDS } from './records.js';
import { inputDigests } from './sources.js';
import {
  EVENTS,
  LOCK,
  onDisk,
  phaseFolder,
  readRecords,
  RECIPE,
  REPORT,
  RUN,
  SUMMARY,
  writeAtomic,
} from './store.js';
import { isRun } from './run-folder.js';
import {
  acceptFiles,
  checkBeforeResume,
  refuseRecordsOfAnotherRun,
  RUN_RECORDS,
  type Damage,
} from './verify.js';
import { versionsOf, type Versions } from './versions.js';

/** Refuses a directory that contains other files. */
export function checkDirectory(directory: string): void {
  refuseOtherThanFolder(directory);
  if (!existsSync(directory) || isRun(directory)) return;
  const prepared = isThere(join(directory, RECIPE)) ? [RECIPE, GIVEN_PROMPTS] : [];
  let foreign: string | undefined;
  try {
    foreign = firstBeside(directory, [...BOOKKEEPING, ...prepared]);
  } catch (error) {
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${directory} cannot be a run directory (${(error as Error).message}); choose ` +
        'another one.',
      { cause: error },
    );
  }
  if (foreign !== undefined && isThere(join(directory, RUN)))
    throw new RunError(
      'ERR_RUN_DATA',
      `${join(directory, RECIPE)} is missing, without which the run cannot go on: restore ` +
        'it from a copy, or choose another run directory.',
    );
  if (foreign !== undefined)
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${directory} is not a run directory and holds ${JSON.stringify(foreign)}: choose ` +
        'another one.',
    );
}

/** @throws RunError where something that is no folder is at `directory` */
function refuseOtherThanFolder(directory: string): void {
  let found: Stats | undefined;
  try {
    found = lstatSync(directory, { throwIfNoEntry: false });
    if (found === undefined || statSync(directory).isDirectory()) return;
  } catch {
    if (found?.isSymbolicLink() !== true) return; // making the folder explains it
  }
  throw new RunError(
    'ERR_RUN_MISMATCH',
    `${directory} cannot be a run directory: it is ` +
      (found?.isFile()
        ? 'a file'
        : found?.isSymbolicLink()
          ? 'a link that leads to no folder'
          : 'a pipe or a device') +
      '; choose another one.',
  );
}

const BOOKKEEPING = [LOCK, EVENTS, REPORT, RECORDS] as const;

function firstBeside(directory: string, bookkeeping: readonly string[]): string | undefined {
  return readdirSync(directory).find(
    (name) =>
      !bookkeeping.includes(name) && !/^(lock\.|(recipe\.yaml|records\.jsonl)\.tmp-)/.test(name),
  );
}

/**
 * The records of a run directory. A run of an earlier version has none, and its files are accepted
 * as they are. @throws RunError if the records are lost or damaged
 */
export async function openRecords(
  directory: string,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<Records> {
  const records = await Records.open(directory, RUN_RECORDS);
  if (records) return records;
  if (!isThere(join(directory, RECIPE))) return Records.create(directory, RUN_RECORDS);
  if (isFile(join(directory, RUN)) && readRunFile(join(directory, RUN)).format === FORMAT)
    throw new RunError(
      'ERR_RUN_DATA',
      `${join(directory, RECORDS)} ${NO_RECORDS.what}: ${NO_RECORDS.remedy}.`,
    );
  const accepted = await stoppable(signal, () => acceptFiles(directory, signal));
  if (accepted > 1)
    warn(
      `${directory} was begun by a version that kept no record of its files: its ${accepted} ` +
        'files are taken as they are, and unfinished stages start again.',
    );
  return (await Records.open(directory, RUN_RECORDS))!;
}

const NO_RECORDS: Damage = {
  file: RECORDS,
  what: 'is missing, so the files of the run cannot be checked',
  remedy:
    'restore it from a copy, or, if the files are known to be good, record them again with ' +
    '`cream verify --accept`',
};

/** The loss of its records by a run that kept some. */
export function lostRecords(directory: string): Damage[] {
  try {
    return readRunFile(join(directory, RUN)).format === FORMAT ? [NO_RECORDS] : [];
  } catch {
    return []; // run.json does not tell
  }
}

/** The state that an earlier call left behind. */
export interface Begun {
  resumed: boolean;
  /** All iterations of this recipe are finished, and their files are unchanged. */
  finished: boolean;
}

/** Checks the recipe and the files of an earlier call. @throws RunError naming a damaged file. */
export async function checkBegun(
  directory: string,
  recipe: Recipe,
  records: Records,
  signal: AbortSignal,
): Promise<Begun> {
  if (isThere(join(directory, RECIPE)) && records.newest(RECIPE))
    await restoreRecipe(directory, recipe, records);
  const { resumed, extended } = await checkRecipe(directory, recipe, records);
  const finished = existsSync(join(directory, SUMMARY)) && !extended;
  const whole = await stoppable(signal, () =>
    checkBeforeResume(records, { checkpoints: finished, signal }),
  );
  return { resumed, finished: finished && whole };
}

/** Writes a damaged recipe.yaml again if this recipe is the one that it contained. */
async function restoreRecipe(directory: string, recipe: Recipe, records: Records): Promise<void> {
  const what = await records.damage(RECIPE);
  if (what === undefined) return;
  await refuseRecordsOfAnotherRun(records);
  const text = recipeText(recipe);
  if (sha256(text) !== records.newest(RECIPE)!.sha256)
    throw new RunError(
      'ERR_RUN_DATA',
      `${join(directory, RECIPE)} ${what}: restore it, or give the recipe that the run began ` +
        'with, from which it is written again.',
    );
  await writeAtomic(join(directory, RECIPE), text);
}

/**
 * Whether the run began before. Its recipe must be this one, unless the earlier call failed before
 * it made anything, so that a mistake in the recipe, a file or the given prompts can be corrected.
 * With more iterations in the same recipe the run continues.
 */
async function checkRecipe(
  directory: string,
  recipe: Recipe,
  records: Records,
): Promise<{ resumed: boolean; extended: boolean }> {
  const begun = await begunWith(directory, recipe);
  if (begun === 'same') return { resumed: true, extended: false };
  if (begun === 'unused') {
    const given = recipe.prompts.source === PROGRAM ? [] : [GIVEN_PROMPTS];
    for (const name of [RUN, ...given]) {
      await records.withdraw(name);
      rmSync(join(directory, name), { force: true });
    }
  }
  await onDisk(join(directory, RECIPE), async () => {
    if (begun === 'extended') {
      // This comes first, because a run with a summary counts as finished.
      await records.withdraw(SUMMARY);
      rmSync(join(directory, SUMMARY), { force: true });
    }
    await records.write(RECIPE, recipeText(recipe));
  });
  return { resumed: begun === 'extended', extended: begun === 'extended' };
}

/**
 * Relates a directory to a recipe: `new`, `unused` so far, begun with the `same` recipe, or
 * `extended` by more iterations. @throws RunError if it belongs to another recipe
 */
export async function begunWith(
  directory: string,
  recipe: Recipe,
): Promise<'new' | 'same' | 'unused' | 'extended'> {
  const path = join(directory, RECIPE);
  if (!isThere(path)) return 'new';
  const before = parseRecipe(readOwnText(path, 'recipe'), path);
  const own = [...BOOKKEEPING, RECIPE, RUN, GIVEN_PROMPTS];
  if (firstBeside(directory, own) === undefined) return 'unused';
  const difference = firstDifference(before, recipe);
  if (!difference) return 'same';
  if (isExtension(before, recipe)) {
    await checkSamePrompts(directory, recipe, before.iterations);
    return 'extended';
  }
  throw new RunError(
    'ERR_RUN_MISMATCH',
    `${directory} was made with ${difference.key} = ${difference.a}, this recipe says ` +
      `${difference.b}: choose another run directory, or set ${difference.key} back to resume ` +
      'that run.',
  );
}

const isExtension = (before: Recipe, now: Recipe): boolean =>
  now.iterations > before.iterations &&
  firstDifference({ ...before, iterations: now.iterations }, now) === undefined;

/** Refuses more iterations if they would change the prompts of finished ones. */
async function checkSamePrompts(directory: string, recipe: Recipe, until: number): Promise<void> {
  if (recipe.pairs.source !== null) return;
  const source = await readPrompts(withLocatedPrompts(recipe, directory));
  for (let t = 1; t <= until; t++) {
    const path = join(directory, phaseFolder(t), 'prompts.jsonl');
    if (!existsSync(path)) return;
    const ids = (await readRecords<PromptRecord>(path)).map(({ id }) => id);
    const now = choosePrompts(recipe, t, source).prompts.map(({ id }) => id);
    if (JSON.stringify(ids) !== JSON.stringify(now))
      throw new RunError(
        'ERR_RUN_MISMATCH',
        `${directory} cannot go on to ${recipe.iterations} iterations: with them, iteration ${t} ` +
          'would have used other prompts (prompts.count: 0 divides the source by iterations). ' +
          'Choose another run directory.',
      );
  }
}

/** Runs with records.jsonl; runs of version 0.1.0 have no format. */
const FORMAT = 2;

interface RunFile {
  format?: number;
  recipe: string;
  model: { name: string; digest: string };
  /** Digests of the inputs (`inputDigests`); absent in runs of version 0.1.0. */
  sources?: Record<string, string>;
  versions: Versions;
}

/**
 * The run's base model must be the one that it began with. Returns its digest, those of the other
 * inputs and the plan, on which every artefact depends.
 */
export async function checkModel(
  records: Records,
  recipe: Recipe,
  resolved: ResolvedModel,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<{ plan: string; digest: string; sources: Record<string, string> }> {
  const directory = records.folder;
  const file: RunFile & Required<Pick<RunFile, 'sources'>> = {
    format: FORMAT,
    recipe: recipeDigest(recipe),
    model: {
      name: recipe.model,
      digest: await stoppable(signal, () => modelDigest(resolved, signal)),
    },
    sources: await stoppable(signal, () => inputDigests(recipe, signal)),
    versions: versionsOf(recipe),
  };
  const path = join(directory, RUN);
  const textOf = (content: RunFile) => `${JSON.stringify(content, null, 2)}\n`;
  const write = (content: RunFile) => onDisk(path, () => records.write(RUN, textOf(content)));
  if (!existsSync(path)) {
    const known = records.newest(RUN);
    if (known && !known.pruned && known.sha256 !== sha256(textOf(file)))
      throw new RunError(
        'ERR_RUN_DATA',
        `${path} is missing, and recipe, model, inputs or versions are no longer what the run ` +
          'began with: restore it from a copy, or choose another run directory.',
      );
    await write(file);
  } else {
    const before = readRunFile(path);
    if (before.model.digest !== file.model.digest)
      throw new RunError(
        'ERR_RUN_MISMATCH',
        `${directory} began with other weights of ${recipe.model} ` +
          `(${before.model.digest.slice(0, 20)}…, now ${file.model.digest.slice(0, 20)}…): ` +
          'bring those back, or choose another run directory.',
      );
    for (const [source, digest] of Object.entries(before.sources ?? {}))
      if (file.sources[source] !== digest)
        throw sourceChanged(directory, source, digest, file.sources[source]);
    const changed = (['cream', 'torch', 'kernels'] as const).find(
      (name) =>
        before.versions[name] !== undefined && before.versions[name] !== file.versions[name],
    );
    if (changed)
      warn(
        `${basename(directory)} began with ${changed === 'kernels' ? 'kernels for' : changed} ` +
          `${before.versions[changed]} and goes ` +
          `on with ${file.versions[changed]}: the last bits of its numbers may differ from ` +
          'an uninterrupted run.',
      );
    if (before.recipe !== file.recipe) await write({ ...before, recipe: file.recipe });
  }
  // An artefact does not depend on the number of iterations after it.
  const digest = recipeDigest({ ...recipe, iterations: 1 });
  const plan = sha256(`${digest} ${file.model.digest}`);
  return { plan, digest: file.model.digest, sources: file.sources };
}

function sourceChanged(
  directory: string,
  source: string,
  before: string,
  now: string | undefined,
): RunError {
  const moved = before.startsWith('hub:');
  return new RunError(
    'ERR_RUN_MISMATCH',
    moved
      ? `${directory} began with revision ${before.slice('hub:'.length)} of ${source}, which is ` +
          `now ${now?.slice('hub:'.length) ?? 'not known'}: choose another run directory, or ` +
          'fetch that revision again.'
      : `${directory} began with different content of ${source} (SHA-256 ${shortly(before)}, ` +
          `now ${shortly(now)}): bring that back, or choose another run directory.`,
  );
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const shortly = (digest: string | undefined): string =>
  digest === undefined ? 'not a file' : `${digest.slice(0, 12)}…`;

function readRunFile(path: string): RunFile {
  const text = readOwnText(path, 'record');
  try {
    return JSON.parse(text) as RunFile;
  } catch (cause) {
    throw new RunError(
      'ERR_RUN_DATA',
      `${path} is damaged (${(cause as Error).message.split('\n')[0]}), so what the run ` +
        'began with is unknown: restore it, or choose another run directory.',
      { cause },
    );
  }
}
