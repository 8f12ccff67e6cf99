/**
 * Social IQa (Sap et al. 2019): a context, a question, 3 choices. Official rows: `context`,
 * `question`, `answerA` … `answerC`, `label` "1" … "3" (the test split has no public labels, so
 * papers report validation). allenai/social_i_qa is published as a loading script; lighteval/siqa
 * has the same rows as Parquet, and lm-evaluation-harness reads it. The context is `Q: context
 * question\nA:`.
 */
import { needsChoices, rowTask, type Task } from '../task.js';

export const siqa: Task = rowTask({
  name: 'siqa',
  hub: 'hub:lighteval/siqa:validation',
  stem: ({ context, question }) =>
    `Q: ${context === undefined ? '' : `${context} `}${question}\nA:`,
  problem: needsChoices,
});
