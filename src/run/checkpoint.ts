/**
 * Saves a checkpoint: a Hugging Face folder with weights, config, tokenizer and chat template, or a
 * PEFT folder if the model has an adapter.
 */
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DType, Model } from '../engine/model.js';
import type { LanguageModel } from '../lm/language-model.js';
import { syncFolder } from '../files/files.js';
import { noteDigest } from './digest.js';
import { onDisk } from './store.js';

/**
 * Writes to the final path, since the next trainer reads its master weights from there. A killed
 * process may leave a partial folder; it is not used, because `steps.jsonl` is written afterwards.
 * An aborted `signal` rejects with its reason and leaves no folder.
 */
export async function saveCheckpoint(
  language: LanguageModel,
  model: Model,
  folder: string,
  dtype: DType,
  signal?: AbortSignal,
): Promise<void> {
  const clear = () => rm(folder, { recursive: true, force: true });
  await onDisk(folder, async () => {
    await clear();
    try {
      const saved = await language.with(model).save(folder, { dtype, ...(signal && { signal }) });
      for (const { name, bytes, sha256 } of saved)
        if (sha256 !== null) noteDigest(join(folder, name), { bytes, sha256 });
    } catch (error) {
      if (signal?.aborted) await clear();
      throw error;
    }
    await syncFolder(folder);
    await syncFolder(dirname(folder));
  });
}
