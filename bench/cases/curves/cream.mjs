// One point of a cost curve, in a separate process: sampling, scoring of the samples, and a
// training step on a pair of every prompt.
import { rmSync } from 'node:fs';
import { Model } from '../../../dist/index.js';
import { writeModel } from '../../shapes.mjs';
import { peakRss, report, seconds, spec } from '../../trial.mjs';

const { shape, folder, prompts: count, samples, tokens, promptTokens, train, seed, device } = spec;
const made = shape ? writeModel(folder, shape) : spec.model;
const model = await Model.load(made, { device });
const { parameters, vocabSize } = model.config;
// Any ids will do, because the cost does not depend on them.
const prompts = Array.from({ length: count }, (_, i) =>
  Int32Array.from({ length: promptTokens }, (_, j) => (seed + i * 7919 + j * 104729) % vocabSize),
);
const request = {
  prompts: prompts.map((ids) => ({ tokens: ids, samples })),
  temperature: 0.8,
  topP: 0.95,
  seed,
  minNewTokens: tokens,
  maxNewTokens: tokens,
};
await model.generate({ ...request, minNewTokens: 1, maxNewTokens: Math.min(4, tokens) }).all();

const sampled = await seconds(() => model.generate(request).all());
const sampleRss = peakRss();
const groups = prompts.map((prompt, i) => ({
  prompt,
  completions: sampled.result
    .filter(({ promptIndex }) => promptIndex === i)
    .map((completion) => completion.tokens),
}));
const scored = await seconds(() => model.score({ groups }));
const point = {
  parameters,
  sample: { seconds: sampled.seconds, peakRss: sampleRss },
  score: { seconds: scored.seconds, peakRss: peakRss() },
};
if (train) {
  const reference = (i) => ({
    referenceChosen: scored.result.sums[i * samples],
    referenceRejected: scored.result.sums[i * samples + 1],
  });
  const pairs = groups.map(({ prompt, completions: [chosen, rejected] }, i) => ({
    prompt,
    chosen,
    rejected,
    weight: 1,
    ...reference(i),
  }));
  const trainer = await model.trainer({ learningRate: 1e-6, schedule: 'constant', totalSteps: 2 });
  await trainer.preferenceStep(pairs.slice(0, 1));
  const trained = await seconds(() => trainer.preferenceStep(pairs));
  point.train = { seconds: trained.seconds, peakRss: peakRss() };
}
await model.dispose();
if (shape) rmSync(made, { recursive: true, force: true });
report(point);
