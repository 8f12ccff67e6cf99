import { fileTask, needsChoices, type Task } from '../task.js';

/** OpenBookQA (Mihaylov et al. 2018): 4 choices. */
export const openbookqa: Task = fileTask('openbookqa', needsChoices);
