/** Every task by the name that recipes and commands use. */
import type { Task } from './task.js';
import { arc, arcChallenge, arcEasy } from './tasks/arc.js';
import { builtin } from './tasks/builtin.js';
import { gsm8k } from './tasks/gsm8k.js';
import { openbookqa } from './tasks/openbookqa.js';
import { siqa } from './tasks/siqa.js';

export const TASKS = {
  builtin,
  arc_easy: arcEasy,
  arc_challenge: arcChallenge,
  arc,
  openbookqa,
  siqa,
  gsm8k,
} as const satisfies Record<string, Task>;
export type TaskName = keyof typeof TASKS;
