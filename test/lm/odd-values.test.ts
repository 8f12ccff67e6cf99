/**
 * Odd values in every place of the Node.js API: a call that refuses one throws an error of this
 * package with a sentence, and never the TypeError of a line that did not expect it.
 */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as cream from '../../src/index.js';
import type { LanguageModel, Trainer } from '../../src/index.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const circular: Record<string, unknown> = {};
circular['self'] = circular;
/** Throws at every look into `target`. */
const hostile = (target: object): object => {
  const fail = (): never => {
    throw new Error('a trap of the Proxy');
  };
  return new Proxy(target, { get: fail, has: fail, ownKeys: fail, getOwnPropertyDescriptor: fail });
};

const ODD: Record<string, unknown> = {
  'a bigint': 10n,
  'a symbol': Symbol('odd'),
  'a circular object': circular,
  'a circular list': ((list: unknown[]) => (list.push(list), list))([]),
  'a function': () => 1,
  NaN: NaN,
  'a Map': new Map([['a', 1]]),
  'a promise': Promise.resolve(1),
  'an object without a prototype': Object.assign(Object.create(null) as object, { odd: 1 }),
  'a list with a symbol': [Symbol('odd')],
  'a list with a bigint': [10n],
  'a list with null': [null],
  'an object with a bigint': { odd: 10n },
  'a hostile object': hostile({}),
  'a hostile list': hostile([]),
  'a list with a hostile object': [hostile({})],
};

/** A place that nothing may be written to. */
const unused = join(temporaryFolder(), 'unused');
const folder = tinyModel({ tokenizer: true });
const lines = join(temporaryFolder(), 'rows.jsonl');
writeFileSync(lines, '{"prompt": "a", "chosen": "b", "rejected": "c"}\n');
const recipe = cream.parseRecipe('iterations: 1', 'mine');
const turn = { role: 'user' as const, content: 'a' };
const pair = { id: 'a', prompt: [turn], chosen: [turn], rejected: [turn] };
const example = { prompt: [1], completion: [2] };
const preference = {
  prompt: [1],
  chosen: [2],
  rejected: [3],
  referenceChosen: -1,
  referenceRejected: -1,
  weight: 1,
};
let lm: LanguageModel;
let trainer: Trainer;
beforeAll(async () => {
  lm = await cream.loadModel(folder, { dtype: 'float32' });
  trainer = await lm.model.trainer({ learningRate: 0, totalSteps: 1 });
});
afterAll(() => lm?.dispose());

const start = async (options: object, what: unknown = recipe): Promise<void> => {
  const directory = join(temporaryFolder(), 'run');
  for await (const _ of cream.run(what as never, { directory, ...options })) break;
};
const model = () => lm.model;
const text = () => lm.tokenizer;
const template = () => lm.chatTemplate!;
const chat = (odd: object) => [{ ...turn, ...odd }] as never;

