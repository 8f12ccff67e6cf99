/** Checkpoints that are written while the next stages compute: their bytes, and what waits. */
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DemonstrationRecord } from '../../src/data/records.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { CheckpointWrites } from '../../src/run/checkpoint-writes.js';
import { RunContext, type RunContextFields } from '../../src/run/context.js';
import { adapterOf } from '../../src/run/models.js';
import { recipeSchema, type Recipe } from '../../src/run/recipe.js';
import { Records } from '../../src/run/records.js';
import { optimise } from '../../src/run/stages/optimise.js';
import { sftObjective } from '../../src/run/stages/sft.js';
import { trainingState } from '../../src/run/training-state.js';
import { artefacts } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const base = tinyModel({ tokenizer: true });
const models: LanguageModel[] = [];
afterAll(() => Promise.all(models.map((language) => language.dispose())));
afterEach(() => {
  jest.restoreAllMocks();
});

const DEMONSTRATIONS: DemonstrationRecord[] = ['a', 'b', 'c', 'd'].map((id) => ({
  id,
  prompt: [{ role: 'user', content: `What comes after ${id}?` }],
  completion: [{ role: 'assistant', content: id + id }],
}));

describe('a checkpoint that is saved later', () => {
  const recipeOf = (of: { dtype?: string; sft?: object; lora?: object }): Recipe =>
    recipeSchema.parse({
      ...of,
      sft: { enabled: true, epochs: 1, batch_size: 2, learning_rate: 1e-3, ...of.sft },
    });

  async function train(recipe: Recipe, later: boolean): Promise<Record<string, string>> {
    const language = await loadModel(base, { dtype: recipe.dtype });
    models.push(language);
    const adapter = adapterOf(recipe);
    if (adapter) await language.model.addAdapter(adapter);
    const folder = temporaryFolder();
    const checkpoint = join(folder, 'checkpoint');
    const { steps, save } = await optimise(
      language,
      sftObjective(DEMONSTRATIONS, recipe),
      checkpoint,
      trainingState(join(folder, 'training'), 'plan'),
      { signal: new AbortController().signal, progress: () => {}, savesLater: () => later },
    );
    expect(steps).toHaveLength(2);
    expect(existsSync(checkpoint)).toBe(!later);
    expect(save !== undefined).toBe(later);
    // The model is used meanwhile.
    if (save) await Promise.all([save(), language.model.logits([1, 2, 3])]);
    return artefacts(checkpoint);
  }

  it.each([
    ['float32', { dtype: 'float32' }],
    ['bfloat16 with float32 masters', {}],
    ['bfloat16 with split masters', { sft: { master_weights: 'split' } }],
    ['bfloat16 in a bfloat16 file', { sft: { checkpoint_dtype: 'bfloat16' } }],
    ['adapters', { lora: { enabled: true, rank: 4 } }],
  ])('has the bytes of one that is saved at once: %s', async (_, of) => {
    const recipe = recipeOf(of);
    const later = await train(recipe, true);
    expect(Object.keys(later)).toContain(
      recipe.lora.enabled ? 'adapter_model.safetensors' : 'model.safetensors',
    );
    expect(later).toEqual(await train(recipe, false));
  });
});

describe('what comes from a model whose checkpoint is being written', () => {
  it('waits for it; inputs do not', async () => {
    const directory = temporaryFolder('cream-run-');
    mkdirSync(join(directory, 'iteration-1'));
    const writes = new CheckpointWrites();
    const run = new RunContext({
      recipe: recipeSchema.parse({}),
      directory,
      records: await Records.create(directory, 'run'),
      plan: 'plan',
      writes,
      signal: new AbortController().signal,
      emit: () => {},
    } as unknown as RunContextFields);
    let finish = () => {};
    writes.add(() => new Promise<void>((resolve) => (finish = resolve)));
    const order: string[] = [];
    let computed = () => {};
    const first = new Promise<void>((resolve) => (computed = resolve));
    const blocks = run.blocks({ phase: 1, stage: 'evaluate' }, 'answers.jsonl', {
      items: [1, 2, 3],
      size: 1,
      unit: 'items',
      make: (items) => {
        order.push(`make ${items[0]}`);
        computed();
        return Promise.resolve(items.map((id) => ({ id })));
      },
    });
    const written = run.write(1, 'noise.jsonl', [{ id: 3 }]);
    await run.record(1, 'gold.jsonl', [{ id: 4 }]);
    expect(existsSync(run.file(1, 'gold.jsonl'))).toBe(true);
    await first;
    await sleep(50);
    // Computed, but neither a block nor a file of it is there; one more block waits for it.
    expect(order).toEqual(['make 1', 'make 2']);
    expect(run.records.all().map(({ file }) => file)).toEqual(['iteration-1/gold.jsonl']);
    expect(existsSync(run.file(1, 'answers.jsonl.parts/00000.jsonl'))).toBe(false);
    finish();
    await Promise.all([blocks, written]);
    expect(order).toEqual(['make 1', 'make 2', 'make 3']);
    expect(run.records.all().map(({ file }) => file)).toEqual(
      ['answers', 'gold', 'noise'].map((name) => `iteration-1/${name}.jsonl`),
    );
  });

  it('is not written after a failure, of which the stages hear', async () => {
    const writes = new CheckpointWrites();
    const done: string[] = [];
    writes.add(() => Promise.resolve(void done.push('first')));
    writes.add(() => Promise.reject(new Error('the disk is full')));
    writes.add(() => Promise.resolve(void done.push('last')));
    await expect(writes.written()).rejects.toThrow('the disk is full');
    expect(await writes.failure()).toMatchObject({ message: 'the disk is full' });
    expect(writes.signal.aborted).toBe(true);
    expect(done).toEqual(['first']);
  });
});

describe('a run', () => {
  const settings = [
    'iterations=2',
    'sft.enabled=true',
    'sft.count=4',
    'sft.batch_size=2',
    'sft.master_weights=split',
    'train.master_weights=split',
    'evaluate.tasks=[builtin]',
    'evaluate.count=2',
    'evaluate.max_new_tokens=4',
  ];
  const warnings = ({ events }: Awaited<ReturnType<typeof tinyRun>>) =>
    events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));

  it('tells of each checkpoint, and ends with the same bytes where memory lacks', async () => {
    const beside = await tinyRun(settings);
    const saved = beside.events.flatMap((event) =>
      event.type === 'checkpoint_saved' ? [event.phase] : [],
    );
    expect(saved).toEqual(['sft', 1, 2]);
    jest.spyOn(process, 'availableMemory').mockReturnValue(0);
    const narrow = await tinyRun(settings);
    expect(artefacts(narrow.directory)).toEqual(artefacts(beside.directory));
    expect(narrow.events.some(({ type }) => type === 'checkpoint_saved')).toBe(false);
    expect(warnings(narrow).filter((text) => text.includes("of the host's memory"))).toHaveLength(
      1,
    );
    expect(warnings(beside).some((text) => text.includes("of the host's memory"))).toBe(false);
  });
});
