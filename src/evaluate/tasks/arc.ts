import { fileTask, needsChoices, type Task } from '../task.js';

/** ARC Easy and Challenge (Clark et al. 2018): 3 to 5 choices, labels A–E or 1–4. */
export const arc: Task = fileTask('arc', needsChoices);
