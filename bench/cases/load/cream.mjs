// Model.load of a safetensors folder, and until the first logits are there: what loading put off is
// paid then.
import { engineInfo, Model } from '../../../dist/index.js';
import { report, seconds, spec } from '../../trial.mjs';

engineInfo(); // the addon and libtorch are in memory, as the peers' imports are
const { seconds: time, result: model } = await seconds(() =>
  Model.load(spec.model, { device: spec.device }),
);
const { seconds: first } = await seconds(() => model.logits(spec.prompt));
report({ seconds: time, tokens: 0, readySeconds: time + first });
await model.dispose();
