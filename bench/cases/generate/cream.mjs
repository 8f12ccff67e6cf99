// Sampling through Model.generate. A short generation first: threads, packed weights and memory are then as in the second hour.
import { loadModel } from '../../../dist/index.js';
import { generateFlops } from '../../flops.mjs';
import { report, seconds, spec } from '../../trial.mjs';

const { model } = await loadModel(spec.model);
const request = {
  prompts: spec.prompts.map((tokens) => ({ tokens, samples: spec.samples })), ...spec.sampling, stopIds: spec.eos, seed: spec.seed,
  minNewTokens: spec.minNewTokens, maxNewTokens: spec.newTokens,
};
await model.generate({ ...request, minNewTokens: 0, maxNewTokens: Math.min(4, spec.newTokens) }).all();
const generation = model.generate(request);
const { seconds: time, result } = await seconds(() => generation.all());
const { prefillSeconds, decodeSeconds, decodeSteps } = await generation.stats;
const flops = generateFlops(spec.config, spec.prompts.map((prompt, i) => ({ prompt: prompt.length, lengths: result.filter(({ promptIndex }) => promptIndex === i).map(({ tokens }) => tokens.length) })));
await model.dispose();
report({
  seconds: time, tokens: result.reduce((sum, { tokens }) => sum + tokens.length, 0), flops: flops.all,
  prefillSeconds, decodeSeconds, decodeSteps, decodeFlopsPerSecond: flops.decode / decodeSeconds,
});
