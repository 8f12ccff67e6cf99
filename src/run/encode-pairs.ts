/** Preference pairs as token ids. */
import type { PreferenceRecord } from '../data/preferences.js';
import type { Message } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { RunError } from './errors.js';

/** A preference as token ids. */
export function encodePreference(
  { id, prompt, chosen, rejected }: PreferenceRecord,
  language: LanguageModel,
): { prompt: number[]; chosen: number[]; rejected: number[] } {
  return {
    prompt: language.encodePrompt(prompt),
    chosen: encodeTurns(prompt, chosen, language, id),
    rejected: encodeTurns(prompt, rejected, language, id),
  };
}

/**
 * One answer in the form of a sampled completion, with its end-of-turn token; several turns in the
 * form that the template writes after the prompt, up to the last end-of-turn token.
 */
function encodeTurns(
  prompt: Message[],
  turns: Message[],
  language: LanguageModel,
  id: string,
): number[] {
  if (turns.length === 1 || !language.chatTemplate)
    return language.encodeCompletion(turns.map(({ content }) => content).join('\n\n'));
  const template = language.chatTemplate;
  const start = template.fit(prompt);
  const before = template.render(start, { addGenerationPrompt: true });
  const whole = template.render([...start, ...turns], { addGenerationPrompt: false });
  const ids = whole.startsWith(before) ? language.tokenizer.encode(whole.slice(before.length)) : [];
  const end = ids.findLastIndex((token) => language.stopIds.includes(token));
  if (end < 0)
    throw new RunError(
      'ERR_RUN_DATA',
      `The pair ${JSON.stringify(id)} has an answer of ${turns.length} turns, which this ` +
        `model's chat template does not simply append to the prompt: give one ` +
        'assistant turn.',
    );
  return ids.slice(0, end + 1);
}
