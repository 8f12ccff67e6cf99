/** SFT: demonstrations → M1. The loss is on the completions' tokens alone, end-of-turn included. */
import type { DemonstrationRecord } from '../../data/records.js';
import type { OptimisationSettings } from '../recipe.js';
import { optimise, type Optimisation, type StepRecord, type TrainingState } from './optimise.js';
import type { LanguageModel } from '../../lm/language-model.js';
import type { Policy, StageHooks } from './stage.js';

export interface SftWork extends Pick<
  Optimisation<DemonstrationRecord>,
  'onStep' | 'save' | 'key'
> {
  settings: OptimisationSettings;
}

/** Trains `policy.model` in place and returns its steps. */
export async function sft(
  demonstrations: readonly DemonstrationRecord[],
  policy: Policy,
  work: SftWork,
  state: TrainingState,
  hooks: StageHooks,
): Promise<StepRecord[]> {
  const { language, model } = policy;
  const encoded = demonstrations.map((demonstration) =>
    encodeDemonstration(demonstration, language),
  );
  return optimise(
    model,
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
