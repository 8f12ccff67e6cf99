/**
 * GSM8K (Cobbe et al. 2021): the answer is a number, from `final` or after `####` in the official
 * `answer`, which must agree. It has no choices, so it is measured by generation only.
 */
import { knownAnswer } from '../answer.js';
import { numericValue } from '../number.js';
import { rowTask, type Task } from '../task.js';

export const gsm8k: Task = rowTask({
  name: 'gsm8k',
  hub: 'hub:openai/gsm8k/main:test',
  method: 'generate',
  problem: ({ answer }, { value }) => {
    const number = numericValue(answer);
    if (number === null) return `has the answer ${JSON.stringify(answer)}, which is not a number`;
    const solution = String(value['answer']);
    const other = knownAnswer(solution);
    return solution.includes('####') && numericValue(other) !== number
      ? `has the answer ${answer} in "final" and ${other} behind "####" in "answer"`
      : undefined;
  },
});
