/** The recipe's reward model, loaded for its stage and freed before training. */
import type { CompletionRecord, ExternalRewardRecord } from '../data/records.js';
import type { WorkHooks } from '../lm/hooks.js';
import { loadModel, type LanguageModel } from '../lm/language-model.js';
import { textInSlices } from '../lm/sliced.js';
import { labelProblem, modelRewards, type Classifier } from '../reward/model.js';
import type { RunContext } from './context.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';

export type Score = (
  completions: CompletionRecord[],
  hooks: WorkHooks,
) => Promise<ExternalRewardRecord[]>;

/** Calls `use` with a scorer, which loads the model on its first call. */
export async function withRewardModel<T>(
  run: Pick<RunContext, 'recipe'>,
  use: (score: Score) => Promise<T>,
): Promise<T> {
  const {
    reward: { label },
    score: { max_num_batched_tokens: maxNumBatchedTokens },
  } = run.recipe;
  let loaded: Promise<LanguageModel> | undefined;
  try {
    return await use(async (completions, { signal, progress }) => {
      loaded ??= loadRewardModel(run.recipe, signal);
      const rewards = await modelRewards(
        completions,
        classifier(await loaded),
        { label, maxNumBatchedTokens },
        { signal },
      );
      progress(completions.length, 0);
      return rewards;
    });
  } finally {
    await loaded?.then(
      (language) => language.dispose(),
      () => undefined,
    );
  }
}

/**
 * Calls `use` with the recipe's reward model, or with undefined if its rewards need none, and frees
 * the model afterwards. @throws RunError if the model cannot judge, as loadRewardModel
 */
export async function lendRewardModel<T>(
  settings: Pick<Recipe, 'reward' | 'dtype' | 'device'>,
  signal: AbortSignal,
  use: (rewardModel: LanguageModel | undefined) => Promise<T>,
): Promise<T> {
  const rewardModel =
    settings.reward.source === 'model' ? await loadRewardModel(settings, signal) : undefined;
  try {
    return await use(rewardModel);
  } finally {
    await rewardModel?.dispose();
  }
}

/** @throws RunError if the model has no head, or `reward.label` does not fit its labels. */
async function loadRewardModel(
  { reward, dtype, device }: Pick<Recipe, 'reward' | 'dtype' | 'device'>,
  signal: AbortSignal,
): Promise<LanguageModel> {
  const language = await loadModel(reward.model!, { dtype, device, signal });
  const problem = labelProblem(language.model.config.numLabels, reward.label);
  if (problem === undefined) return language;
  await language.dispose();
  throw new RunError('ERR_RECIPE', `reward.model: ${reward.model} cannot judge: ${problem}.`);
}

/** A loaded reward model in the form that `modelRewards` takes. */
export function classifier(language: LanguageModel): Classifier {
  const { model, chatTemplate, source } = language;
  return {
    model,
    name: source.name,
    encode: (messages, slices) =>
      chatTemplate
        ? textInSlices(
            language,
            chatTemplate.render(chatTemplate.fit(messages), { addGenerationPrompt: false }),
            slices,
          )
        : textInSlices(language, messages.map(({ content }) => content).join('\n\n'), slices, true),
  };
}
