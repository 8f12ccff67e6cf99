/**
 * OpenBookQA (Mihaylov et al. 2018): 4 choices. Official rows: `question_stem`, `choices` {text[],
 * label[]}, `answerKey`. The stem is often an unfinished sentence; lm-evaluation-harness uses it
 * unchanged. A row's own `context` stands before it.
 */
import { behind, needsChoices, rowTask, type Task } from '../task.js';

export const openbookqa: Task = rowTask({
  name: 'openbookqa',
  hub: 'hub:allenai/openbookqa/main:test',
  stem: ({ context, question }) => behind(context, question),
  problem: needsChoices,
});
