// DPO steps through Trainer.preferenceStep: bf16 compute, fp32 masters, precomputed reference
// log-probs, chosen and rejected completions of one prompt.
import { Model } from '../../../dist/index.js';
import { deviceInUse, report, seconds, setting, spec } from '../../trial.mjs';

const model = await Model.load(spec.model, { device: spec.device });
const batches = Array.from({ length: spec.pairs.length / spec.batch }, (_, i) =>
  spec.pairs.slice(i * spec.batch, (i + 1) * spec.batch).map((pair) => ({ ...pair, weight: 1 })),
);
const trainer = await model.trainer({
  learningRate: spec.learningRate,
  beta: spec.beta,
  schedule: 'constant',
  totalSteps: batches.length,
  activationCheckpointing: false,
  ...(spec.microBatchTokens && { microBatchTokens: spec.microBatchTokens }),
  ...setting,
});
let rows = 0;
let loss = 0;
for (const batch of batches.slice(0, spec.warmUpSteps))
  loss += (await trainer.preferenceStep(batch)).loss;
const { seconds: time } = await seconds(async () => {
  for (const batch of batches.slice(spec.warmUpSteps)) {
    const step = await trainer.preferenceStep(batch);
    rows += step.tokens;
    loss += step.loss;
  }
});
const peakDevice = deviceInUse();
await model.dispose();
report({
  peakDevice,
  seconds: time,
  tokens: spec.tokens,
  flops: spec.flops,
  forwardTokens: rows,
  check: loss / batches.length,
});
