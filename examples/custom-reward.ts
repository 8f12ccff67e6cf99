/**
 * Your own reward in place of the model's judgement: any function from responses to numbers, here
 * one for short answers that end.
 *
 *   node examples/custom-reward.ts runs/short [model] (Node ≥ 22.18; before that: npx tsx
 *   examples/…)
 *
 * There is one judge, so no agreement between two is measured: C is fixed at 1, which is DPO on the
 * function's best and worst.
 */
import { parseRecipe, run, type RewardFunction } from 'cream-lm';

const [directory = 'runs/custom-reward', model = 'smollm2-135m-instruct'] = process.argv.slice(2);

/**
 * Called with all responses of some prompts at a time; it may be async, and call a service. Its
 * numbers are kept in the run directory.
 */
const shortAndWhole: RewardFunction = (batch) =>
  batch.map(({ completion }) => {
    const words = completion.trim().split(/\s+/).length;
    const ends = /[.!?)"']$/.test(completion.trim());
    return (ends ? 1 : 0) - words / 50;
  });

const recipe = parseRecipe(
  `
iterations: 1
prompts: {count: 8}
sample: {samples: 4, max_new_tokens: 64}
reward: {source: function}
rank: {weighting: fixed, fixed_consistency: 1}
train: {learning_rate: 1.0e-5, warmup_ratio: 0}
evaluate: {tasks: []}
`,
  'custom-reward',
  [`model=${model}`],
);

for await (const event of run(recipe, { directory, rewards: shortAndWhole })) {
  if (event.type === 'stage_finished') console.log(`${event.stage}: ${event.note}`);
}
