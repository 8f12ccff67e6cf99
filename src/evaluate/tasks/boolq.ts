/**
 * BoolQ (Clark et al. 2019): a passage and a yes/no question. Rows of SuperGLUE (`passage`,
 * `question`, `label` 0 or 1) or of the authors (`answer` true or false). lm-evaluation-harness
 * asks `passage\nQuestion: question?\nAnswer:` and compares ` no` with ` yes`.
 */
import { DataError } from '../../data/jsonl.js';
import { numberOf, publishedTask, textOf } from '../published.js';

export const boolq = publishedTask({
  name: 'boolq',
  hub: 'hub:aps/super_glue/boolq:validation',
  columns: ['passage', 'question'],
  read(row) {
    const passage = textOf(row, 'passage');
    const question = textOf(row, 'question');
    const [right, other] = ['label', 'answer']
      .filter((column) => row.value[column] !== undefined)
      .map((column) => numberOf(row, column));
    if (other && other[0] !== right![0])
      throw new DataError(`${row.where}: "label" and "answer" contradict each other`);
    return {
      question: `${question}?`,
      context: passage,
      choices: ['no', 'yes'],
      right: right ?? numberOf(row, 'label'),
      stem: `${passage}\nQuestion: ${question}?\nAnswer:`,
    };
  },
});
