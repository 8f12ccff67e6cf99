/**
 * Checks whether the files of a run are those that it wrote, when a run is resumed and in `cream
 * verify`. No file is trusted because of its name alone.
 */
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ARTEFACT_COLUMNS } from '../data/columns.js';
import { isHalfWritten } from '../files/files.js';
import { CARD } from './card.js';
import { RunError } from './errors.js';
import { readMetrics } from './metrics-log.js';
import { readOwnBytes, readOwnText } from './own-files.js';
import { parseRecipe, recipeDigest } from './recipe-file.js';
import { digestFile } from './digest.js';
import { Records, RECORDS, type Entry } from './records.js';
import { isPhaseFolder, METRICS, RECIPE, RUN, SUMMARY, TENSORBOARD } from './store.js';
import { eventFileOf } from './tensorboard.js';

/** The owner that a run directory's records name. */
export const RUN_RECORDS = 'run';

export interface Damage {
  /** Path in the run directory. */
  file: string;
  /** The damage, as the predicate of a sentence. */
  what: string;
  /** The way to make the file again. */
  remedy: string;
}

export interface VerifyOptions {
  /** Compare the content of checkpoints too, not only their sizes. */
  checkpoints: boolean;
  signal?: AbortSignal | undefined;
}

const TOP = [RECIPE, RUN, METRICS, SUMMARY];
/** Files that a stage writes before the file that marks it as finished. */
const MADE_WITH: Readonly<Record<string, string>> = {
  'gold.jsonl': 'prompts.jsonl',
  'sampler-check.jsonl': 'scores.jsonl',
  'rankings.jsonl': 'pairs.jsonl',
};
/** Folders of an iteration for the parts of temporal.ts. */
const PARTS = ['initial', 'future'];
const isArtefact = (name: string): boolean => name in ARTEFACT_COLUMNS || name === 'steps.jsonl';
const inCheckpoint = (file: string): boolean => file.split('/')[1] === 'checkpoint';

/** All damaged files of a run, in the order of their names. */
export async function verifyFiles(records: Records, options: VerifyOptions): Promise<Damage[]> {
  const { folder } = records;
  const found: Damage[] = [];
  if (await areOfAnotherRun(records)) return [OTHER_RUN];
  for (const entry of records.all()) {
    const { file } = entry;
    if (entry.pruned || (inCheckpoint(file) && !isFinished(records, file))) continue;
    const content = options.checkpoints || !inCheckpoint(file);
    const what = await records.damage(file, { content, signal: options.signal });
    if (what !== undefined)
      found.push(
        (await misplaced(records, file, options.signal)) ?? {
          file,
          what,
          remedy: isRemade(records, { file, what }) ? RUN_AGAIN : remedyOf(file),
        },
      );
  }
  for (const file of unrecorded(records))
    found.push({
      file,
      what: `is not one of the files that the run wrote, by ${RECORDS}`,
      remedy: `bring ${RECORDS} back if it is cut off, or ${takeAway(file)}`,
    });
  if (existsSync(join(folder, SUMMARY)) && (await contradictsMetrics(records)))
    found.push(OTHER_NUMBERS);
  for (const inProgress of foldersInProgress(folder))
    found.push(...(await verifyInProgress(folder, inProgress, options)));
  return found.sort((a, b) => (a.file < b.file ? -1 : 1));
}

/**
 * Checks a run before it continues; contents of checkpoints are checked when they are read. A
 * missing file is not damage: its stage runs again, and metrics.jsonl is made from the other files.
 * @throws RunError naming the first damaged file
 */
export async function checkBeforeResume(
  records: Records,
  options: VerifyOptions,
): Promise<boolean> {
  const found = await verifyFiles(records, options);
  const damages = found.filter((damage) => hindersResume(records, damage));
  if (damages.length > 0) throw damaged(records.folder, damages);
  return found.length === 0;
}

