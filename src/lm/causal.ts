/** Loads a model that is to write or score text. */
import { CreamError } from '../engine/errors.js';
import { loadModel, type LanguageModel, type LoadOptions } from './language-model.js';

/**
 * `loadModel()` of a causal language model. Rejects with CreamError ERR_UNSUPPORTED for a
 * sequence-classification model, every request to which would fail.
 */
export async function loadCausal(name: string, options: LoadOptions): Promise<LanguageModel> {
  const language = await loadModel(name, options);
  if (language.model.config.numLabels === 0) return language;
  await language.dispose();
  throw new CreamError(
    'ERR_UNSUPPORTED',
    `${name} is a sequence-classification model, which rates completions and writes none: name a ` +
      'causal language model here (this one can be reward.model of a recipe).',
  );
}
