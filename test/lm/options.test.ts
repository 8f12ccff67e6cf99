/** Wrong options of the Node.js API: each is refused by name, in one sentence, never ignored. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ChatTemplate,
  loadDemonstrations,
  loadModel,
  loadPreferences,
  loadPrompts,
  loadTokenizer,
  modelDigest,
  parseRecipe,
  readGguf,
  readRows,
  recipeText,
  resolveModel,
  run,
  toTrl,
  type LanguageModel,
} from '../../src/index.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const folder = tinyModel({ tokenizer: true });
let lm: LanguageModel;
beforeAll(async () => {
  lm = await loadModel(folder, { dtype: 'float32' });
});
afterAll(() => lm?.dispose());

/* Deliberately ill-typed calls. */
const load = (options: unknown) => () => loadModel(folder, options as never);
const generate = (options: unknown) => () => lm.generate('hi', options as never);
const ask = (prompt: unknown) => () => lm.generate(prompt as never, { maxNewTokens: 1 });
const controller = new AbortController();
const row = join(temporaryFolder(), 'row.jsonl');
writeFileSync(row, '{"prompt": "a"}\n');
const complete = parseRecipe('iterations: 1', 'mine');
const start = (recipe: unknown, options: object) => async () => {
  const directory = temporaryFolder();
  for await (const _ of run(recipe as never, { directory, ...options })) break;
};
const request = { prompts: [{ tokens: [1] }], maxNewTokens: 1 };

