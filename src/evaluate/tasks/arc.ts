/**
 * ARC Easy and Challenge (Clark et al. 2018): 3 to 5 choices, labels A–E or 1–4. Official rows:
 * `question`, `choices` {text[], label[]}, `answerKey`. The context for log-likelihood is
 * lm-evaluation-harness's, `Question: …\nAnswer:`, behind the row's own `context` if it has one.
 */
import { behind, needsChoices, rowTask, type RowTask, type Task } from '../task.js';

const rules: Pick<RowTask, 'stem' | 'problem'> = {
  stem: ({ context, question }) => behind(context, `Question: ${question}\nAnswer:`),
  problem: needsChoices,
};

export const arcEasy: Task = rowTask({
  name: 'arc_easy',
  hub: 'hub:allenai/ai2_arc/ARC-Easy:test',
  ...rules,
});
export const arcChallenge: Task = rowTask({
  name: 'arc_challenge',
  hub: 'hub:allenai/ai2_arc/ARC-Challenge:test',
  ...rules,
});
/** Either set, from a named file. */
export const arc: Task = rowTask({ name: 'arc', hub: null, ...rules });
