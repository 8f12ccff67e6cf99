import { numericValue } from '../answer.js';
import { fileTask, type Task } from '../task.js';

/** GSM8K (Cobbe et al. 2021): the answer is a number, from `final` or after `####`. */
export const gsm8k: Task = fileTask('gsm8k', ({ answer }) => (numericValue(answer!) === null ? `has the answer ${JSON.stringify(answer)}, which is no number` : undefined));