const CASES: Record<string, [call: () => unknown, message: string]> = {
  'loadModel: a misspelt option': [load({ dtpye: 'x' }), 'no option "dtpye" (they are dtype, '],
  'loadModel: null': [load(null), '[loadModel] the options must be an object, got null.'],
  'loadModel: dtype': [load({ dtype: 'int8' }), "[loadModel] dtype must be 'float32' or"],
  'loadModel: a controller for its signal': [
    load({ signal: controller }),
    'signal must be an AbortSignal, got an object; pass the signal of the AbortController.',
  ],
  'loadModel: a callback': [load({ onProgress: 5 }), 'onProgress must be a function, got 5.'],
  'loadModel: cacheDir': [load({ cacheDir: 5 }), 'cacheDir must be a folder, got 5.'],
  'resolveModel: a misspelt option': [
    () => resolveModel(folder, { ofline: true } as never),
    'no option "ofline"',
  ],
  'loadModel: NaN': [() => loadModel(NaN as never), 'must be a non-empty string, got NaN.'],
  'loadModel: a function': [() => loadModel((() => 1) as never), 'string, got a function.'],
  'loadModel: a symbol': [() => loadModel(Symbol('s') as never), 'string, got Symbol(s).'],
  'loadModel: a text for offline': [
    () => loadModel('some-org/none', { offline: 'false' as never }),
    '[loadModel] the options: offline must be true or false, got "false".',
  ],
  'loadModel: a text for env': [load({ env: 'x' }), 'env must be an object, got "x".'],
  'loadModel: a Map': [
    load(new Map()),
    '[loadModel] the options must be an object, got an object of kind Map.',
  ],
  'encodePrompt: a signal for the options': [
    () => lm.encodePrompt([], controller.signal as never),
    '[encodePrompt] the options must be an object, got an object of kind AbortSignal.',
  ],
  'modelDigest: a name': [() => modelDigest('x' as never), 'what resolveModel() returned'],
  'generate: a misspelt option': [
    generate({ maxTokens: 3 }),
    '[generate] the options have no option "maxTokens" (they are temperature, topP, topK, ' +
      'maxNewTokens, topLogprobs, stop, seed, signal).',
  ],
  'generate: the case of an option': [generate({ topp: 1 }), 'did you mean "topP"?'],
  ...Object.fromEntries(
    ['prompts', 'stopIds', 'stopStrings', 'iteration'].map((key) => [
      `generate: ${key}, which the engine's request has`,
      [generate({ [key]: [1] }), `no option "${key}"`],
    ]),
  ),
  'generate: no options': [generate(null), 'the options must be an object, got null.'],
  'generate: a number': [generate(5), 'the options must be an object, got 5.'],
  'generate: stop as text': [generate({ stop: 'a' }), '[generate] stop must be an array, got "a".'],
  'generate: an empty stop string': [generate({ stop: [''] }), 'a stop string must be a non-empty'],
  'generate: a signal': [generate({ signal: 5 }), 'signal must be an AbortSignal, got 5.'],
  'generate: an unknown form of prompt': [ask(5), 'The prompt must be text or a list of messages'],
  'generate: a message without content': [ask([{ role: 'user' }]), 'must both be strings.'],
  'score: an option': [() => lm.score('a', ['b'], { sginal: 1 } as never), 'no option "sginal"'],
  'score: null': [() => lm.score('a', ['b'], null as never), 'must be an object, got null.'],
  'save: no folder': [
    () => lm.save(undefined as never),
    '[save] the directory must be a non-empty',
  ],
  'save: an empty name': [() => lm.save(''), '[save] the directory must be a non-empty string'],
  'save: dtype': [() => lm.save('x', { dtype: 'f16' as never }), "[save] dtype must be 'float32'"],
  'score: a long completion': [() => lm.score('x', ['y'.repeat(5e6)]), 'A completion has at least'],
  'score: a bigint': [
    () => lm.score('x', ['a', 10n as never]),
    'The completions must be a list of texts, got 10n at position 1.',
  ],
  'generate: a role': [
    ask([{ role: 10n, content: 'a' }]),
    'Message 1 of 1 has the role 10n; role and content must both be strings.',
  ],
  'snapshot: a text': [
    () => lm.model.snapshot({ adapter: 'false' as never }),
    'adapter must be true or false, got "false".',
  ],
  'with: no model': [() => lm.with(null as never), '[with] a Model is needed, got null.'],
  'encodePrompt: text': [() => lm.encodePrompt('hi' as never), 'must be a list of {role, content}'],
  'encodePrompt: an option': [() => lm.encodePrompt([], { x: 1 } as never), 'no option "x"'],
  'encodeCompletion: a number': [() => lm.encodeCompletion(5 as never), 'must be text, got 5.'],
  'Model.generate: an option': [
    () => lm.model.generate(request, { onToken: () => {} } as never),
    'no option "onToken" (they are signal, onProgress, onTokens).',
  ],
  'Model.generate: a callback': [
    () => lm.model.generate(request, { onTokens: 5 } as never),
    'onTokens must be a function, got 5.',
  ],
  'Model.score: an option': [
    () => lm.model.score({ groups: [] }, { onProgres: 1 } as never),
    '[score] the options have no option "onProgres"',
  ],
  'Model.classify: an option': [
    () => lm.model.classify({ sequences: [] }, { x: 1 } as never),
    '[classify] the options have no option "x"',
  ],
  'readGguf: no path': [() => readGguf(undefined as never), '[readGguf] the path must be'],
  'Tokenizer.encode: a number': [
    () => lm.tokenizer.encode(5 as never),
    'The text must be a string, got 5.',
  ],
  'Tokenizer.encode: an option': [
    () => lm.tokenizer.encode('a', { addSpecial: true } as never),
    'no option "addSpecial" (they are addSpecialTokens).',
  ],
  'Tokenizer.decode: text': [
    () => lm.tokenizer.decode('a' as never),
    'must be a list of token ids',
  ],
  'Tokenizer.decode: a fraction': [
    () => lm.tokenizer.decode([1, 1.5]),
    '[decode] the id at position 1 must be a whole number, got 1.5.',
  ],
  'Tokenizer.decode: a text as id': [() => lm.tokenizer.decode(['72' as never]), 'got "72".'],
  'streamDecoder: a text': [
    () => lm.tokenizer.streamDecoder().push('1' as never),
    'must be a list of token ids, got "1".',
  ],
  'Tokenizer.decode: an option': [
    () => lm.tokenizer.decode([1], { skipSpecial: true } as never),
    'no option "skipSpecial"',
  ],
  'loadTokenizer: a path': [() => loadTokenizer(folder as never), 'must be {folder} with a path'],
  'ChatTemplate: nothing': [() => new ChatTemplate(undefined as never), 'must be text, got undef'],
  'ChatTemplate.render: no options': [
    () => lm.chatTemplate!.render([{ role: 'user', content: 'a' }], undefined as never),
    '[render] the options must be an object',
  ],
  'loadPrompts: nothing': [() => loadPrompts(undefined as never), 'a source must be the name'],
  'loadPrompts: an option': [
    () => loadPrompts(row, { onBadrow: 'skip' } as never),
    'no option "onBadrow"; did you mean "onBadRow"?',
  ],
  'loadPrompts: a mode': [
    () => loadPrompts(row, { onBadRow: 'skipp' as never }),
    'onBadRow must be error or skip, got "skipp"',
  ],
  'loadPrompts: columns as text': [
    () => loadPrompts(row, { columns: 'prompt=a' as never }),
    'columns must be a list of names',
  ],
  'loadDemonstrations: a number': [() => loadDemonstrations(5 as never), 'got 5'],
  'loadPreferences: a list': [() => loadPreferences([row] as never), 'a source must be the name'],
  'readRows: an option': [() => readRows(row, { column: ['a'] } as never), 'no option "column"'],
  'toTrl: a form': [() => toTrl([], 'chat' as never), 'conversational or standard, got "chat"'],
  'toTrl: nothing in a list': [() => toTrl([null as never]), 'pair 1 of 1 is null; a pair has an'],
  'toTrl: an empty object': [() => toTrl([{} as never]), 'pair 1 of 1 has the id undefined; a'],
  'recipeText: a number': [() => recipeText(1 as never), 'recipeText() takes a complete recipe'],
  'recipeText: a part': [() => recipeText({} as never), 'model is missing.'],
  'parseRecipe: a number for an override': [
    () => parseRecipe('iterations: 1', 'n', [1 as never]),
    'a list of key=value texts.',
  ],
  'parseRecipe: an object': [() => parseRecipe({} as never, 'x'), 'takes the YAML as text'],
  'parseRecipe: no name': [() => parseRecipe('iterations: 1', undefined as never), 'a name for'],
  'run: a name for a recipe': [start('quickstart', {}), 'run() takes a complete recipe'],
  'run: a part of a recipe': [start({ iterations: 1 }, {}), 'is missing.'],
  'run: a wrong value': [
    start({ ...complete, iterations: 'x' }, {}),
    'iterations: must be a number',
  ],
  'run: an option': [start(complete, { onMetric: () => {} }), 'no option "onMetric"'],
  'run: no folder': [start(complete, { directory: undefined }), '[run] directory must be a non-'],
  'run: a callback': [start(complete, { until: 5 }), 'until must be a function, got 5.'],
  'run: a sink without log': [start(complete, { sinks: [{ name: 'a' }] }), 'a sink must have a'],
  'run: a controller': [start(complete, { signal: controller }), 'pass the signal of the Abort'],
  'run: a text for prompts': [start(complete, { prompts: 'abc' }), 'prompts must be an array or'],
  'run: a bigint in a prompt': [
    start(
      { ...complete, prompts: { ...complete.prompts, source: 'program' } },
      { prompts: [{ prompt: 'x', extra: { a: 1n } }] },
    ),
    'Prompt 0 of those that run() was given cannot be written as JSON',
  ],
  'run: a number for prompts': [start(complete, { prompts: 5 }), 'prompts must be an array or an'],
};

