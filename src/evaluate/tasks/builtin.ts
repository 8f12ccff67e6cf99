import { builtinPrompts } from '../../data/builtin.js';
import type { Task } from '../task.js';

/** The built-in questions' test split: nothing to download, never seen in training. */
export const builtin: Task = {
  name: 'builtin',
  async questions({ seed = 0, count = 100 }) {
    return builtinPrompts({ seed, split: 'test', count });
  },
};
