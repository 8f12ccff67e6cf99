// Model.load of a safetensors folder, up to the first logits, so that deferred work of loading is
// included.
import { engineInfo, Model } from '../../../dist/index.js';
import { report, seconds, spec } from '../../trial.mjs';

engineInfo(); // loads the addon and libtorch first, as the peers' imports do
const { seconds: time, result: model } = await seconds(() =>
  Model.load(spec.model, { device: spec.device }),
);
const { seconds: first } = await seconds(() => model.logits(spec.prompt));
report({ seconds: time, tokens: 0, readySeconds: time + first });
await model.dispose();
