/** A checkpoint: a Hugging Face folder with weights, config, tokenizer and chat template; of a model with an adapter, a PEFT folder with that alone. */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DType, Model } from '../engine/model.js';
import type { LanguageModel } from '../lm/language-model.js';
import { ALIASES, type ResolvedModel } from '../models/resolve.js';
import { onDisk, syncFolder } from './store.js';

/**
 * Written under its own name, file by file whole: the next trainer takes its master weights from where they were saved. What a killed
 * process leaves of it is not used, because a checkpoint counts as made once `steps.jsonl` beside it is there.
 */
export async function saveCheckpoint(language: LanguageModel, model: Model, folder: string, dtype: DType): Promise<void> {
  await onDisk(folder, async () => {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    if (model.adapter) await model.saveAdapter(folder, { baseModel: baseName(language.source), dtype });
    else await language.with(model).save(folder, { dtype });
    await syncFolder(folder);
    await syncFolder(dirname(folder));
  });
}

/** What PEFT finds the base by: a hub id, or the path of a model that has none. */
function baseName({ name, path }: ResolvedModel): string {
  if (Object.hasOwn(ALIASES, name)) return ALIASES[name]!.hub;
  return existsSync(name) ? path : name.split('@')[0]!;
}
