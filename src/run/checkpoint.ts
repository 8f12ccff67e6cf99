/** A checkpoint: a Hugging Face folder with weights, config, tokenizer and chat template. */
import type { DType, Model } from '../engine/model.js';
import type { LanguageModel } from '../lm/language-model.js';
import { onDisk } from './store.js';

export async function saveCheckpoint(language: LanguageModel, model: Model, folder: string, dtype: DType): Promise<void> {
  await onDisk(folder, () => language.with(model).save(folder, { dtype }));
}
