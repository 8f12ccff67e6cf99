// Log-probs of completions through Model.score: each prompt once for all of its completions.
import { loadModel } from '../../../dist/index.js';
import { report, seconds, spec } from '../../trial.mjs';

const { model } = await loadModel(spec.model);
await model.score({ groups: spec.groups.slice(0, 2) });
const { seconds: time, result } = await seconds(() => model.score({ groups: spec.groups }));
await model.dispose();
report({ seconds: time, tokens: spec.tokens, flops: spec.flops, forwardTokens: result.forwardTokens, check: result.sums.reduce((sum, value) => sum + value, 0) / result.sums.length });
