/**
 * OpenBookQA (Mihaylov et al. 2018): 4 choices. Official rows: `question_stem`, `choices` {text[],
 * label[]}, `answerKey`. The stem is often a sentence to be completed; lm-evaluation-harness puts
 * it as it is.
 */
import { needsChoices, rowTask, type Task } from '../task.js';

export const openbookqa: Task = rowTask({
  name: 'openbookqa',
  hub: 'hub:allenai/openbookqa/main:test',
  stem: ({ question_stem, question }) => String(question_stem ?? question),
  problem: needsChoices,
});
