/**
 * A judge that compares two answers to one prompt. It is asked which of them is better, A or B, and
 * its preference is the probability of one letter relative to that of both as the first word of its
 * reply, as in AlpacaEval 2. Every pair is judged twice with the positions swapped, since judges
 * prefer one position (Zheng et al. 2023, arXiv 2306.05685). The wording is ours. Nothing is
 * sampled, so the same judge gives the same preferences.
 */
import type { Message } from '../data/records.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { LanguageModel } from '../lm/language-model.js';
import { promptInSlices } from '../lm/sliced.js';
import { mapInSlices } from '../lm/slices.js';

/** Two answers to one prompt. */
export interface AnswerPair {
  prompt_id: string;
  prompt: Message[];
  before: string;
  after: string;
}

/** A judged pair; lengths in characters (code points). */
export interface JudgedPair {
  prompt_id: string;
  before_length: number;
  after_length: number;
  /**
   * Preference for `after`, 0 … 1, when it is shown second and when it is shown first; null if the
   * pair is too long for the judge.
   */
  shown_second: number | null;
  shown_first: number | null;
}

/** The judge's preferences in the order of `pairs`. Progress counts pairs. */
export async function judgePairs(
  pairs: readonly AnswerPair[],
  judge: LanguageModel,
  maxNumBatchedTokens: number | 'auto',
  hooks: WorkHooks,
): Promise<JudgedPair[]> {
  const letters = ['A', 'B'].map((letter) => judge.tokenizer.encode(letter));
  const longest = Math.max(...letters.map(({ length }) => length));
  const prompts = pairs.flatMap(({ prompt, before, after }) => [
    pairPrompt(prompt, before, after),
    pairPrompt(prompt, after, before),
  ]);
  const asked = await mapInSlices(
    prompts,
    (prompt, slices) => promptInSlices(judge, prompt, slices),
    hooks.signal,
  );
  const fitting = asked
    .map((_, i) => i)
    .filter((i) => asked[i]!.length + longest <= judge.model.config.maxPositionEmbeddings);
  const preferences = new Array<number | null>(asked.length).fill(null);
  if (fitting.length > 0) {
    const { sums } = await judge.model.score(
      {
        groups: fitting.map((i) => ({ prompt: asked[i]!, completions: letters })),
        maxNumBatchedTokens,
      },
      {
        signal: hooks.signal,
        // Two prompts per pair and two letters per prompt.
        onProgress: ({ done, tokens }) => hooks.progress(Math.floor(done / 4), tokens),
      },
    );
    for (const [position, i] of fitting.entries())
      preferences[i] = shareOfSecond(sums[2 * position]!, sums[2 * position + 1]!);
  }
  return pairs.map(({ prompt_id, before, after }, i) => {
    const second = preferences[2 * i]!;
    const swapped = preferences[2 * i + 1]!;
    return {
      prompt_id,
      before_length: [...before].length,
      after_length: [...after].length,
      shown_second: second,
      shown_first: swapped === null ? null : 1 - swapped,
    };
  });
}

/** exp(b) / (exp(a) + exp(b)). */
const shareOfSecond = (a: number, b: number): number => 1 / (1 + Math.exp(a - b));

/** The question to the judge; A is `first`. */
export function pairPrompt(prompt: readonly Message[], first: string, second: string): Message[] {
  const conversation =
    prompt.length === 1
      ? prompt[0]!.content.trim()
      : prompt.map(({ role, content }) => `${role}: ${content.trim()}`).join('\n\n');
  return [
    {
      role: 'user',
      content: `Two assistants answered the same user. Decide whose answer serves the user better: \
which one is more correct, and answers more of what was asked. A longer answer is not better for \
its length.

<conversation>
${conversation}
</conversation>

<answer A>
${first.trim()}
</answer A>

<answer B>
${second.trim()}
</answer B>

Which answer is better? Reply with one letter and nothing else, A or B.`,
    },
  ];
}
