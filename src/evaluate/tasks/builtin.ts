import { builtinPrompts } from '../../data/builtin.js';
import type { Question, Task } from '../task.js';

/** The test split of the built-in questions: needs no download and is never used in training. */
export const builtin: Task = {
  name: 'builtin',
  hub: null,
  method: 'generate',
  async questions({ seed = 0, count = 100 }) {
    return builtinPrompts({ seed, split: 'test', count }) as Question[];
  },
};
