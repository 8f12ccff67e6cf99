/**
 * BoolQ (Clark et al. 2019): a passage and a yes/no question. Rows of SuperGLUE (`passage`,
 * `question`, `label` 0 or 1, or false or true) or of the authors (`answer` true or false).
 * lm-evaluation-harness asks `passage\nQuestion: question?\nAnswer:` and compares ` no` with
 * ` yes`.
 */
import { namedChoice } from '../../data/choices.js';
import type { Row } from '../../data/rows.js';
import { numberOf, publishedTask, textOf } from '../published.js';

export const boolq = publishedTask({
  name: 'boolq',
  hub: 'hub:aps/super_glue/boolq:validation',
  columns: ['passage', 'question'],
  read(row) {
    const passage = textOf(row, 'passage');
    const question = textOf(row, 'question');
    const right = namedChoice(row, ['label', 'answer'], (column) => choiceOf(row, column));
    return {
      question: `${question}?`,
      context: passage,
      choices: ['no', 'yes'],
      right: right === undefined ? [] : [right],
      stem: `${passage}\nQuestion: ${question}?\nAnswer:`,
    };
  },
});

/** 0 for no, 1 for yes. @throws DataError */
function choiceOf(row: Row, column: string): number {
  const given = row.value[column];
  return typeof given === 'boolean' ? Number(given) : numberOf(row, column)[0]!;
}
