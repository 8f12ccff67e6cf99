/** Rows of a task's source: a file of the user's, or a data set of the hub. */
import { readJsonl, type Line } from '../data/jsonl.js';

/** @throws DataError for a source that cannot be read, or has no rows. */
export async function readQuestionRows(source: string): Promise<Line[]> {
  return readJsonl(source);
}
