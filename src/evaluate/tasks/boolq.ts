/**
 * BoolQ (Clark et al. 2019): a passage and a yes/no question. Rows of SuperGLUE (`passage`,
 * `question`, `label` 0 or 1) or of the authors (`answer` true or false). lm-evaluation-harness
 * asks `passage\nQuestion: question?\nAnswer:` and compares ` no` with ` yes`.
 */
import { numberOf, publishedTask, textOf } from '../published.js';

export const boolq = publishedTask({
  name: 'boolq',
  hub: 'hub:aps/super_glue/boolq:validation',
  columns: ['passage', 'question'],
  read(row) {
    const passage = textOf(row, 'passage');
    const question = textOf(row, 'question');
    return {
      question: `${question}?`,
      context: passage,
      choices: ['no', 'yes'],
      right: numberOf(row, row.value.label === undefined ? 'answer' : 'label'),
      stem: `${passage}\nQuestion: ${question}?\nAnswer:`,
    };
  },
});