/** Whether a run that is not finished would not make the file again by itself. */
export const hindersResume = (records: Records, { file, what }: Damage): boolean =>
  file !== METRICS && file !== TENSORBOARD && (!isMissing(what) || isPartOfWhole(records, file));

/** @throws RunError if a file of the checkpoint `folder` is not as recorded */
export async function verifyCheckpoint(
  records: Records,
  folder: string,
  signal?: AbortSignal,
  known?: Known,
): Promise<void> {
  const prefix = `${records.nameOf(folder)}/`;
  if (prefix.startsWith('..')) return;
  const entries = records.under(folder);
  const phase = prefix.split('/')[0];
  if (entries.length > 0 && entries.every(({ pruned }) => pruned) && !existsSync(folder))
    throw new RunError(
      'ERR_RUN_DATA',
      `${folder} is needed again, but the recipe's \`keep\` had it removed: remove ` +
        `${phase}/steps.jsonl and run the same command again to train it again.`,
    );
  const found: Damage[] = [];
  if (entries.length > 0)
    for (const name of checkpointFiles(folder))
      if (!entries.some(({ file }) => file === prefix + name))
        found.push({
          file: prefix + name,
          what: 'is not one of the files that the run wrote',
          remedy: takeAway(prefix + name),
        });
  for (const entry of entries) {
    const { file } = entry;
    if (known && isThere(records, entry) && (await known.isKnown(entry))) continue;
    const what = await records.damage(file, { signal });
    if (what !== undefined)
      found.push(
        (await misplaced(records, file, signal)) ?? { file, what, remedy: remedyOf(file) },
      );
    else await known?.note(entry);
  }
  if (found.length > 0) throw damaged(records.folder, found);
}

/** Files that need not be hashed, because they have not changed since they were found whole. */
export interface Known {
  isKnown(entry: Entry): Promise<boolean>;
  note(entry: Entry): Promise<void>;
}

const isThere = ({ folder }: Records, { file, bytes }: Entry): boolean => {
  const info = lstatSync(join(folder, file), { throwIfNoEntry: false });
  return info?.isFile() === true && info.size === bytes;
};

/**
 * Checks one file of a run, or the checkpoint in `name`; a file that the run did not write is left
 * alone, and so is any other folder. @throws RunError
 */
export async function refuseDamaged(
  records: Records,
  name: string,
  isFolder: boolean,
  { signal, known }: { signal?: AbortSignal | undefined; known: Known },
): Promise<void> {
  if (isFolder) {
    const isCheckpoint = hasRecord(new Set(records.all().map(({ file }) => file)), name);
    if (!isCheckpoint) return;
    return verifyCheckpoint(records, join(records.folder, name), signal, known);
  }
  const entry = records.newest(name);
  // The record of metrics.jsonl is made when the run is finished.
  if (entry && !entry.pruned && name !== METRICS)
    await records.demand(name, remedyOf(name), { signal });
}

/** Records all files of a run as they are. Returns their number. */
export async function acceptFiles(directory: string, signal?: AbortSignal): Promise<number> {
  await rm(join(directory, RECORDS), { force: true, recursive: true });
  const records = await Records.create(directory, RUN_RECORDS);
  for (const file of allFiles(directory))
    await records.add([{ file, ...(await digestFile(join(directory, file), signal)) }]);
  // Stages in progress have no trusted blocks; they start again.
  for (const folder of foldersInProgress(directory))
    await rm(join(directory, folder), { recursive: true, force: true });
  return records.all().length;
}

/** Records every file of the checkpoint in `folder`; `at` is its final path. */
export async function recordFolder(records: Records, folder: string, at: string): Promise<void> {
  const entries = [];
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (!lstatSync(path).isFile()) continue;
    entries.push({ file: records.nameOf(join(at, name)), ...(await digestFile(path)) });
  }
  await records.add(entries);
}

