// Log-probs of completions through Model.score; each prompt is computed once for all its
// completions.
import { Model } from '../../../dist/index.js';
import { deviceInUse, report, seconds, spec } from '../../trial.mjs';

const model = await Model.load(spec.model, { device: spec.device });
const batch = spec.maxNumBatchedTokens && { maxNumBatchedTokens: spec.maxNumBatchedTokens };
await model.score({ groups: spec.groups.slice(0, 2), ...batch });
const { seconds: time, result } = await seconds(() =>
  model.score({ groups: spec.groups, ...batch }),
);
const peakDevice = deviceInUse();
await model.dispose();
report({
  peakDevice,
  seconds: time,
  tokens: spec.tokens,
  flops: spec.flops,
  forwardTokens: result.forwardTokens,
  check: result.sums.reduce((sum, value) => sum + value, 0) / result.sums.length,
});
