/** All tasks, by the names in recipes and commands. */
import type { Task } from './task.js';
import { arc, arcChallenge, arcEasy } from './tasks/arc.js';
import { boolq } from './tasks/boolq.js';
import { builtin } from './tasks/builtin.js';
import { gsm8k } from './tasks/gsm8k.js';
import { hellaswag } from './tasks/hellaswag.js';
import { openbookqa } from './tasks/openbookqa.js';
import { piqa } from './tasks/piqa.js';
import { siqa } from './tasks/siqa.js';
import { truthfulqaMc1, truthfulqaMc2 } from './tasks/truthfulqa.js';
import { winogrande } from './tasks/winogrande.js';

export const TASKS = {
  builtin,
  arc_easy: arcEasy,
  arc_challenge: arcChallenge,
  arc,
  openbookqa,
  siqa,
  boolq,
  piqa,
  hellaswag,
  winogrande,
  truthfulqa_mc1: truthfulqaMc1,
  truthfulqa_mc2: truthfulqaMc2,
  gsm8k,
} as const satisfies Record<string, Task>;
export type TaskName = keyof typeof TASKS;

/** The tasks with a hub data set of their own, for descriptions. */
export const HUB_TASKS = Object.values<Task>(TASKS).flatMap(({ name, hub }) => (hub ? [name] : []));
