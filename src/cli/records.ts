/** Records that a command is given as a file, which may be an artefact of a run. */
import type { Columns } from '../data/columns.js';
import { readRecords } from '../data/jsonl.js';
import { stoppable } from '../run/errors.js';
import { requireRecorded } from '../run/recorded.js';
import type { Cli } from './cli.js';

/** @throws DataError for a bad row, RunError for a file that is not as its run wrote it */
export async function readGivenRecords<T extends object>(
  path: string,
  columns: Columns<T>,
  { signal }: Cli,
): Promise<T[]> {
  await stoppable(signal, () => requireRecorded(path, signal));
  return readRecords(path, columns);
}
