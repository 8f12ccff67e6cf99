import { fileTask, needsChoices, type Task } from '../task.js';

/** Social IQa (Sap et al. 2019): a context, a question, 3 choices. */
export const siqa: Task = fileTask('siqa', needsChoices);
