/**
 * HellaSwag (Zellers et al. 2019): a situation and four endings. Published rows: `activity_label`,
 * `ctx_a`, `ctx_b`, `endings`, `label` 0 … 3, a number or text. The texts are cleaned as in
 * lm-evaluation-harness: WikiHow's ` [title]` becomes a full stop, other brackets are dropped, and
 * so is one of two adjacent spaces.
 */
import type { Row } from '../../data/rows.js';
import { strip } from '../../data/white-space.js';
import { numberOf, publishedTask, textOf, textsOf } from '../published.js';

export const hellaswag = publishedTask({
  name: 'hellaswag',
  hub: 'hub:Rowan/hellaswag:validation',
  columns: ['activity_label', 'ctx_a', 'ctx_b', 'endings', 'label'],
  read(row) {
    const activity = textOf(row, 'activity_label');
    const begun = `${textOf(row, 'ctx_a')} ${capitalize(possiblyEmpty(row, 'ctx_b'))}`;
    const stem = clean(`${activity}: ${begun}`);
    return {
      question: 'Which choice continues the text?',
      context: stem,
      choices: textsOf(row, 'endings').map(clean),
      right: numberOf(row, 'label'),
      stem,
    };
  },
});

/** WikiHow's rows have whole sentences in `ctx_a` and nothing in `ctx_b`. */
const possiblyEmpty = (row: Row, column: string): string =>
  row.value[column] === '' ? '' : textOf(row, column);

function clean(written: string): string {
  return strip(written)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

/** Python's `str.capitalize`: the first letter upper case, all others lower case. */
function capitalize(written: string): string {
  const [first = '', ...rest] = written;
  const [large = '', ...more] = first.toUpperCase();
  return large + `${more.join('')}${rest.join('')}`.toLowerCase();
}
