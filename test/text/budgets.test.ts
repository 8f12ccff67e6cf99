/** Tokenizers and templates that would take all memory or time end in a sentence. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Slices, SLICE_CHARACTERS } from '../../src/lm/slices.js';
import { mergeChunk } from '../../src/text/bpe.js';
import { ChatTemplate } from '../../src/text/chat-template.js';
import { Encoder } from '../../src/text/encoder.js';
import { atOnce } from '../../src/files/steps.js';
import { checkTokenizerJson } from '../../src/text/tokenizer-json.js';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { generator } from '../preference/generator.js';

const letters = 'abcdefgh';
const vocabulary = (): { vocab: Record<string, number>; merges: [string, string][] } => {
  const { integer } = generator(5);
  const vocab = new Map([...letters, '▁', ' '].map((letter, id) => [letter, id]));
  const merges: [string, string][] = [];
  while (merges.length < 200) {
    const known = [...vocab.keys()];
    const pair: [string, string] = [known[integer(known.length)]!, known[integer(known.length)]!];
    if (vocab.has(pair.join(''))) continue;
    merges.push(pair);
    vocab.set(pair.join(''), vocab.size);
  }
  return { vocab: Object.fromEntries(vocab), merges };
};
const encoder = (parts: object): Encoder =>
  atOnce(
    Encoder.of(atOnce(checkTokenizerJson({ model: { type: 'BPE', ...vocabulary() }, ...parts }))),
  );

describe('a normalizer', () => {
  it.each<[string, object, RegExp]>([
    [
      'that multiplies',
      {
        type: 'Sequence',
        normalizers: Array.from({ length: 8 }, () => ({
          type: 'Replace',
          pattern: { String: 'a' },
          content: 'a'.repeat(100),
        })),
      },
      /its normalizer makes more than \d+ characters/,
    ],
    ['that writes megabytes', { type: 'Prepend', prepend: 'x'.repeat(50_000_000) }, /50000000/],
    [
      'of thousands of parts',
      { type: 'Sequence', normalizers: Array.from({ length: 1000 }, () => ({ type: 'NFC' })) },
      /more than 256 parts/,
    ],
    [
      'nested a thousand times',
      Array.from({ length: 1000 }).reduce<object>(
        (inner) => ({ type: 'Sequence', normalizers: [inner] }),
        { type: 'NFC' },
      ),
      /nested too deeply/,
    ],
  ])('%s', (_, normalizer, message) => {
    expect(() => encoder({ normalizer }).encode('a'.repeat(500), false)).toThrow(message);
  });

  it('of ordinary growth is left alone', () => {
    const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
    expect(encoder({ normalizer: replace }).encode('a b', false)).toHaveLength(3);
  });
});

/** The first id after the vocabulary. */
const FIRST = 210;

it('thousands of added tokens with one beginning are found, the longest first', () => {
  const added_tokens = Array.from({ length: 40_000 }, (_, i) => ({
    id: FIRST + i,
    content: `<|extra_${i}|>`,
    special: true,
  }));
  const { encode } = bound(encoder({ added_tokens }));
  expect(encode(`a<|extra_7|>b<|extra_39999|><|extra_`)).toEqual([
    encode('a')[0],
    FIRST + 7,
    encode('b')[0],
    FIRST + 39_999,
    ...encode('<|extra_'),
  ]);
  const nested = bound(
    encoder({
      added_tokens: ['<a', '<ab', '<abc>'].map((content, i) => ({ id: FIRST + i, content })),
    }),
  );
  expect(nested.encode('<abc<abc><a')).toEqual([
    FIRST + 1,
    ...nested.encode('c'),
    FIRST + 2,
    FIRST,
  ]);
});

const bound = (it: Encoder) => ({ encode: (text: string) => it.encode(text, false) });

it('long chunks are merged in steps, as the library merges them', () => {
  const plain = encoder({});
  const { integer } = generator(11);
  for (const length of [2000, 5000]) {
    const text = Array.from({ length }, () => letters[integer(8)]).join('');
    const ids: number[] = [];
    const steps = [...plain.steps(text, false, ids)];
    expect(Math.max(...steps)).toBeLessThanOrEqual(length + 1000);
    const { vocab, merges } = vocabulary();
    const ranks = new Map(merges.map((pair, rank) => [pair.join(' '), rank]));
    const reference = greedy([...text], (left, right) => ranks.get(`${left} ${right}`));
    expect(ids).toEqual(reference.map((token) => vocab[token]));
    expect(plain.encode(text, false)).toEqual(ids);
  }
});

/** Merges by definition: the lowest rank anywhere, the leftmost of equals. */
function greedy(
  tokens: string[],
  rankOf: (left: string, right: string) => number | undefined,
): string[] {
  for (;;) {
    let best = -1;
    let lowest = Infinity;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const rank = rankOf(tokens[i]!, tokens[i + 1]!) ?? Infinity;
      if (rank < lowest) [best, lowest] = [i, rank];
    }
    if (best < 0) return tokens;
    tokens.splice(best, 2, tokens[best]! + tokens[best + 1]!);
  }
}

