// One iteration by `cream run`, called in this process, from the start to the end of the run. θ_0
// first gets one step of SFT on one demonstration, so that θ_t and θ_{t−1} differ and have
// different log-probs, as in the peers' pipeline; that step and its checkpoint count against cream.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { report, seconds, setting, spec } from '../../trial.mjs';

const folder = mkdtempSync(join(spec.model, '..', 'run-'));
const prompts = join(folder, 'prompts.jsonl');
const recipe = join(folder, 'recipe.yaml');
const out = join(folder, 'run');
writeFileSync(prompts, spec.prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join(''));
// JSON is valid YAML.
writeFileSync(
  recipe,
  JSON.stringify({
    model: spec.model,
    device: spec.device,
    iterations: 1,
    seed: spec.seed,
    prompts: { source: prompts, count: 0 },
    sft: {
      enabled: true,
      count: 1,
      epochs: 1,
      batch_size: 1,
      activation_checkpointing: false,
      ...setting,
    },
    sample: {
      samples: spec.samples,
      temperature: spec.sampling.temperature,
      top_p: spec.sampling.topP,
      max_new_tokens: spec.newTokens,
      min_new_tokens: spec.minNewTokens,
    },
    train: {
      learning_rate: spec.learningRate,
      beta: spec.beta,
      epochs: 1,
      batch_size: spec.batch,
      activation_checkpointing: false,
      ...setting,
    },
    evaluate: { tasks: [] },
  }),
);
process.argv = [process.argv[0], 'cream', 'run', recipe, '--out', out];
const { seconds: time } = await seconds(() => import('../../../dist/cli/main.js'));
if (!process.exitCode) {
  const events = readFileSync(join(out, 'events.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const stages = Object.fromEntries(
    events
      .filter(({ type }) => type === 'stage_finished')
      .map((event) => [`${event.stage}Seconds`, event.seconds]),
  );
  report({ seconds: time, tokens: spec.tokens, flops: spec.flops, ...stages });
}
