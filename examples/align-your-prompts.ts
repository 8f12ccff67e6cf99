/**
 * CREAM on your own prompts, from a program: the same as `cream run`, with access to its events.
 *
 *   node examples/align-your-prompts.ts prompts.jsonl runs/mine [model] (Node ≥ 22.18; before that:
 *   npx tsx examples/…)
 *
 * prompts.jsonl has one prompt per line: {"prompt": "Why is the sky blue?"}. After Ctrl-C or any
 * other interruption, the same command resumes.
 */
import { Interrupted, parseRecipe, run } from 'cream-lm';

const [prompts, directory, model = 'smollm2-135m-instruct'] = process.argv.slice(2);
if (!prompts || !directory) throw new Error('give a file of prompts and a directory for the run');

const recipe = parseRecipe(
  `
iterations: 2
prompts: {split: resample}
sample: {samples: 4, max_new_tokens: 96}
train: {learning_rate: 1.0e-5, warmup_ratio: 0}
evaluate: {tasks: []}
`,
  'align-your-prompts',
  [`model=${model}`, `prompts.source=${prompts}`, 'prompts.count=8'],
);

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
try {
  for await (const event of run(recipe, { directory, signal: stop.signal })) {
    if (event.type === 'stage_finished')
      console.log(`iteration ${event.iteration}  ${event.stage}  ${event.note}`);
    if (event.type === 'iteration_finished' && event.summary.iteration)
      console.log(
        `  agreement C ${event.summary.iteration.consistency?.toFixed(2) ?? '–'}, ` +
          `${event.summary.iteration.pairs} pairs`,
      );
    if (event.type === 'run_finished') console.log(`report: ${directory}/report.html`);
  }
} catch (error) {
  if (!(error instanceof Interrupted)) throw error;
  console.log('stopped; the same command goes on');
}
