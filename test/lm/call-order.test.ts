/** Calls of a LanguageModel in the order they were made, although some of them prepare first. */
import { beforeEach, describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Trainer } from '../../src/engine/trainer.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const ADAPTER = { rank: 2, alpha: 4 };

/** A model whose tokenizer has a pattern of its own, so that any text is tokenised in a thread. */
function slowModel(): string {
  const folder = tinyModel({ tokenizer: true });
  const path = join(folder, 'tokenizer.json');
  const json = JSON.parse(readFileSync(path, 'utf8')) as { pre_tokenizer: object };
  const split = { type: 'Split', pattern: { Regex: 'zqx+' }, behavior: 'Isolated', invert: false };
  json.pre_tokenizer = { type: 'Sequence', pretokenizers: [split, json.pre_tokenizer] };
  writeFileSync(path, JSON.stringify(json));
  return folder;
}

const folder = slowModel();
const greedy = { maxNewTokens: 12, temperature: 0 };
let lm: LanguageModel;
let trainer: Trainer;

beforeEach(async () => {
  lm = await loadModel(folder, { dtype: 'float32' });
});

const train = async (): Promise<() => Promise<unknown>> => {
  trainer = await lm.model.trainer({ learningRate: 0.05, totalSteps: 9 });
  const prompt = lm.tokenizer.encode('hello');
  return () => trainer.sftStep([{ prompt, completion: [65, 66, 67, 258] }]);
};

describe('a call', () => {
  it('works with the weights before a step that is asked for after it', async () => {
    const step = await train();
    const [score] = await lm.score('x', ['hello']);
    const { text } = await lm.generate('x', greedy);
    const before = join(temporaryFolder(), 'before');
    const scoring = lm.score('x', ['hello']);
    const writing = lm.generate('x', greedy);
    const saving = lm.save(before);
    const stepping = step();
    const after = lm.score('x', ['hello']);
    expect(await scoring).toEqual([score]);
    expect((await writing).text).toBe(text);
    await saving;
    await stepping;
    const [now] = await lm.score('x', ['hello']);
    expect(await after).toEqual([now]);
    expect(now).not.toBe(score);
    await lm.dispose();
    const saved = await loadModel(before, { dtype: 'float32' });
    expect(await saved.score('x', ['hello'])).toEqual([score]);
    await saved.dispose();
  });

  it('of the model itself waits for a step that waits', async () => {
    const step = await train();
    const tokens = lm.tokenizer.encode('hello');
    const request = { prompts: [{ tokens }], ...greedy };
    const before = (await lm.model.generate(request).all())[0]!.tokens;
    const scoring = lm.score('x', ['y']);
    const stepping = step();
    const after = lm.model.generate(request);
    const aborted = new AbortController();
    const given = lm.model.generate(request, { signal: aborted.signal });
    const cancelled = lm.model.generate(request);
    expect(() => lm.model.snapshot()).toThrow('[snapshot] a change of the model waits');
    aborted.abort(new Error('enough'));
    cancelled.cancel();
    await expect(given.all()).rejects.toThrow('enough');
    await expect(cancelled.all()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await Promise.all([scoring, stepping]);
    const [completion] = await after.all();
    expect([...completion!.tokens]).not.toEqual([...before]);
    expect([...completion!.tokens]).toEqual([
      ...(await lm.model.generate(request).all())[0]!.tokens,
    ]);
    await lm.dispose();
  });

  it('that fails before it reaches the model lets the others go on', async () => {
    const step = await train();
    const failing = lm.score('x', ['y'], { signal: AbortSignal.abort(new Error('enough')) });
    const stepping = step();
    await expect(failing).rejects.toThrow('enough');
    await stepping;
    await lm.dispose();
  });
});

describe('dispose()', () => {
  it('waits for the calls made before it', async () => {
    const saved = join(temporaryFolder(), 'saved');
    const calls = [
      lm.score('x', ['y']),
      lm.generate('x', greedy),
      lm.save(saved),
      lm.model.logits([1]),
    ];
    const disposed = lm.dispose();
    await Promise.all(calls);
    await disposed;
    expect(existsSync(join(saved, 'model.safetensors'))).toBe(true);
  });

  it('leaves nothing to later calls, not even an empty folder', async () => {
    const scoring = lm.score('x', ['y']);
    const disposed = lm.dispose();
    const late = join(temporaryFolder(), 'late');
    const of = { code: 'ERR_DISPOSED' };
    await expect(lm.save(late)).rejects.toMatchObject(of);
    await expect(lm.score('x', ['y'])).rejects.toMatchObject(of);
    await expect(lm.generate('x', greedy)).rejects.toMatchObject(of);
    await Promise.all([scoring, disposed]);
    await expect(lm.save(late)).rejects.toMatchObject(of);
    expect(existsSync(late)).toBe(false);
  });
});

describe('save()', () => {
  const config = (path: string) => [
    existsSync(join(path, 'adapter_config.json')),
    existsSync(join(path, 'config.json')),
  ];

  it('writes the adapter or the model that the calls before it leave', async () => {
    const [first, second] = [join(temporaryFolder(), 'a'), join(temporaryFolder(), 'b')];
    const adding = lm.model.addAdapter(ADAPTER);
    const adapter = lm.save(first);
    const merging = lm.model.merge();
    const whole = lm.save(second);
    await Promise.all([adding, adapter, merging, whole]);
    expect(config(first)).toEqual([true, false]);
    expect(config(second)).toEqual([false, true]);
    await lm.dispose();
  });
});
