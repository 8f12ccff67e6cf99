/**
 * What every stage is handed beside its records: how to be stopped, and how to tell how far it is.
 */
import type { Model } from '../../engine/model.js';
import type { LanguageModel } from '../../lm/language-model.js';

/** Weights θ and the text side (tokenizer, chat template) that all θ of a run share. */
export interface Policy {
  language: LanguageModel;
  model: Model;
}

export interface StageHooks {
  signal: AbortSignal;
  /** `done` items of this call and `tokens` computed so far in it. */
  progress: (done: number, tokens: number) => void;
}
