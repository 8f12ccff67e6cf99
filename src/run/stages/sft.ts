/** SFT: demonstrations → M1. The loss is on the completions' tokens alone, end-of-turn included. */
import type { DemonstrationRecord } from '../../data/records.js';
import { RunError } from '../errors.js';
import type { OptimisationSettings } from '../recipe.js';
import { optimise, type Optimisation, type StepRecord, type TrainingState } from './optimise.js';
import type { Policy, StageHooks } from './stage.js';

export interface SftWork extends Pick<Optimisation<DemonstrationRecord>, 'onStep' | 'save' | 'key'> {
  settings: OptimisationSettings;
}

/** Trains `policy.model` in place and returns its steps. */
export async function sft(demonstrations: readonly DemonstrationRecord[], policy: Policy, work: SftWork, state: TrainingState, hooks: StageHooks): Promise<StepRecord[]> {
  const { language, model } = policy;
  const encoded = demonstrations.map((demonstration) => ({
    id: demonstration.id,
    prompt: language.encodePrompt(demonstration.prompt),
    completion: language.encodeCompletion(demonstration.completion.map((message) => message.content).join('\n')),
  }));
  const context = model.config.maxPositionEmbeddings;
  for (const { id, prompt, completion } of encoded) {
    const length = prompt.length + completion.length;
    if (length > context) throw new RunError('ERR_RUN_DATA', `Demonstration ${JSON.stringify(id)} is ${length} tokens long and the model's context holds ${context}: shorten it or take it out.`);
  }
  return optimise(model, {
    ...work,
    examples: encoded,
    id: (example) => example.id,
    step: async (trainer, batch) => ({ rewards: false, metrics: await trainer.sftStep(batch.map(({ prompt, completion }) => ({ prompt, completion }))) }),
  }, state, hooks);
}
