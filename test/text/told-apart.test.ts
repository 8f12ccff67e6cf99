/** Tokenizers and templates of which a reader that takes what it knows would make other text. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as library from '@huggingface/tokenizers';
import { describe, expect, it } from '@jest/globals';
import { ChatTemplate } from '../../src/text/chat-template.js';
import type { UnigramModel } from '../../src/text/merging-models.js';
import { segmentChunk } from '../../src/text/unigram.js';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

function folder(json: object, config: object = {}): Promise<Tokenizer> {
  const path = temporaryFolder('cream-told-');
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(json));
  writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify(config));
  return loadTokenizer({ folder: path });
}

const bytes = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

describe('the tokens of a Unigram chunk', () => {
  const pieces = ['<unk>', 'a', 'b', 'é', 'ab', 'ba', 'aba', 'bab', '🙂b', 'aé🙂', 'bbbb'];
  const vocab = pieces.map((token, i) => [token, -1 - ((i * 7) % 5) / 2]);
  const { Unigram } = library as unknown as {
    Unigram: new (
      model: object,
      eos: string,
    ) => UnigramModel & { tokenize(chunk: string): string[] };
  };
  const reference = new Unigram({ vocab, unk_id: 0 }, '');

  it('are those of the library', () => {
    const alphabet = ['a', 'b', 'b', 'é', '🙂', 'z'];
    for (let seed = 1; seed <= 200; seed++) {
      let state = seed;
      const chunk = Array.from({ length: seed * 3 }, () => {
        state = (state * 1103515245 + 12345) % 2 ** 31;
        return alphabet[Math.floor((state / 2 ** 31) * alphabet.length)];
      }).join('');
      const steps = segmentChunk(chunk, reference);
      let step = steps.next();
      while (!step.done) step = steps.next();
      expect(step.value).toEqual(reference.tokenize(chunk));
    }
  });

  it('come in steps of a thousand characters', () => {
    const steps = segmentChunk('b'.repeat(10_000), reference);
    expect([...Array(10).keys()].map(() => steps.next().value)).toEqual(Array(10).fill(1000));
    expect(steps.next()).toEqual({ done: true, value: Array(2500).fill('bbbb') });
  });
});

describe('a Unigram model', () => {
  const letters = ['a', 'b', 'ab'];
  const unigram = (before: string[], extra: object) =>
    folder({
      model: {
        type: 'Unigram',
        vocab: [...before, ...letters].map((token, i) => [token, -1 - i / 1000]),
        ...extra,
      },
    });

  it('falls back to bytes', async () => {
    const tokenizer = await unigram(['<unk>', ...bytes], { unk_id: 0, byte_fallback: true });
    const [a, b, ab] = [257, 258, 259];
    expect(tokenizer.encode('aEb')).toEqual([a, 1 + 0x45, b]);
    expect(tokenizer.encode('abé🙂a')).toEqual([
      ab,
      ...[...Buffer.from('é🙂')].map((byte) => 1 + byte),
      a,
    ]);
    const long = 'abE'.repeat(2000);
    expect(tokenizer.encode(long)).toEqual(
      Array(2000)
        .fill([ab, 1 + 0x45])
        .flat(),
    );
  });

  it('has one unknown token for a run of unknown characters', async () => {
    const tokenizer = await unigram(['<unk>'], { unk_id: 0 });
    expect(tokenizer.encode('aEEb')).toEqual([1, 0, 2]);
  });

  it('without an unknown token refuses a text that needs one', async () => {
    const tokenizer = await unigram([], { unk_id: null });
    expect(tokenizer.encode('aba')).toEqual([2, 0]);
    expect(() => tokenizer.encode('aE')).toThrow('its vocabulary has no "E"');
  });
});

describe('refused by name', () => {
  const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] };
  it('byte fallback without all bytes', () =>
    expect(folder({ model: { ...model, byte_fallback: true } })).rejects.toThrow(
      'its vocabulary has no <0x00>',
    ));

  it('merges of the unknown token', () =>
    expect(folder({ model: { ...model, unk_token: 'a' } })).rejects.toThrow(
      'it merges its unknown token "a"',
    ));

  it.each([
    [[{ id: 3, content: 'a' }], 'its added token "a" has the id 3', 'give it 0'],
    [[{ id: 5, content: '<x>' }], 'its added token "<x>" has the id 5', 'give it 3'],
    [
      [
        { id: 3, content: '<x>' },
        { id: 3, content: '<y>' },
      ],
      'its added token "<y>" has the id 3',
      'give it 4',
    ],
  ])(
    'added tokens with other ids than the tokenizers library gives: %j',
    async (added, ...said) => {
      const loading = folder({ model, added_tokens: added });
      for (const text of said) await expect(loading).rejects.toThrow(text);
    },
  );

  it.each([
    [true, false],
    [false, true],
  ])('add_prefix_space %s in the config and %s in the file', (wanted, has) => {
    const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: has, use_regex: true };
    return expect(folder({ model, pre_tokenizer }, { add_prefix_space: wanted })).rejects.toThrow(
      `has add_prefix_space: ${wanted}, and the pre-tokenizer of tokenizer.json has ${has}`,
    );
  });

  it('not where both say the same', async () => {
    const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
    const tokenizer = await folder({ model, pre_tokenizer }, { add_prefix_space: false });
    expect(tokenizer.encode('ab')).toEqual([2]);
  });
});

describe('the keys of a GGUF tokenizer', () => {
  const metadata = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': ['a', 'b', 'ab'],
    'tokenizer.ggml.token_type': [1, 1, 1],
    'tokenizer.ggml.merges': ['a b'],
  };
  it.each([
    ['add_sep_token', true],
    ['precompiled_charsmap', [1, 2]],
    ['normalizer.lowercase', true],
    ['escape_whitespaces', 1],
  ])('%s is refused', (key, value) =>
    expect(
      loadTokenizer({ gguf: { ...metadata, [`tokenizer.ggml.${key}`]: value } }),
    ).rejects.toThrow(`sets tokenizer.ggml.${key}, which is not known here`),
  );
  it('that are known or switched off are read', async () => {
    const gguf = {
      ...metadata,
      'tokenizer.ggml.fim_pre_token_id': 1,
      'tokenizer.ggml.add_sep_token': false,
      'tokenizer.ggml.precompiled_charsmap': [],
    };
    expect((await loadTokenizer({ gguf })).encode('ab')).toEqual([2]);
  });
});

describe('a template that Python would refuse', () => {
  const render = (source: string): string =>
    new ChatTemplate(source).render([{ role: 'user', content: 'hi' }], {
      addGenerationPrompt: true,
    });
  it.each([
    ['{{ messages[5].role }}', 'undefined'],
    ['{{ nothing.here }}', 'undefined'],
    ["{{ messages[0]['name']['first'] is defined }}", 'undefined'],
    ["{{ 'a' + 1 }}", 'a sum of'],
    ['{{ messages[0].content ~ 1 + 2 }}', 'a sum of'],
  ])('%s', (source, message) => expect(() => render(source)).toThrow(message));

  it.each([
    ['{{ nothing }}|{{ messages[0].name is defined }}|{{ nothing is defined }}', '|False|False'],
    ['{% for m in messages %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}', '10'],
    ["{{ 'a' ~ 1 }}{{ 1 + 2 }}", 'a13'],
  ])('and one that it renders: %s', (source, text) => expect(render(source)).toBe(text));
});
