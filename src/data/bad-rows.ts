/**
 * Rows that cannot be used: malformed, empty, of another shape. `error` refuses the source with the
 * first bad row and the number of others; `skip` leaves them out, each with its reason.
 */
import { shown } from '../files/options.js';
import { DataError, MappingError } from './jsonl.js';

export const ON_BAD_ROW = ['error', 'skip'] as const;
/** Treatment of unusable rows: `error` refuses the source, `skip` leaves the rows out. */
export type OnBadRow = (typeof ON_BAD_ROW)[number];

/** A row that was left out. */
export interface Skipped {
  /** A sentence that begins with the file and line of the row. */
  reason: string;
}

/** The rows of a source that did not become records. */
export interface LeftOut {
  /** Number of rows with the content of an earlier row. */
  duplicates: number;
  /** The first of them with the row that it repeats, by file and line. */
  duplicate?: string | undefined;
  /** The other rows that were left out. */
  skipped: readonly Skipped[];
  /** Columns of text that were not read (unread-columns.ts). */
  unread?: readonly string[] | undefined;
}

/** `file line n` or `file row n`, with which the message about a row begins. */
const PLACE = /^(.*?) (?:line|row) (\d+): /s;

/** Whether a row is before another one of the same file: lines are parsed before rows are read. */
function isBefore(message: string, other: string): boolean {
  const [a, b] = [PLACE.exec(message), PLACE.exec(other)];
  return a !== null && b !== null && a[1] === b[1] && Number(a[2]) < Number(b[2]);
}

/** Collects the rows of a source that cannot be used, and then refuses it or leaves them out. */
export class BadRows {
  readonly skipped: Skipped[] = [];
  private first: DataError | undefined;
  private count = 0;
  /** Those among them that the mapping of columns does not fit. */
  private unmapped = 0;

  /** @throws DataError if `mode` is none */
  constructor(private readonly mode: OnBadRow = 'error') {
    if (!ON_BAD_ROW.includes(mode))
      throw new DataError(`onBadRow must be error or skip, got ${shown(mode)}`);
  }

  readonly add = (error: DataError): void => {
    if (this.first === undefined || isBefore(error.message, this.first.message)) this.first = error;
    this.count++;
    if (error instanceof MappingError) this.unmapped++;
    if (this.mode === 'skip') this.skipped.push({ reason: error.message });
  };

  /** Runs `work` on one row; returns undefined if it throws DataError. */
  try<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      this.add(error);
      return undefined;
    }
  }

  /** @throws DataError for bad rows in the mode `error`, and if no row is left */
  check(source: string, left: number): void {
    if (this.first === undefined || (this.mode === 'skip' && left > 0)) return;
    // A mapping that fits no row is wrong itself.
    const isMapping = left === 0 && this.unmapped === this.count;
    const more = isMapping ? 0 : this.count - 1;
    const others =
      more === 0 ? '' : ` (${more} more ${more === 1 ? 'row' : 'rows'} cannot be used either)`;
    throw new DataError(
      this.mode === 'skip'
        ? `${source} has no row that can be used: ${this.first.message}${others}`
        : this.first.message + others,
      { cause: this.first },
    );
  }
}

/** The number of rows that were left out. */
export const countLeftOut = ({ duplicates, skipped }: LeftOut): number =>
  duplicates + skipped.length;

/** One sentence on the rows that were left out; undefined if there are none. */
export function describeLeftOut(source: string, left: LeftOut): string | undefined {
  const { duplicates, duplicate, skipped } = left;
  const total = countLeftOut(left);
  if (total === 0) return undefined;
  const parts = [
    skipped.length > 0 &&
      `${skipped.length} cannot be used (${skipped[0]!.reason}` +
        `${skipped.length > 1 ? `, and ${skipped.length - 1} more` : ''})`,
    duplicates > 0 &&
      `${duplicates} ${duplicates === 1 ? 'repeats' : 'repeat'} an earlier row` +
        (duplicate === undefined ? '' : ` (${duplicate})`),
  ].filter(Boolean);
  const rows = total === 1 ? 'row was' : 'rows were';
  return `${source}: ${total} ${rows} left out: ${parts.join(', ')}.`;
}
