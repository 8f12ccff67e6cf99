import { builtinPrompts } from '../../data/builtin.js';
import type { Question, Task } from '../task.js';

/** The built-in questions' test split: nothing to download, never seen in training. */
export const builtin: Task = {
  name: 'builtin',
  hub: null,
  method: 'generate',
  async questions({ seed = 0, count = 100 }) {
    return builtinPrompts({ seed, split: 'test', count }) as Question[];
  },
};