/** Calls that must refuse every odd value, by its place. */
const CALLS: Record<string, (odd: never) => unknown> = {
  'engine.setThreads(odd)': (odd) => cream.setThreads(odd),
  'readGguf(odd)': (odd) => cream.readGguf(odd),
  'loadModel(odd)': (odd) => cream.loadModel(odd),
  'loadModel(…, odd)': (odd) => cream.loadModel(folder, odd),
  'resolveModel(odd)': (odd) => cream.resolveModel(odd),
  'resolveModel(…, odd)': (odd) => cream.resolveModel(folder, odd),
  'modelDigest(odd)': (odd) => cream.modelDigest(odd),
  'loadTokenizer(odd)': (odd) => cream.loadTokenizer(odd),
  'loadTokenizer({folder: odd})': (odd) => cream.loadTokenizer({ folder: odd }),
  'loadTokenizer({gguf: odd})': (odd) => cream.loadTokenizer({ gguf: odd }),
  'loadTokenizer(…, odd)': (odd) => cream.loadTokenizer({ folder }, odd),
  'readRows(odd)': (odd) => cream.readRows(odd),
  'readRows(…, odd)': (odd) => cream.readRows(lines, odd),
  'loadPrompts(odd)': (odd) => cream.loadPrompts(odd),
  'loadPrompts(…, odd)': (odd) => cream.loadPrompts(lines, odd),
  'loadDemonstrations(odd)': (odd) => cream.loadDemonstrations(odd),
  'loadPreferences(odd)': (odd) => cream.loadPreferences(odd),
  'loadPreferences(…, odd)': (odd) => cream.loadPreferences(lines, odd),
  'toTrl(odd)': (odd) => cream.toTrl(odd),
  'toTrl([odd])': (odd) => cream.toTrl([odd]),
  'toTrl(…, odd)': (odd) => cream.toTrl([pair], odd),
  'toTrl([{prompt: odd}])': (odd) => cream.toTrl([{ ...pair, prompt: odd }]),
  'toTrl([{chosen: [odd]}])': (odd) => cream.toTrl([{ ...pair, chosen: [odd] }]),
  'parseRecipe(odd)': (odd) => cream.parseRecipe(odd, 'n'),
  'parseRecipe(…, odd)': (odd) => cream.parseRecipe('iterations: 1', odd),
  'parseRecipe(…, …, odd)': (odd) => cream.parseRecipe('iterations: 1', 'n', odd),
  'parseRecipe(…, …, [odd])': (odd) => cream.parseRecipe('iterations: 1', 'n', [odd]),
  'recipeText(odd)': (odd) => cream.recipeText(odd),
  'recipeText({…, iterations: odd})': (odd) => cream.recipeText({ ...recipe, iterations: odd }),
  'run(odd)': (odd) => start({}, odd),
  'run({…, sample: odd})': (odd) => start({}, { ...recipe, sample: odd }),
  'run(…, odd)': async (odd) => {
    for await (const _ of cream.run(recipe, odd)) break;
  },
  'new ChatTemplate(odd)': (odd) => new cream.ChatTemplate(odd),
  'new ChatTemplate(…, odd)': (odd) => new cream.ChatTemplate('a', odd),
  'new ChatTemplate(…, {date: odd})': (odd) => new cream.ChatTemplate('a', { date: odd }),
  'template.render(odd)': (odd) => template().render(odd, { addGenerationPrompt: true }),
  'template.render(…, odd)': (odd) => template().render([turn], odd),
  'template.fit(odd)': (odd) => template().fit(odd),
  'template.answerText(odd)': (odd) => template().answerText(odd),
  'tokenizer.encode(odd)': (odd) => text().encode(odd),
  'tokenizer.encode(…, odd)': (odd) => text().encode('a', odd),
  'tokenizer.encode(…, {addSpecialTokens: odd})': (odd) =>
    text().encode('a', { addSpecialTokens: odd }),
  'tokenizer.encodeInSlices(odd)': (odd) => text().encodeInSlices(odd, async () => {}),
  'tokenizer.encodeInSlices(…, odd)': (odd) => text().encodeInSlices('a', odd),
  'tokenizer.encodeInSlices(…, …, odd)': (odd) => text().encodeInSlices('a', async () => {}, odd),
  'tokenizer.fewestTokens(odd)': (odd) => text().fewestTokens(odd),
  'tokenizer.decode(odd)': (odd) => text().decode(odd),
  'tokenizer.decode([odd])': (odd) => text().decode([odd]),
  'tokenizer.decode(…, odd)': (odd) => text().decode([1], odd),
  'tokenizer.streamDecoder(odd)': (odd) => text().streamDecoder(odd),
  'streamDecoder().push(odd)': (odd) => text().streamDecoder().push(odd),
  'streamDecoder().push([odd])': (odd) => text().streamDecoder().push([odd]),
  'Model.load(odd)': (odd) => cream.Model.load(odd),
  'Model.load(…, odd)': (odd) => cream.Model.load(folder, odd),
  'Model.load(…, {adapter: odd})': (odd) => cream.Model.load(folder, { adapter: odd }),
  'model.generate(odd)': (odd) => model().generate(odd),
  'model.generate(…, odd)': (odd) => model().generate({ prompts: [] }, odd),
  'model.generate({prompts: odd})': (odd) => model().generate({ prompts: odd }),
  'model.generate({prompts: [odd]})': (odd) => model().generate({ prompts: [odd] }),
  'model.generate({prompts: [{tokens: odd}]})': (odd) =>
    model().generate({ prompts: [{ tokens: odd }] }),
  'model.generate({stopIds: odd})': (odd) => model().generate({ prompts: [], stopIds: odd }),
  'model.generate({stopStrings: odd})': (odd) =>
    model().generate({ prompts: [], stopStrings: odd }),
  'model.generate({tokenBytes: odd})': (odd) =>
    model().generate({ prompts: [], stopStrings: ['a'], tokenBytes: odd }),
  'model.generate({maxNewTokens: odd})': (odd) =>
    model().generate({ prompts: [], maxNewTokens: odd }),
  'model.score(odd)': (odd) => model().score(odd),
  'model.score({groups: odd})': (odd) => model().score({ groups: odd }),
  'model.score({groups: [odd]})': (odd) => model().score({ groups: [odd] }),
  'model.score({groups: [{completions: odd}]})': (odd) =>
    model().score({ groups: [{ prompt: [1], completions: odd }] }),
  'model.score(…, odd)': (odd) => model().score({ groups: [] }, odd),
  'model.logits(odd)': (odd) => model().logits(odd),
  'model.classify(odd)': (odd) => model().classify(odd),
  'model.classify({sequences: odd})': (odd) => model().classify({ sequences: odd }),
  'model.snapshot(odd)': (odd) => model().snapshot(odd),
  'model.snapshot({adapter: odd})': (odd) => model().snapshot({ adapter: odd }),
  'model.addAdapter(odd)': (odd) => model().addAdapter(odd),
  'model.addAdapter({targetModules: odd})': (odd) =>
    model().addAdapter({ rank: 1, alpha: 1, targetModules: odd }),
  'model.loadAdapter(odd)': (odd) => model().loadAdapter(odd),
  'model.saveAdapter(odd)': (odd) => model().saveAdapter(odd),
  'model.saveAdapter(…, odd)': (odd) => model().saveAdapter(unused, odd),
  'model.merge(odd)': (odd) => model().merge(odd),
  'model.save(odd)': (odd) => model().save(odd),
  'model.save(…, odd)': (odd) => model().save(unused, odd),
  'model.trainer(odd)': (odd) => model().trainer(odd),
  'model.trainer(…, odd)': (odd) => model().trainer({ learningRate: 0, totalSteps: 1 }, odd),
  'model.trainer({activationCheckpointing: odd})': (odd) =>
    model().trainer({ learningRate: 0, totalSteps: 1, activationCheckpointing: odd }),
  'model.trainer({schedule: odd})': (odd) =>
    model().trainer({ learningRate: 0, totalSteps: 1, schedule: odd }),
  'trainer.preferenceStep(odd)': (odd) => trainer.preferenceStep(odd),
  'trainer.preferenceStep([odd])': (odd) => trainer.preferenceStep([odd]),
  'trainer.preferenceStep([{chosen: odd}])': (odd) =>
    trainer.preferenceStep([{ ...preference, chosen: odd }]),
  'trainer.preferenceStep(…, odd)': (odd) => trainer.preferenceStep([preference], odd),
  'trainer.sftStep(odd)': (odd) => trainer.sftStep(odd),
  'trainer.sftStep([odd])': (odd) => trainer.sftStep([odd]),
  'trainer.sftStep(…, odd)': (odd) => trainer.sftStep([example], odd),
  'trainer.saveState(odd)': (odd) => trainer.saveState(odd),
  'trainer.loadState(odd)': (odd) => trainer.loadState(odd),
  'trainer.loadState(…, odd)': (odd) => trainer.loadState('x', odd),
  'trainer.dispose(odd)': (odd) => trainer.dispose(odd),
  'trainer.dispose({keepMasters: odd})': (odd) => trainer.dispose({ keepMasters: odd }),
  'lm.with(odd)': (odd) => lm.with(odd),
  'lm.generate(odd)': (odd) => lm.generate(odd),
  'lm.generate([odd])': (odd) => lm.generate([odd]),
  'lm.generate([{role: odd}])': (odd) => lm.generate(chat({ role: odd })),
  'lm.generate([{content: odd}])': (odd) => lm.generate(chat({ content: odd })),
  'lm.generate(…, odd)': (odd) => lm.generate('a', odd),
  'lm.generate(…, {stop: odd})': (odd) => lm.generate('a', { stop: odd }),
  'lm.generate(…, {signal: odd})': (odd) => lm.generate('a', { signal: odd }),
  'lm.generate(…, {temperature: odd})': (odd) => lm.generate('a', { temperature: odd }),
  'lm.stream(odd)': (odd) => lm.stream(odd),
  'lm.score(odd)': (odd) => lm.score(odd, ['a']),
  'lm.score(…, odd)': (odd) => lm.score('a', odd),
  'lm.score(…, [odd])': (odd) => lm.score('a', [odd]),
  'lm.score(…, …, odd)': (odd) => lm.score('a', ['b'], odd),
  'lm.encodePrompt(odd)': (odd) => lm.encodePrompt(odd),
  'lm.encodePrompt(…, odd)': (odd) => lm.encodePrompt([turn], odd),
  'lm.encodeCompletion(odd)': (odd) => lm.encodeCompletion(odd),
  'lm.encodeCompletion(…, odd)': (odd) => lm.encodeCompletion('a', odd),
  'lm.save(odd)': (odd) => lm.save(odd),
  'lm.save(…, odd)': (odd) => lm.save(unused, odd),
};
/** Options of loading and of a run, each with an odd value. */
for (const key of ['dtype', 'device', 'base', 'cacheDir', 'offline', 'onProgress', 'signal', 'env'])
  CALLS[`loadModel(…, {${key}: odd})`] = (odd) => cream.loadModel(folder, { [key]: odd });
