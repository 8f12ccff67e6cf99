/**
 * Your own reward instead of the model's judgement: any function from completions to numbers, here
 * one for short completions that end by themselves.
 *
 *   node examples/custom-reward.ts runs/short [model] (Node ≥ 22.18; before that: npx tsx
 *   examples/…)
 *
 * There is only one ranking, so no agreement is measured: C is fixed at 1, which is DPO on the
 * function's best and worst completion.
 */
import { parseRecipe, run, type RewardFunction } from 'cream-lm';

const [directory = 'runs/custom-reward', model = 'smollm2-135m-instruct'] = process.argv.slice(2);

/**
 * Called with all completions of some prompts at a time; it may be async, and call a service. Its
 * numbers are saved in the run directory.
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
