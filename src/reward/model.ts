/**
 * A reward model: a sequence-classification head on a language model (Hugging Face folder), run
 * natively. Prompt and completion are formatted with the reward model's own chat template and
 * tokenizer, without a generation prompt, as its model card's `apply_chat_template(conversation)`
 * does.
 *
 *   one label      the reward is its logit
 *   more labels    the reward is log softmax(logits)[label], the log-prob of the label that the
 *                  setting `label` selects. Without it the model is refused, because which label
 *                  means "good" is the model's own convention.
 */
import type { CompletionRecord, ExternalRewardRecord, Message } from '../data/records.js';
import type { TokenIds } from '../engine/model.js';
import { mapInSlices, type Slices } from '../lm/slices.js';
import { fromValues } from './external.js';

/** The parts of a loaded sequence-classification model that are used here. */
export interface Classifier {
  model: {
    config: { numLabels: number; maxPositionEmbeddings: number };
    classify(
      request: { sequences: TokenIds[]; maxNumBatchedTokens?: number | 'auto' },
      options?: { signal?: AbortSignal },
    ): Promise<Float32Array>;
  };
  /** Token ids of a whole conversation in the reward model's chat template. */
  encode(messages: readonly Message[], slices: Slices): Promise<number[]> | number[];
  name: string;
}

export interface RewardModelSettings {
  label: number | null;
  maxNumBatchedTokens: number | 'auto';
}

/** The reason why `label` does not fit the model, or undefined if it does. */
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

/**
 * Rewards of `completions` in their order.
 * @throws RangeError naming a completion that does not fit the reward model's context.
 * @throws DataError naming a completion whose reward is not finite.
 */
export async function modelRewards(
  completions: readonly CompletionRecord[],
  judge: Classifier,
  settings: RewardModelSettings,
  options: { signal?: AbortSignal } = {},
): Promise<ExternalRewardRecord[]> {
  const { numLabels, maxPositionEmbeddings } = judge.model.config;
  const encode = async (
    { prompt_id, sample, prompt, completion }: CompletionRecord,
    slices: Slices,
  ): Promise<readonly number[]> => {
    const messages = [...prompt, { role: 'assistant' as const, content: completion }];
    const tokens = await judge.encode(messages, slices);
    if (tokens.length > maxPositionEmbeddings) {
      throw new RangeError(
        `[reward] sample ${sample} of prompt ${JSON.stringify(prompt_id)} is ` +
          `${tokens.length} tokens for the reward model ${judge.name}, whose context holds ` +
          `${maxPositionEmbeddings}: lower sample.max_new_tokens, or take another reward ` +
          'model',
      );
    }
    return tokens;
  };
  const sequences = await mapInSlices(completions, encode, options.signal);
  const logits = await judge.model.classify(
    { sequences, maxNumBatchedTokens: settings.maxNumBatchedTokens },
    options,
  );
  const rewards = completions.map((_, i) =>
    labelReward(logits.subarray(i * numLabels, (i + 1) * numLabels), settings.label),
  );
  return fromValues(rewards, completions, `the reward model ${judge.name}`);
}

/** Reward from one sequence's logits, [labels]. */
export function labelReward(logits: ArrayLike<number>, label: number | null): number {
  if (logits.length === 1) return logits[0]!;
  const all = Array.from(logits);
  const most = Math.max(...all);
  return (
    all[label!]! - most - Math.log(all.reduce((sum, logit) => sum + Math.exp(logit - most), 0))
  );
}
