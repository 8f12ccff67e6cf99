/**
 * GSM8K (Cobbe et al. 2021): the answer is a number, from `final` or after `####` in the official
 * `answer`. It has no choices, so it is measured by generation only.
 */
import { numericValue } from '../number.js';
import { rowTask, type Task } from '../task.js';

export const gsm8k: Task = rowTask({
  name: 'gsm8k',
  hub: 'hub:openai/gsm8k/main:test',
  method: 'generate',
  problem: ({ answer }) =>
    numericValue(answer) === null
      ? `has the answer ${JSON.stringify(answer)}, which is not a number`
      : undefined,
});
