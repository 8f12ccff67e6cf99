/** A tokenizer of a large vocabulary is loaded while the event loop runs. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, jest } from '@jest/globals';
import { STEP_BYTES } from '../../src/files/json-steps.js';
import { STEP_ITEMS } from '../../src/files/steps.js';
import { byteOfCharacter } from '../../src/text/tokenizer-json.js';
import { loadTokenizer, type TokenizerSource } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';
import { held } from '../support/held.js';

/** Tokens of up to three bytes, each made by a merge of two. */
const tokens = [...byteOfCharacter().keys()];
const merges: [string, string][] = [];
for (const left of tokens.slice(0, 256))
  for (const right of tokens.slice(0, 100)) {
    merges.push([left, right]);
    tokens.push(left + right);
  }
const model = {
  type: 'BPE',
  vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
  merges,
};
const added_tokens = Array.from({ length: 8000 }, (_, i) => ({
  id: tokens.length + i,
  content: `<unused${i}>`,
  special: true,
}));
const ByteLevel = { type: 'ByteLevel', add_prefix_space: false };
const folder = (json: object): TokenizerSource => {
  const path = temporaryFolder('cream-large-');
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(json));
  return { folder: path };
};
const gguf = (extra: object): TokenizerSource => ({
  gguf: { 'tokenizer.ggml.tokens': tokens, ...extra },
});
const bpe = { model, added_tokens, pre_tokenizer: ByteLevel, decoder: ByteLevel };
const unigram = {
  type: 'Unigram',
  vocab: tokens.map((token, i) => [token, -(i % 99)]),
  unk_id: 0,
};
const bytes = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);
const spm = ['<unk>', ...bytes, ...tokens];

it.each<[string, TokenizerSource, number]>([
  ['a tokenizer.json', folder(bpe), tokens.length + 8000],
  ['a tokenizer.json of a Unigram model', folder({ model: unigram }), tokens.length],
  [
    'a GGUF file of byte pairs',
    gguf({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.merges': merges.map((pair) => pair.join(' ')),
    }),
    tokens.length,
  ],
  [
    "a GGUF file of SentencePiece's",
    gguf({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': spm,
      'tokenizer.ggml.scores': spm.map((_, i) => (i * 7919) % 1000),
    }),
    spm.length,
  ],
])('%s', async (_, source, size) => {
  const spies: { mockRestore(): void }[] = [];
  let rest: { longest: number; total: number } | undefined;
  const texts = await held(async (countText) => {
    rest = await held(async (count) => {
      const set = Reflect.get(Map.prototype, 'set') as (key: unknown, value: unknown) => never;
      spies.push(
        jest.spyOn(Map.prototype, 'set').mockImplementation(function (this: unknown, key, value) {
          count(1);
          return set.call(this, key, value);
        }),
      );
      const parse = JSON.parse.bind(JSON) as (text: string) => unknown;
      spies.push(
        jest.spyOn(JSON, 'parse').mockImplementation((text) => {
          countText(text.length);
          return parse(text);
        }),
      );
      expect((await loadTokenizer(source)).vocabSize).toBe(size);
      for (const spy of spies) spy.mockRestore();
    });
  });
  expect(rest!.total).toBeGreaterThan(tokens.length);
  // An added token of a few characters makes as many nodes.
  expect(rest!.longest).toBeLessThanOrEqual(12 * STEP_ITEMS);
  expect(texts.longest).toBeLessThanOrEqual(1.1 * STEP_BYTES);
});