function damaged(directory: string, damages: readonly Damage[]): RunError {
  const { file, what, remedy } = damages[0]!;
  const more =
    damages.length > 1
      ? ` ${damages.length - 1} more are damaged; \`cream verify ${directory}\` lists them.`
      : '';
  return new RunError('ERR_RUN_DATA', `${join(directory, file)} ${what}: ${remedy}.${more}`);
}

const OTHER_NUMBERS: Damage = {
  file: TENSORBOARD,
  what: `is damaged: it does not hold the numbers of ${METRICS}`,
  remedy: takeAway(TENSORBOARD, 'make it again'),
};

/** Whether a finished run's TensorBoard file, which has no record, differs from its metrics. */
async function contradictsMetrics(records: Records): Promise<boolean> {
  const path = join(records.folder, TENSORBOARD);
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined || (await records.damage(METRICS)) !== undefined) return false;
  return !info.isFile() || !readOwnBytes(path).equals(eventFileOf(readMetrics(records.folder)));
}

const OTHER_RUN: Damage = {
  file: RECORDS,
  what: `belongs to another run: ${RECIPE} and ${RUN} agree with each other but not with it`,
  remedy:
    `bring back the ${RECORDS} of this run, or, if the other files are known to be good, record ` +
    'them again with `cream verify --accept`',
};

/** @throws RunError if the records are those of another run */
export async function refuseRecordsOfAnotherRun(records: Records): Promise<void> {
  if (await areOfAnotherRun(records)) throw damaged(records.folder, [OTHER_RUN]);
}

/**
 * Whether the records were copied from another run: the recipe and run.json contradict them and
 * agree with each other, which one damaged file does not explain.
 */
async function areOfAnotherRun(records: Records): Promise<boolean> {
  for (const file of [RECIPE, RUN]) {
    const what = await records.damage(file);
    if (what === undefined || isMissing(what) || records.newest(file) === undefined) return false;
  }
  try {
    const recipe = parseRecipe(readOwnText(join(records.folder, RECIPE), 'recipe'), RECIPE);
    const run = JSON.parse(readOwnText(join(records.folder, RUN), 'record')) as {
      recipe?: unknown;
    };
    return run.recipe === recipeDigest(recipe);
  } catch {
    return false; // these two are damaged themselves
  }
}

/** The damage of a file that holds what was written to another place; undefined for any other. */
async function misplaced(
  records: Records,
  file: string,
  signal?: AbortSignal,
): Promise<Damage | undefined> {
  const path = join(records.folder, file);
  const size = lstatSync(path, { throwIfNoEntry: false })?.size;
  const alike = records.all().filter((other) => other.file !== file && other.bytes === size);
  if (alike.length === 0 || file === METRICS) return undefined;
  const { sha256 } = await digestFile(path, signal);
  const other = alike.find((entry) => entry.sha256 === sha256);
  return other === undefined
    ? undefined
    : {
        file,
        what: `holds what was written to ${other.file}`,
        remedy: `put both files back in their places, or ${remedyOf(file)}`,
      };
}

const isMissing = (what: string): boolean => what === 'is missing';

/** Whether the stage of a missing file would not run again, because its other files exist. */
function isPartOfWhole({ folder }: Records, file: string): boolean {
  if (inCheckpoint(file)) return existsSync(join(folder, dirname(file)));
  const other = MADE_WITH[basename(file)];
  return other !== undefined && existsSync(join(folder, dirname(file), other));
}

/**
 * Checks all files before a run reports that it is finished. @throws RunError naming a damaged file
 */
export async function checkFinished(records: Records, signal: AbortSignal): Promise<void> {
  const all = await verifyFiles(records, { checkpoints: true, signal });
  const found = all.filter(({ file }) => file !== SUMMARY); // written next
  if (found.length > 0) throw damaged(records.folder, found);
}

function remedyOf(file: string): string {
  if (file === RECIPE || file === RUN)
    return 'restore it from a copy, or choose another run directory';
  if (inCheckpoint(file)) return takeAway(dirname(file), 'train it again');
  const other = MADE_WITH[basename(file)];
  const files = other === undefined ? file : `${file} and ${dirname(file)}/${other}`;
  return takeAway(files, 'make it again');
}

