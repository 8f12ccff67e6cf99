/**
 * Columns of text that a loader did not read. Their names do not show whether they belong to the
 * conversation, so they are no error, and a run names them at its start.
 */
import { isRead } from './column-names.js';
import { isEmpty } from './messages.js';
import { contains } from './prompt-columns.js';
import type { Message } from './records.js';

/** Columns that describe a row and do not belong to its conversation. */
const ABOUT = new RegExp(
  '^(?:id|.*_id|uuid|source|dataset|task|category|type|subset|split|lang|language|domain|topic|' +
    'tags?|label|annotator|rationale|reason|critique|date|timestamp|url|license|' +
    '(?:.*_)?model(?:_.*)?|(?:.*_)?rating|(?:.*_)?score|chosen.*|rejected.*|' +
    'system|history|tools)$',
  'i',
);

export const describesRow = (column: string): boolean => ABOUT.test(column);

export class UnreadColumns {
  private readonly found = new Set<string>();

  /** Adds the columns of a row that hold text of several words which `read` does not contain. */
  add(value: Readonly<Record<string, unknown>>, read: readonly Message[]): void {
    for (const [column, text] of Object.entries(value)) {
      if (this.found.has(column) || typeof text !== 'string' || !/\S\s+\S/.test(text)) continue;
      if (isRead(column) || describesRow(column) || isEmpty(text)) continue;
      if (!read.some(({ content }) => contains(content, text.trim()))) this.found.add(column);
    }
  }

  get names(): string[] {
    return [...this.found];
  }
}

/** One sentence on the columns that were not read; undefined if there are none. */
export function describeUnread(
  source: string,
  { unread = [] }: { unread?: readonly string[] | undefined },
): string | undefined {
  if (unread.length === 0) return undefined;
  const names = unread.slice(0, 8).map((name) => JSON.stringify(name));
  const more = unread.length > names.length ? ` and ${unread.length - names.length} more` : '';
  return (
    `${source}: the text in ${unread.length === 1 ? 'the column' : 'the columns'} ` +
    `${names.join(', ')}${more} is not read. If the model is to see it, write it into the prompt.`
  );
}
