/** The recipe's section `evaluate`. */
import { z } from 'zod';
import { HUB_TASKS } from '../evaluate/tasks.js';
import { count, only } from './recipe-types.js';

/** Evaluation during training. */
const IN_TRAINING = { 'evaluate.every': { not: [0] } } as const;

export const evaluate = z.strictObject({
  tasks: z
    .array(z.string().min(1))
    .max(64)
    .default(['builtin'])
    .describe(
      'Tasks that are evaluated after each iteration: `builtin`; from the hub ' +
        `${HUB_TASKS.map((name) => `\`${name}\``).join(', ')}; or a task with a ` +
        'source of its own, a JSONL, JSON, CSV or Parquet file or a hub data set: ' +
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
  every: count(0, 0).describe(
    'Steps of preference training between two evaluations of the model in training; the last ' +
      'step is evaluated too. 0 evaluates after training only.',
  ),
  metric: only(
    IN_TRAINING,
    z
      .enum(['margin', 'accuracy'])
      .default('margin')
      .describe(
        'Measure of an evaluation in training: the mean reward `margin` on pairs that are left ' +
          'out of training, or the `accuracy` on the questions of `tasks`.',
      ),
  ),
  pairs: only(
    { ...IN_TRAINING, 'evaluate.metric': ['margin'] },
    count(1, 16).describe(
      'Pairs of each iteration that are left out of training for `metric: margin`; at most a ' +
        'quarter of them.',
    ),
  ),
  patience: only(
    IN_TRAINING,
    count(0, 0).describe(
      'Evaluations in a row without a new best value after which training stops. The weights of ' +
        'the best evaluation then become the checkpoint. 0 trains to the end and keeps the last ' +
        'weights.',
    ),
  ),
});
