/**
 * Tokenises prompts and completions in slices, so that the event loop keeps running however long a
 * text is. The ids are those of LanguageModel.encodePrompt and encodeCompletion.
 */
import type { Message } from '../text/chat-template.js';
import type { LanguageModel } from './language-model.js';
import type { Slices } from './slices.js';

/** Token ids of a prompt. @throws as `LanguageModel.encodePrompt` */
export function promptInSlices(
  language: LanguageModel,
  messages: readonly Message[],
  slices: Slices,
): Promise<number[]> {
  const { text, addSpecialTokens } = language.promptText(messages);
  return textInSlices(language, text, slices, addSpecialTokens);
}

/** Token ids of a completion. @throws as `LanguageModel.encodeCompletion` */
export async function completionInSlices(
  language: LanguageModel,
  text: string,
  slices: Slices,
): Promise<number[]> {
  const end = language.endOfTurn();
  const ids = await textInSlices(language, language.completionText(text), slices);
  ids.push(end);
  return ids;
}

/** Token ids of a text as it stands. */
export function textInSlices(
  { tokenizer }: LanguageModel,
  text: string,
  slices: Slices,
  addSpecialTokens = false,
): Promise<number[]> {
  const { signal } = slices;
  return tokenizer.encodeInSlices(text, (work) => slices.after(work), {
    addSpecialTokens,
    ...(signal && { signal }),
  });
}

/**
 * Number of tokens of a prompt. If its length alone shows that it has more than `limit`, it is not
 * tokenised and the number is a lower bound.
 */
export async function countPrompt(
  language: LanguageModel,
  messages: readonly Message[],
  limit: number,
  slices: Slices,
): Promise<number> {
  const contents = messages.map(({ content }) => content).join('');
  const fewest = language.tokenizer.fewestTokens(contents);
  if (fewest > limit) return fewest;
  const { text, addSpecialTokens } = language.promptText(messages);
  return count(language, text, limit, slices, addSpecialTokens);
}

/** Number of tokens of a completion, including the token that ends the turn; as countPrompt(). */
export async function countCompletion(
  language: LanguageModel,
  text: string,
  limit: number,
  slices: Slices,
): Promise<number> {
  return 1 + (await count(language, language.completionText(text), limit, slices, false));
}

async function count(
  language: LanguageModel,
  text: string,
  limit: number,
  slices: Slices,
  addSpecialTokens: boolean,
): Promise<number> {
  const fewest = language.tokenizer.fewestTokens(text);
  if (fewest > limit) return fewest;
  return (await textInSlices(language, text, slices, addSpecialTokens)).length;
}
