/** SFT: demonstrations → M1. The loss covers the completions' tokens, end-of-turn included. */
import type { DemonstrationRecord } from '../../data/records.js';
import type { OptimisationSettings } from '../recipe.js';
import { optimise, type Optimisation, type StepRecord, type TrainingState } from './optimise.js';
import type { LanguageModel } from '../../lm/language-model.js';
import type { StageHooks } from './stage.js';

export interface SftWork extends Pick<
  Optimisation<DemonstrationRecord>,
  'onStep' | 'save' | 'key'
> {
  settings: OptimisationSettings;
}

/** Trains `policy.model` in place and returns its steps. */
export async function sft(
  demonstrations: readonly DemonstrationRecord[],
  policy: LanguageModel,
  work: SftWork,
  state: TrainingState,
  hooks: StageHooks,
): Promise<StepRecord[]> {
  const encoded = demonstrations.map((demonstration) => encodeDemonstration(demonstration, policy));
  return optimise(
    policy.model,
    {
      ...work,
      examples: encoded,
      id: (example) => example.id,
      step: async (trainer, batch) => ({
        rewards: false,
        metrics: await trainer.sftStep(
          batch.map(({ prompt, completion }) => ({ prompt, completion })),
        ),
      }),
    },
    state,
    hooks,
  );
}

/** Token ids of a demonstration; its answer ends with the end-of-turn token. */
export function encodeDemonstration(
  { id, prompt, completion }: DemonstrationRecord,
  language: LanguageModel,
): { id: string; prompt: number[]; completion: number[] } {
  return {
    id,
    prompt: language.encodePrompt(prompt),
    completion: language.encodeCompletion(completion.map((message) => message.content).join('\n')),
  };
}
