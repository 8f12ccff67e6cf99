// Sampling through Model.generate. A short generation runs first, so that threads, packed weights
// and memory are in the state of a long-running process.
import { Model } from '../../../dist/index.js';
import { decodeBytes, generateFlops } from '../../flops.mjs';
import { deviceInUse, report, seconds, spec } from '../../trial.mjs';

const model = await Model.load(spec.model, { device: spec.device });
const request = {
  prompts: spec.prompts.map((tokens) => ({ tokens, samples: spec.samples })),
  ...spec.sampling,
  stopIds: spec.eos,
  seed: spec.seed,
  minNewTokens: spec.minNewTokens,
  maxNewTokens: spec.newTokens,
  ...(spec.maxNumSeqs && { maxNumSeqs: spec.maxNumSeqs }),
};
await model
  .generate({ ...request, minNewTokens: 0, maxNewTokens: Math.min(4, spec.newTokens) })
  .all();
const generation = model.generate(request);
const { seconds: time, result } = await seconds(() => generation.all());
const { prefillSeconds, decodeSeconds, decodeSteps, graphFailure } = await generation.stats;
const groups = spec.prompts.map((prompt, i) => ({
  prompt: prompt.length,
  lengths: result.filter(({ promptIndex }) => promptIndex === i).map(({ tokens }) => tokens.length),
}));
const flops = generateFlops(spec.config, groups);
const peakDevice = deviceInUse();
await model.dispose();
report({
  peakDevice,
  seconds: time,
  tokens: result.reduce((sum, { tokens }) => sum + tokens.length, 0),
  flops: flops.all,
  prefillSeconds,
  decodeSeconds,
  decodeSteps,
  ...(graphFailure !== null && { graphFailure }),
  decodeFlopsPerSecond: flops.decode / decodeSeconds,
  ...(spec.device !== 'cpu' && {
    decodeBytesPerSecond: decodeBytes(spec.config, decodeSteps, groups) / decodeSeconds,
  }),
});
