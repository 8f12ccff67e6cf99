/**
 * The control tokens of one model: special tokens that its chat template writes, and those that
 * begin or end a text. In a user's text the tokenizer would take them for the model's own.
 */
import type { LanguageModel } from './language-model.js';

/** The texts of a model's control tokens. */
export function controlTokensOf({
  tokenizer,
  chatTemplate,
  stopIds,
}: Pick<LanguageModel, 'tokenizer' | 'chatTemplate' | 'stopIds'>): string[] {
  const ends = new Set(stopIds.map((id) => tokenizer.idToToken(id)));
  const { bos_token: bos, eos_token: eos } = tokenizer.specialTokens;
  return tokenizer.specialTexts.filter(
    (text) =>
      text !== '' &&
      (ends.has(text) || text === bos || text === eos || chatTemplate?.source.includes(text)),
  );
}