it('merging a chunk yields after every thousand merges', () => {
  const steps = mergeChunk('a'.repeat(10_000), () => undefined);
  const sizes: number[] = [];
  for (let step = steps.next(); !step.done; step = steps.next()) sizes.push(step.value);
  expect(sizes).toEqual(new Array(10).fill(1000));
});

describe('a long text', () => {
  let tokenizer: Tokenizer;
  it('lets the event loop run in between', async () => {
    tokenizer = await loadTokenizer({ folder: tinyModel({ tokenizer: true }) });
    const slices = new Slices();
    const text = 'word '.repeat(9_999);
    expect(tokenizer.isQuick(text)).toBe(true);
    const ids = await tokenizer.encodeInSlices(text, (work) => slices.after(work));
    expect(ids).toEqual(tokenizer.encode(text));
    expect(slices.longest).toBeLessThan(2 * SLICE_CHARACTERS);
  });

  it('of megabytes is split in a thread, several at once too', async () => {
    const text = '<|im_end|>wörd '.repeat(100_000);
    expect(tokenizer.isQuick(text)).toBe(false);
    const slices = new Slices();
    const encoded = await Promise.all(
      [text, `${text}!`].map((each) =>
        tokenizer.encodeInSlices(each, (work) => slices.after(work), { addSpecialTokens: true }),
      ),
    );
    expect(encoded[0]).toEqual(tokenizer.encode(text, { addSpecialTokens: true }));
    expect(encoded[1]).toEqual(tokenizer.encode(`${text}!`, { addSpecialTokens: true }));
    expect(slices.longest).toBeLessThan(2 * SLICE_CHARACTERS);
  });

  it('has a lower bound of tokens that is never above their number', () => {
    for (const text of ['', 'a', 'héllo <|im_end|> wörld', 'x'.repeat(1000)])
      expect(tokenizer.fewestTokens(text)).toBeLessThanOrEqual(tokenizer.encode(text).length);
    expect(tokenizer.fewestTokens('x'.repeat(100_000))).toBeGreaterThan(5000);
  });
});

describe('a pattern that backtracks without end', () => {
  const hostile = (): Promise<Tokenizer> => {
    const folder = temporaryFolder();
    const { model } = { model: { type: 'BPE', ...vocabulary() } };
    const pattern = { Regex: String.raw`(?:a+)+$` };
    const pre_tokenizer = { type: 'Split', pattern, behavior: 'Isolated', invert: false };
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ model, pre_tokenizer }));
    return loadTokenizer({ folder });
  };
  const endless = `${'a'.repeat(60)}b`;
  const after = (): Promise<void> => Promise.resolve();

  it('ends in a sentence, while the event loop runs', async () => {
    const tokenizer = await hostile();
    let turns = 0;
    const timer = setInterval(() => turns++, 10);
    const failed = tokenizer.encodeInSlices(endless, after);
    await expect(failed).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringMatching(/^A text of 61 characters could not .* more than 2 s; check/),
    });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
    // The thread that gave up a text takes the next one.
    expect(await tokenizer.encodeInSlices('ab', after)).toEqual(tokenizer.encode('ab'));
  });

  it('is stopped at once by the signal', async () => {
    const tokenizer = await hostile();
    await tokenizer.encodeInSlices('ab', after);
    const stop = new AbortController();
    const { signal } = stop;
    const failed = tokenizer.encodeInSlices(endless.repeat(1000), after, { signal });
    stop.abort(new Error('stopped'));
    await expect(failed).rejects.toThrow('stopped');
    expect(await tokenizer.encodeInSlices('ab', after)).toEqual(tokenizer.encode('ab'));
  });

  it('in a normalizer is stopped where added tokens are normalized', () => {
    const normalizer = { type: 'Replace', pattern: { Regex: String.raw`(?:a+)+$` }, content: '' };
    const added_tokens = [{ id: FIRST, content: endless }];
    expect(() => encoder({ normalizer, added_tokens })).toThrow('it ran for more than 2 s');
  });
});

