/**
 * Oracle reward: 1 for a completion that gives the known answer, else 0. No other reward reads the
 * answers, and training never does.
 */
import { isCorrect } from '../evaluate/answer.js';
import { DataError } from '../data/jsonl.js';
import type { CompletionRecord, ExternalRewardRecord, GoldRecord } from '../data/records.js';

/** @throws DataError naming a prompt without a known answer. */
export function goldRewards(
  completions: readonly CompletionRecord[],
  gold: readonly GoldRecord[],
): ExternalRewardRecord[] {
  const answers = new Map(gold.map((record) => [record.id, record]));
  return completions.map(({ prompt_id, sample, completion }) => {
    const question = answers.get(prompt_id);
    if (!question)
      throw new DataError(
        `prompt ${JSON.stringify(prompt_id)} has no known answer, which the reward ` +
          `\`gold\` needs; add a column "answer" to its row or remove it`,
      );
    return { prompt_id, sample, reward: isCorrect(question, completion) ? 1 : 0 };
  });
}