describe('a wrong argument is named', () => {
  it.each(Object.entries(CASES))('%s', async (_, [call, message]) => {
    const error = await (async () => call())().then(
      () => 'no error',
      (thrown: Error) => thrown,
    );
    expect(error).toMatchObject({
      name: expect.stringMatching(/^(Cream|Model|Text|Data|Run)Error$/),
      message: expect.stringContaining(message),
    });
  });
});

it('the name of a model that is no text is a wrong argument', async () => {
  for (const name of [10n, NaN, '', null])
    await expect(loadModel(name as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
});

it('null for an option of run() is its absence', async () => {
  const model = { ...complete, model: folder };
  for (const option of ['sinks', 'prompts', 'rewards', 'until', 'onMetrics', 'signal'])
    await expect(start(model, { [option]: null })()).resolves.toBeUndefined();
});

it('ids beyond the vocabulary have no text, as rows of padding in an embedding', () => {
  expect(lm.tokenizer.decode([99_999, -1])).toBe('');
});

it('a wrong option leaves no run directory behind', async () => {
  const directory = join(temporaryFolder(), 'run');
  await expect(start(complete, { directory, onMetric: 1 })()).rejects.toThrow('onMetric');
  await expect(start({ iterations: 1 }, { directory })()).rejects.toThrow('complete recipe');
  expect(existsSync(directory)).toBe(false);
});

it('one signal ends any number of calls, without a warning of a leak', async () => {
  const warnings: Error[] = [];
  const add = (warning: Error): void => void warnings.push(warning);
  process.on('warning', add);
  const many = new AbortController();
  const streams = Array.from({ length: 20 }, () =>
    lm.stream('hi', { signal: many.signal, maxNewTokens: 90 }),
  );
  many.abort(new Error('enough'));
  const reasons = await Promise.allSettled(streams.map(({ completion }) => completion));
  // A completion that had ended before stays.
  for (const one of reasons)
    if (one.status === 'rejected') expect((one.reason as Error).message).toBe('enough');
  await new Promise(setImmediate);
  process.off('warning', add);
  expect(warnings).toEqual([]);
});
