/**
 * A checkpoint: a Hugging Face folder with weights, config, tokenizer and chat template; of a model
 * with an adapter, a PEFT folder.
 */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DType, Model } from '../engine/model.js';
import type { LanguageModel } from '../lm/language-model.js';
import { syncFolder } from '../models/files.js';
import { onDisk } from './store.js';

/**
 * Written under its own name, file by file whole: the next trainer takes its master weights from
 * where they were saved. What a killed process leaves of it is not used, because a checkpoint
 * counts as made once `steps.jsonl` beside it is there.
 */
export async function saveCheckpoint(
  language: LanguageModel,
  model: Model,
  folder: string,
  dtype: DType,
): Promise<void> {
  await onDisk(folder, async () => {
    await rm(folder, { recursive: true, force: true });
    await language.with(model).save(folder, { dtype });
    await syncFolder(folder);
    await syncFolder(dirname(folder));
  });
}
