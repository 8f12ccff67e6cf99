/**
 * Social IQa (Sap et al. 2019): a context, a question, 3 choices. Official rows: `context`, `question`, `answerA` … `answerC`, `label` "1" … "3"
 * (the test split has no public labels: papers report validation). allenai/social_i_qa is published as a loading script; lighteval/siqa has the
 * same rows as Parquet, and is what lm-evaluation-harness reads. It puts `Q: context question\nA:`.
 */
import { DataError, describe } from '../../data/jsonl.js';
import { needsChoices, rowTask, type Task } from '../task.js';

const LABELS = ['A', 'B', 'C'] as const;

export const siqa: Task = rowTask({
  name: 'siqa',
  hub: 'hub:lighteval/siqa:validation',
  uniform(row, where) {
    if (row.answerA === undefined) return row;
    const { context, question, id } = row;
    return { ...(id !== undefined && { id }), context, question, choices: LABELS.map((label) => ({ label, text: row[`answer${label}`] })), answer: answerOf(row.label, where) };
  },
  stem: ({ context, question }) => `Q: ${context === undefined ? '' : `${String(context)} `}${String(question)}\nA:`,
  problem: needsChoices,
});

function answerOf(label: unknown, where: string): string | null {
  if (label === undefined || label === null || label === '') return null;
  const answer = LABELS[Number(label) - 1];
  if (answer === undefined) throw new DataError(`${where}: "label" must be 1, 2 or 3, but is ${describe(label)}`);
  return answer;
}
