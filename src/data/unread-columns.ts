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

/** The texts in a value: itself, or those in its lists and objects. */
function* textsIn(value: unknown, depth = 0): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    if (depth < MAX_DEPTH)
      for (const inner of Object.values(value)) yield* textsIn(inner, depth + 1);
  }
}

/** Deeper texts are of no conversation. */
const MAX_DEPTH = 8;

/** Whether a value is text, or holds any. */
export const holdsText = (value: unknown): boolean => hasText(value, (text) => !isEmpty(text));

function hasText(value: unknown, wanted: (text: string) => boolean): boolean {
  for (const text of textsIn(value)) if (wanted(text)) return true;
  return false;
}

/** Collects the text columns of a source that its loader did not read. */
export class UnreadColumns {
  private readonly found = new Set<string>();

  /** Adds the columns of a row that hold text of several words which `read` does not contain. */
  add(value: Readonly<Record<string, unknown>>, read: readonly Message[]): void {
    for (const [column, text] of Object.entries(value)) {
      if (this.found.has(column) || isRead(column) || describesRow(column)) continue;
      if (hasText(text, (part) => isUnreadText(part, read))) this.found.add(column);
    }
  }

  get names(): string[] {
    return [...this.found];
  }
}

const isUnreadText = (text: string, read: readonly Message[]): boolean =>
  /\S\s+\S/.test(text) &&
  !isEmpty(text) &&
  !read.some(({ content }) => contains(content, text.trim()));

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
