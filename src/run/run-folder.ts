/** Whether a folder is the directory of a run. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from '../files/files.js';
import { RunError } from './errors.js';
import { EVENTS, RECIPE, RUN } from './store.js';
import { RECORDS } from './records.js';

/** Files of which every run has one beside its recipe, which alone may be a user's own. */
const OF_RUN = [RUN, EVENTS, RECORDS] as const;

/** Whether `directory` is that of a run, and not a folder that holds a recipe. */
export const isRun = (directory: string): boolean =>
  existsSync(join(directory, RECIPE)) && OF_RUN.some((name) => isThere(join(directory, name)));

/** @throws RunError if `directory` contains no run */
export function requireRun(directory: string): void {
  if (!isRun(directory)) throw new RunError('ERR_RUN_DATA', noRun(directory));
}

function noRun(directory: string): string {
  const folder = statSync(directory, { throwIfNoEntry: false });
  if (folder === undefined)
    return `There is no folder ${directory}: name the run directory that \`cream run\` made.`;
  if (!folder.isDirectory())
    return (
      `${directory} is not a run directory: it is no folder; name the one that \`cream run\` ` +
      'made.'
    );
  if (existsSync(join(directory, RECIPE)))
    return (
      `${directory} is not a run directory: it holds a ${RECIPE}, but none of the files that a ` +
      'run writes; name the one that `cream run` made.'
    );
  return isThere(join(directory, RUN))
    ? `${join(directory, RECIPE)} is missing, without which the run cannot be read: restore it ` +
        'from a copy.'
    : `${directory} is not a run directory: it has no ${RECIPE}.`;
}
