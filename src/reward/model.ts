/**
 * A reward model: a sequence-classification head on a language model (Hugging Face folder), run
 * natively. Prompt and response go through *its own* chat template and tokenizer, without a
 * generation prompt, as its card's `apply_chat_template(conversation)` does.
 *
 *   one label       its logit
 *   more labels log softmax(logits)[label], the log-probability of the label that `label` chooses;
 *   without a choice it is refused,
 *                   because which label means "good" is the model's own convention
 */
import type { CompletionRecord, ExternalRewardRecord, Message } from '../data/records.js';
import type { TokenIds } from '../engine/model.js';
import { fromValues } from './external.js';

/** What of a loaded sequence-classification model is used here. */
export interface Classifier {
  model: {
    config: { numLabels: number; maxPositionEmbeddings: number };
    classify(
      request: { sequences: TokenIds[]; maxNumBatchedTokens?: number | 'auto' },
      options?: { signal?: AbortSignal },
    ): Promise<Float32Array>;
  };
  /** Token ids of a whole conversation. */
  encode(messages: readonly Message[]): number[];
  name: string;
}

export interface RewardModelSettings {
  label: number | null;
  maxNumBatchedTokens: number | 'auto';
}

/** Why `label` and the model do not go together, or nothing. */
export function labelProblem(numLabels: number, label: number | null): string | undefined {
  if (numLabels === 0)
    return (
      'it has no classification head; give a sequence-classification model ' +
      '(AutoModelForSequenceClassification)'
    );
  if (label !== null && label >= numLabels)
    return (
      `it has ${numLabels} label${numLabels === 1 ? '' : 's'}, so reward.label must be below ` +
      `${numLabels}`
    );
  if (numLabels > 1 && label === null)
    return (
      `it has ${numLabels} labels; set reward.label to the number (from 0) of the one that ` +
      'means a good answer'
    );
  return undefined;
}

/** @throws Error naming the completion that does not fit the reward model's context. */
export async function modelRewards(
  completions: readonly CompletionRecord[],
  judge: Classifier,
  settings: RewardModelSettings,
  options: { signal?: AbortSignal } = {},
): Promise<ExternalRewardRecord[]> {
  const { numLabels, maxPositionEmbeddings } = judge.model.config;
  const sequences = completions.map(({ prompt_id, sample, prompt, completion }) => {
    const tokens = judge.encode([...prompt, { role: 'assistant', content: completion }]);
    if (tokens.length > maxPositionEmbeddings) {
      throw new RangeError(
        `[reward] sample ${sample} of prompt ${JSON.stringify(prompt_id)} is ` +
          `${tokens.length} tokens for the reward model ${judge.name}, whose context holds ` +
          `${maxPositionEmbeddings}: lower sample.max_new_tokens, or take another reward ` +
          'model',
      );
    }
    return tokens;
  });
  const logits = await judge.model.classify(
    { sequences, maxNumBatchedTokens: settings.maxNumBatchedTokens },
    options,
  );
  const rewards = completions.map((_, i) =>
    labelReward(logits.subarray(i * numLabels, (i + 1) * numLabels), settings.label),
  );
  return fromValues(rewards, completions, `the reward model ${judge.name}`);
}

/** Reward of one row of logits. */
export function labelReward(logits: ArrayLike<number>, label: number | null): number {
  if (logits.length === 1) return logits[0]!;
  const all = Array.from(logits);
  const most = Math.max(...all);
  return (
    all[label!]! - most - Math.log(all.reduce((sum, logit) => sum + Math.exp(logit - most), 0))
  );
}
