/** The column of a row that its user may have meant, for the message that one is missing. */
import { editDistance } from '../files/edit-distance.js';
import { isRead } from './column-names.js';
import { isEmpty } from './messages.js';
import { describesRow, holdsText } from './unread-columns.js';

/** Letters by which a misspelt name differs. */
const CLOSE = 2;

/**
 * A mapping such as `prompt=promt`: the row's column whose name is close to one of `wanted`, else
 * its only column of text for the first of them, else an example.
 */
export function likelyMapping(
  wanted: readonly string[],
  row: Readonly<Record<string, unknown>>,
): string {
  const unread = Object.keys(row).filter((column) => !isRead(column) && !isEmpty(row[column]));
  const [nearest] = unread
    .flatMap((theirs) => wanted.map((ours) => ({ ours, theirs, far: farness(ours, theirs) })))
    .filter(({ far }) => far <= CLOSE)
    .sort((a, b) => a.far - b.far);
  if (nearest) return `${nearest.ours}=${nearest.theirs}`;
  const texts = unread.filter((column) => !describesRow(column) && holdsText(row[column]));
  return `${wanted[0]}=${texts.length === 1 ? texts[0] : 'text'}`;
}

const farness = (ours: string, theirs: string): number =>
  editDistance(ours, theirs.toLowerCase().slice(0, 40));
