/** A training that is stopped while it saves, or that has taken its last step before. */
import { afterAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DemonstrationRecord } from '../../src/data/records.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { saveCheckpoint } from '../../src/run/checkpoint.js';
import { recipeSchema } from '../../src/run/recipe.js';
import { Interrupted } from '../../src/run/errors.js';
import type { EvaluationColumns } from '../../src/run/stages/in-training.js';
import { optimise } from '../../src/run/stages/optimise.js';
import { sftObjective } from '../../src/run/stages/sft.js';
import { trainingState } from '../../src/run/training-state.js';
import { artefacts } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const base = tinyModel({ tokenizer: true });
const models: LanguageModel[] = [];
async function load(): Promise<LanguageModel> {
  const language = await loadModel(base, { dtype: 'float32' });
  models.push(language);
  return language;
}
afterAll(() => Promise.all(models.map((language) => language.dispose())));

const DEMONSTRATIONS: DemonstrationRecord[] = ['a', 'b', 'c', 'd'].map((id) => ({
  id,
  prompt: [{ role: 'user', content: `What comes after ${id}?` }],
  completion: [{ role: 'assistant', content: id + id }],
}));
const recipe = recipeSchema.parse({
  sft: { enabled: true, epochs: 1, batch_size: 2, learning_rate: 1e-3, save_steps: 0 },
});

type Measure = (step: number, stop: AbortController) => EvaluationColumns;

/** Trains in `folder`, where every step is evaluated by `measure`; → the steps. */
async function train(folder: string, measure: Measure, patience: number): Promise<number> {
  const stop = new AbortController();
  let calls = 0;
  const policy = await load();
  const evaluation = {
    every: 1,
    patience,
    column: 'eval/accuracy',
    measure: async () => measure(++calls, stop),
    make: async () => [],
  } as const;
  const { steps } = await optimise(
    policy,
    { ...sftObjective(DEMONSTRATIONS, recipe), evaluation },
    join(folder, 'checkpoint'),
    trainingState(join(folder, 'training'), 'plan', stop.signal),
    { signal: stop.signal, progress: () => {} },
  );
  return steps.length;
}

describe('a stop in saving', () => {
  it('leaves no folder', async () => {
    const folder = join(temporaryFolder(), 'checkpoint');
    const language = await load();
    const stop = new AbortController();
    const saved = saveCheckpoint(language, language.model, folder, 'float32', stop.signal);
    stop.abort(new Error('enough'));
    await expect(saved).rejects.toThrow('enough');
    expect(existsSync(folder)).toBe(false);
    await saveCheckpoint(language, language.model, folder, 'float32', new AbortController().signal);
    expect(Object.keys(artefacts(folder))).toContain('model.safetensors');
  });

  it('is heard at once if the state is on disk; the next call goes on there', async () => {
    const measured = { 'eval/accuracy': 0.5 };
    const whole = temporaryFolder();
    await train(whole, () => measured, 0);
    const folder = temporaryFolder();
    // Stopped within the evaluation of the last step: its state is saved.
    const first = train(
      folder,
      (step, stop) => {
        if (step === 2) stop.abort();
        if (step === 2) throw stop.signal.reason;
        return measured;
      },
      0,
    );
    await expect(first).rejects.toThrow(Interrupted);
    // Stopped before the checkpoint is saved: nothing would be lost.
    const second = train(folder, (_, stop) => (stop.abort(), measured), 0);
    await expect(second).rejects.toThrow(/aborted/);
    expect(existsSync(join(folder, 'checkpoint'))).toBe(false);
    expect(await train(folder, () => measured, 0)).toBe(2);
    expect(artefacts(join(folder, 'checkpoint'))).toEqual(artefacts(join(whole, 'checkpoint')));
  });

  it('of the best checkpoint loses no step, and the next call keeps it', async () => {
    const better: Measure = (step) => ({ 'eval/accuracy': step / 10 });
    const whole = temporaryFolder();
    await train(whole, better, 2);
    const folder = temporaryFolder();
    const first = train(folder, (step, stop) => (stop.abort(), better(step, stop)), 2);
    await expect(first).rejects.toThrow(Interrupted);
    expect(existsSync(join(folder, 'training/best-1'))).toBe(false);
    expect(await train(folder, better, 2)).toBe(2);
    expect(artefacts(join(folder, 'checkpoint'))).toEqual(artefacts(join(whole, 'checkpoint')));
  });
});

it('a run that is stopped after the last step saves the checkpoint, and goes on', async () => {
  const settings = ['iterations=2'];
  const whole = await tinyRun(settings);
  const stop = new AbortController();
  const directory = join(temporaryFolder('cream-run-'), 'run');
  let steps = 0;
  const stopped = tinyRun(settings, {
    directory,
    signal: stop.signal,
    onEvent: (event) => {
      if (event.type === 'step' && ++steps === 2) stop.abort();
    },
  });
  await expect(stopped).rejects.toThrow(Interrupted);
  await tinyRun(settings, { directory });
  expect(artefacts(directory)).toEqual(artefacts(whole.directory));
});