for (const key of ['columns', 'offline', 'onProgress', 'signal', 'onBadRow', 'env'])
  CALLS[`readRows(…, {${key}: odd})`] = (odd) => cream.readRows(lines, { [key]: odd });
for (const key of ['columns', 'onBadRow', 'controlTokens'])
  CALLS[`loadPrompts(…, {${key}: odd})`] = (odd) => cream.loadPrompts(lines, { [key]: odd });
for (const key of ['directory', 'signal', 'onModelProgress', 'rewards', 'onMetrics', 'sinks'])
  CALLS[`run(…, {${key}: odd})`] = (odd) => start({ [key]: odd });
CALLS['run(…, {sinks: [odd]})'] = (odd) => start({ sinks: [odd] });
CALLS['run(…, {until: odd})'] = (odd) => start({ until: odd });

const OBJECTS = ['a circular object', 'an object without a prototype', 'an object with a bigint'];

/** Values that are right in their place. */
const RIGHT: Record<string, readonly string[]> = {
  'tokenizer.encodeInSlices(…, odd)': ['a function'],
  'loadModel(…, {onProgress: odd})': ['a function'],
  'readRows(…, {onProgress: odd})': ['a function'],
  'readRows(…, {onBadRow: odd})': ['a function'],
  'run(…, {onModelProgress: odd})': ['a function'],
  'run(…, {onMetrics: odd})': ['a function'],
  'run(…, {until: odd})': ['a function'],
  'loadModel(…, {env: odd})': OBJECTS,
  'readRows(…, {env: odd})': OBJECTS,
};

/** What is wrong with the answer to an odd value; undefined where it is refused in a sentence. */
async function fault(call: (odd: never) => unknown, value: unknown): Promise<string | undefined> {
  try {
    await call(value as never);
    return 'is accepted';
  } catch (error) {
    const { name, message } = error as Error;
    if (/^(Cream|Model|Text|Data|Run)Error$/.test(name) && /^\S.*\S$/s.test(message))
      return undefined;
    return `throws ${name}: ${message}`;
  }
}

it.each(Object.entries(CALLS))('%s refuses odd values in a sentence', async (place, call) => {
  const faults: Record<string, string> = {};
  for (const [name, value] of Object.entries(ODD)) {
    const found = await fault(call, value);
    if (found !== undefined && !(RIGHT[place] ?? []).includes(name)) faults[name] = found;
  }
  expect(faults).toEqual({});
});