const RUN_AGAIN = 'run the same command again to make it again';

/** Whether a resumed run makes a missing file again, though others of its stage are there. */
const isRemade = (records: Records, { file, what }: Pick<Damage, 'file' | 'what'>): boolean =>
  isMissing(what) && file !== RECIPE && file !== RUN && !isPartOfWhole(records, file);

function takeAway(files: string, purpose?: string): string {
  return `remove ${files} and run the same command again${purpose ? ` to ${purpose}` : ''}`;
}

/** A checkpoint counts as finished once its steps are written, or if it was copied as a whole. */
function isFinished(records: Records, file: string): boolean {
  const steps = `${file.split('/')[0]}/steps.jsonl`;
  return records.newest(steps) === undefined || existsSync(join(records.folder, steps));
}

function unrecorded(records: Records): string[] {
  // metrics.jsonl is recorded when the run is finished.
  const known = new Set(records.all().map(({ file }) => file));
  return allFiles(records.folder).filter(
    (file) =>
      file !== METRICS &&
      !known.has(file) &&
      (!inCheckpoint(file) || hasRecord(known, dirname(file))),
  );
}

const hasRecord = (known: ReadonlySet<string>, folder: string): boolean =>
  known.has(`${folder}/config.json`) || known.has(`${folder}/adapter_config.json`);

/** Artefacts and files of checkpoints; other files in the directory are ignored. */
function allFiles(directory: string): string[] {
  const phases = readdirSync(directory).filter((name) => isPhaseFolder(name));
  return [
    ...TOP.filter((name) => lstatSync(join(directory, name), { throwIfNoEntry: false })),
    ...phases.flatMap((phase) => [
      ...list(join(directory, phase))
        .filter(isArtefact)
        .map((name) => `${phase}/${name}`),
      ...checkpointFiles(join(directory, phase, 'checkpoint')).map(
        (name) => `${phase}/checkpoint/${name}`,
      ),
    ]),
  ];
}

/** The names in a folder; none where there is no folder. */
function list(folder: string): string[] {
  try {
    return lstatSync(folder).isDirectory() ? readdirSync(folder) : [];
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

/** All but the model card, which may be edited, and what a resumed run removes. */
const checkpointFiles = (folder: string): string[] =>
  list(folder).filter((name) => name !== CARD && !isHalfWritten(name));

function foldersInProgress(directory: string): string[] {
  const phases = list(directory).filter((name) => isPhaseFolder(name));
  return phases
    .flatMap((phase) => [phase, ...PARTS.map((part) => `${phase}/${part}`)])
    .flatMap((folder) =>
      list(join(directory, folder))
        .filter((name) => name === 'training' || name.endsWith('.parts'))
        .map((name) => `${folder}/${name}`),
    );
}

async function verifyInProgress(
  directory: string,
  folder: string,
  { checkpoints, signal }: VerifyOptions,
): Promise<Damage[]> {
  const path = join(directory, folder);
  const records = await Records.lookAtAny(path);
  const found: Damage[] = [];
  for (const { file } of records?.all() ?? []) {
    const content = checkpoints || !file.endsWith('.safetensors');
    const what = await records!.damage(file, { content, signal });
    // A missing block is computed again, and without a state the stage begins anew.
    const needed = file === 'progress.json' && list(path).some((name) => name.startsWith('state'));
    if (what === undefined || (isMissing(what) && !needed)) continue;
    found.push({ file: `${folder}/${file}`, what, remedy: progressRemedy(folder, file) });
  }
  return found;
}

/** A block can be computed again alone; a trainer state and its progress belong together. */
const progressRemedy = (folder: string, file: string): string =>
  takeAway(
    folder.endsWith('.parts') ? `${folder}/${file}` : folder,
    folder.endsWith('.parts') ? 'make it again' : 'train this stage from its beginning',
  );