describe('a template', () => {
  const render = (source: string) => () =>
    new ChatTemplate(source).render([{ role: 'user', content: 'x' }], {
      addGenerationPrompt: true,
    });
  it.each<[string, string, RegExp]>([
    ['a text of many megabytes', "{{ 'a' * 20000000 }}", /more than 16777216 characters/],
    [
      'many large texts',
      '{% set ns = namespace(l=[]) %}{% for i in range(100) %}' +
        "{% set ns.l = ns.l + [('a' * 16000000).upper()] %}{% endfor %}",
      /more text and lists/,
    ],
    [
      'many large lists',
      '{% set ns = namespace(l=[]) %}{% for i in range(50) %}' +
        '{% set ns.l = [range(900000)] %}{% endfor %}',
      /more text and lists|ran for more than 2 s/,
    ],
    ['a date of megabytes', "{{ strftime_now('%Y' * 1000) }}", /a format of 2000 characters/],
    ['millions of parts', "{{ ('a' * 2000000).split('a') | length }}", /more than 1000000 parts/],
    [
      'calls without end',
      '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
      /chat template failed|call stack|ran for more/,
    ],
    ['a tower of filters', `{{ 'x'${'|trim'.repeat(50_000)} }}`, /nested too deeply, or calls it/],
    [
      'a text beyond all texts',
      "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
      /text that is too/,
    ],
  ])('that makes %s', (_, source, message) => expect(render(source)).toThrow(message));

  it('is not run on a conversation of many megabytes', () =>
    expect(() =>
      new ChatTemplate('{{ messages[0].content }}').render(
        [{ role: 'user', content: 'x'.repeat(9_000_000) }],
        { addGenerationPrompt: true },
      ),
    ).toThrow(/9000000 characters, more than a chat template is run on/));

  it('names only the first roles of a long conversation that it fails on', () => {
    const messages = Array.from({ length: 500 }, () => ({ role: 'r'.repeat(90), content: '' }));
    const failing = () =>
      new ChatTemplate('{{ 1 % 0 }}').render(messages, { addGenerationPrompt: true });
    expect(failing).toThrow(/with roles (?:r{40}, ){10}…: division by zero;/);
  });
});

it('a Unigram vocabulary of long tokens is searched under a time limit', () => {
  const limited = (token: string): boolean =>
    encoder({ model: { type: 'Unigram', vocab: [[token, -1]] } }).limited;
  expect(limited('a'.repeat(64))).toBe(false);
  expect(limited('a'.repeat(65))).toBe(true);
});

describe('a tokenizer.json', () => {
  const step = { type: 'TemplateProcessing', special_tokens: {} };
  const unigram = { type: 'Unigram', vocab: [['a', -1]] };
  const named = (ids: number[]) => ({ special_tokens: { x: { id: 'x', ids, tokens: ['x'] } } });
  const adding = (count: number) => ({
    ...step,
    single: [{ SpecialToken: { id: 'x', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    ...named(Array<number>(count).fill(0)),
  });
  const replace = { type: 'Replace', pattern: { String: 'a' }, content: 'aaaaaaaa' };
  const multiplying = { type: 'Sequence', decoders: [replace, replace, { type: 'Fuse' }] };
  const strip = { type: 'Strip', content: '', start: 1e9 };
  const stripping = {
    type: 'Sequence',
    decoders: [{ ...replace, content: 'b' }, { type: 'Fuse' }, strip],
  };
  const long = Array.from({ length: 1100 }, (_, i) => ({
    id: 1 + i,
    content: `${i} ${'a'.repeat(1000)}`,
  }));
  const chunks = Array.from({ length: 4100 }, (_, i) => [`${i} ${'a'.repeat(1000)}`, -1]);
  const many = Array.from({ length: 100_001 }, () => ({ SpecialToken: { id: 'a', type_id: 0 } }));
  it.each<[string, object, RegExp]>([
    [
      'an unk_id beyond the vocabulary',
      { model: { ...unigram, unk_id: 1e9 } },
      /its unk_id is 1000/,
    ],
    [
      'an unk_id that is no number',
      { model: { ...unigram, unk_id: 'x' } },
      /its unk_id is "x", whi/,
    ],
    ['no list', { post_processor: { ...step, single: null } }, /no list `single`/],
    ['nothing in its list', { post_processor: { ...step, single: [null] } }, /no list `single`/],
    ['too long a list', { post_processor: { ...step, single: many } }, /more than 100000 parts/],
    ['many ids', { post_processor: adding(1001) }, /adds more than 1000 tokens to a text/],
    ['ids that are none', { post_processor: { ...adding(0), ...named([-1]) } }, /names the token/],
    ['no cls', { post_processor: { type: 'BertProcessing' } }, /BertProcessing has no "cls"/],
    ['no processors', { post_processor: { type: 'Sequence' } }, /no list of processors/],
    [
      'a list for a normalizer',
      { normalizer: [] },
      /its normalizer is or holds \[\], no component/,
    ],
    ['no type', { pre_tokenizer: {} }, /its pre_tokenizer has the type null, no text/],
    ['a type that is none', { decoder: { type: {} } }, /its decoder has the type \{\}, no text/],
    ['no decoder', { decoder: { type: 'Sequence', decoders: [null] } }, /holds null, no compon/],
    ['a decoder that multiplies', { decoder: multiplying }, /makes up to 64 bytes of one byte/],
    ['a decoder that strips', { decoder: stripping }, /strips 1000000000 times ""/],
    ['added tokens of megabytes', { added_tokens: long }, /too many and too long to be searched/],
    [
      'a long Unigram token',
      { model: { ...unigram, vocab: [['a'.repeat(2000), -1]] } },
      /2000 char/,
    ],
    [
      'a long Unigram vocabulary',
      { model: { ...unigram, vocab: chunks } },
      /more than 4000000 cha/,
    ],
  ])('with %s is refused in one sentence', async (_, part, message) => {
    const folder = temporaryFolder();
    const model = { type: 'BPE', vocab: { a: 0 }, merges: [] };
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ model, ...part }));
    await expect(loadTokenizer({ folder })).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringMatching(message),
    });
  });
});
