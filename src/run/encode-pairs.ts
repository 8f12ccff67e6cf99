/** Preference pairs as token ids. */
import type { PreferenceRecord } from '../data/preferences.js';
import type { Message } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { completionInSlices, promptInSlices, textInSlices } from '../lm/sliced.js';
import type { Slices } from '../lm/slices.js';
import { RunError } from './errors.js';

/** A preference as token ids. */
export async function encodePreference(
  { id, prompt, chosen, rejected }: PreferenceRecord,
  language: LanguageModel,
  slices: Slices,
): Promise<{ prompt: number[]; chosen: number[]; rejected: number[] }> {
  return {
    prompt: await promptInSlices(language, prompt, slices),
    chosen: await encodeTurns(prompt, chosen, language, id, slices),
    rejected: await encodeTurns(prompt, rejected, language, id, slices),
  };
}

/**
 * One answer in the form of a sampled completion, with its end-of-turn token; several turns in the
 * form that the template writes after the prompt, up to the last end-of-turn token.
 */
async function encodeTurns(
  prompt: Message[],
  turns: Message[],
  language: LanguageModel,
  id: string,
  slices: Slices,
): Promise<number[]> {
  if (turns.length === 1 || !language.chatTemplate)
    return completionInSlices(language, turns.map(({ content }) => content).join('\n\n'), slices);
  const template = language.chatTemplate;
  const start = template.fit(prompt);
  const before = template.render(start, { addGenerationPrompt: true });
  const whole = template.render([...start, ...turns], { addGenerationPrompt: false });
  const ids = whole.startsWith(before)
    ? await textInSlices(language, whole.slice(before.length), slices)
    : [];
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
