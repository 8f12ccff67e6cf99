/**
 * A run on prompts that are in no file: an async generator yields them, a function rewards the
 * responses, and the run ends early when its metrics are good enough.
 *
 *   node examples/align-from-memory.ts runs/from-memory [model] (Node ≥ 22.18; before that: npx tsx
 *   examples/…)
 *
 * The prompts are kept in the run directory, and the same command resumes a stopped run with them.
 */
import { parseRecipe, run, type PromptRow, type RewardFunction } from 'cream-lm';

const [directory = 'runs/from-memory', model = 'smollm2-135m-instruct'] = process.argv.slice(2);

/** In place of a database query. A row is text, or an object with the columns of a file. */
async function* prompts(): AsyncGenerator<PromptRow> {
  for (const animal of ['cat', 'dog', 'owl', 'fox', 'bee', 'cow']) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    yield { id: animal, prompt: `Describe a ${animal} in one sentence.` };
  }
}

const rewards: RewardFunction = (batch) => batch.map(({ completion }) => -completion.length);

const recipe = parseRecipe(
  `
iterations: 3
prompts: {source: program, count: 0, split: resample}
sample: {samples: 4, max_new_tokens: 48}
reward: {source: function}
rank: {weighting: fixed}
train: {loss: ipo, learning_rate: 1.0e-5, warmup_ratio: 0}
evaluate: {tasks: []}
`,
  'align-from-memory',
  [`model=${model}`],
);

const events = run(recipe, {
  directory,
  prompts: prompts(),
  rewards,
  // Ends the run once nearly every pair is ordered as the reward says.
  until: ({ iteration }) => (iteration?.reward_accuracy ?? 0) > 0.9,
});
for await (const event of events) {
  if (event.type === 'iteration_finished')
    console.log(`iteration ${event.summary.phase}: ${event.summary.iteration?.pairs} pairs`);
  if (event.type === 'run_finished') console.log(`finished in ${event.directory}`);
}
