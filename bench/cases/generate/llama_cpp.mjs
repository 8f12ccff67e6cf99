// Sampling through llama.cpp by node-llama-cpp: one sequence per completion, decoded as one batch.
// It computes each prompt again for each sample, because its interface cannot share a prompt
// between sequences. End-of-sequence tokens are ignored, as minNewTokens requires.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { report, seconds, setting, spec } from '../../trial.mjs';

const module = createRequire(join(setting.modules, 'package.json')).resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(module).href);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  maxThreads: spec.threads,
  logLevel: 'error',
});
const model = await llama.loadModel({ modelPath: setting.gguf });
const rows = spec.prompts.length * spec.samples;
const longest = Math.max(...spec.prompts.map((prompt) => prompt.length)) + spec.newTokens + 8;
const context = await model.createContext({
  sequences: rows,
  contextSize: longest,
  batchSize: Math.max(512, rows),
  threads: { ideal: spec.threads, min: spec.threads },
});
const sequences = Array.from({ length: rows }, () => context.getSequence());

async function complete(sequence, prompt, count) {
  let drawn = 0;
  const options = {
    temperature: spec.sampling.temperature,
    topP: spec.sampling.topP,
    topK: 0,
    minP: 0,
    yieldEogToken: true,
  };
  for await (const _ of sequence.evaluate(prompt, options)) if (++drawn === count) break;
  return drawn;
}

async function run(count) {
  const drawn = await Promise.all(
    sequences.map((sequence, i) =>
      complete(sequence, spec.prompts[Math.floor(i / spec.samples)], count),
    ),
  );
  return drawn.reduce((sum, tokens) => sum + tokens, 0);
}

await run(Math.min(4, spec.newTokens));
for (const sequence of sequences) await sequence.clearHistory();
const { seconds: time, result: tokens } = await seconds(() => run(spec.newTokens));
report({ seconds: time, tokens });
process.exit(0);
