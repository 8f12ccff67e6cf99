/**
 * PIQA (Bisk et al. 2020): a goal and two ways to reach it. Published rows: `goal`, `sol1`, `sol2`,
 * `label` 0 or 1 (−1 in the test split). lm-evaluation-harness asks `Question: goal\nAnswer:`.
 */
import { numberOf, publishedTask, textOf } from '../published.js';

export const piqa = publishedTask({
  name: 'piqa',
  hub: 'hub:baber/piqa:validation',
  columns: ['goal', 'sol1', 'sol2', 'label'],
  read(row) {
    const goal = textOf(row, 'goal');
    return {
      question: goal,
      choices: [textOf(row, 'sol1'), textOf(row, 'sol2')],
      right: numberOf(row, 'label'),
      stem: `Question: ${goal}\nAnswer:`,
    };
  },
});
