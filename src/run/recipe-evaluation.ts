/** The recipe's section `evaluate`. */
import { z } from 'zod';
import { HUB_TASKS } from '../evaluate/tasks.js';
import { count, only } from './recipe-types.js';

export const evaluate = z.strictObject({
  tasks: z
    .array(z.string().min(1))
    .max(64)
    .default(['builtin'])
    .describe(
      'Tasks that are evaluated after each iteration: `builtin`; from the hub ' +
        `${HUB_TASKS.map((name) => `\`${name}\``).join(', ')}; or a task with a ` +
        'source of its own, a JSONL, JSON or Parquet file or a hub data set: ' +
        '`arc_easy:data/test.jsonl`, `siqa:hub:lighteval/siqa:validation`. An empty list ' +
        'evaluates nothing.',
    ),
  method: z
    .enum(['generate', 'loglikelihood'])
    .default('generate')
    .describe(
      '`generate`: the answer is extracted from greedy decoding. `loglikelihood`: the ' +
        'most probable choice, by the sum of its log-probs and by their sum per ' +
        'character, as in lm-evaluation-harness (`acc`, `acc_norm`); only for tasks with ' +
        'choices.',
    ),
  apply_chat_template: z
    .boolean()
    .nullable()
    .default(null)
    .describe(
      "Format questions with the model's chat template. null: yes for `generate`, no " +
        'for `loglikelihood`, as is usual for each.',
    ),
  count: count(0, 100).describe(
    'Questions per task, the same in every evaluation; 0 takes the whole source.',
  ),
  max_new_tokens: only(
    { 'evaluate.method': ['generate'] },
    count(1, 256).describe('Maximum length of a generated answer in tokens; decoding is greedy.'),
  ),
  save_prompts: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(32)
    .describe('Questions between two saves, as in `sample`.'),
  baseline: z
    .boolean()
    .default(true)
    .describe('Also evaluate the base model, before any training.'),
});
