import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { defaultTokenizer } from './default-model.js';
import { golden, differences, streamed, small, spm } from './golden-tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

const tokenizer = await defaultTokenizer();
const withDefault = typeof tokenizer === 'string' ? it.skip : it;
if (typeof tokenizer === 'string') console.warn(tokenizer);
const model = tokenizer as Tokenizer;

describe('the default model', () => {
  withDefault('encodes every golden string as Digits + ByteLevel does', () => {
    expect(differences(model, golden.strings, golden.default.ids)).toEqual([]);
  });

  withDefault(
    'decodes what it encoded, and id lists that stop inside a character as Rust does',
    () => {
      for (const text of golden.strings.filter((text) => !text.includes('\x1d')))
        expect(model.decode(model.encode(text))).toBe(text); // its vocabulary has no U+001D
      for (const { ids, text, visible } of golden.default.decode) {
        expect(model.decode(ids)).toBe(text);
        expect(model.decode(ids, { skipSpecialTokens: true })).toBe(visible);
      }
    },
  );

  withDefault('streams the same text one token at a time, never half a character', () => {
    for (const { ids, text, visible } of golden.default.decode) {
      expect(streamed(model, ids)).toBe(text);
      expect(streamed(model, ids, { skipSpecialTokens: true })).toBe(visible);
    }
    const decoder = model.streamDecoder();
    const pieces = model.encode('ok 👨‍👩‍👧‍👦 done').map((id) => decoder.push([id]));
    expect(pieces.join('') + decoder.end()).toBe('ok 👨‍👩‍👧‍👦 done');
    expect(pieces.join('')).not.toContain('\uFFFD');
  });

  withDefault('knows its special tokens and sizes', () => {
    expect(model.vocabSize).toBe(49152);
    expect(model.eosTokenIds).toContain(model.tokenToId('<|im_end|>'));
    expect(model.bosTokenId).toBe(model.tokenToId('<|im_start|>'));
    expect(model.specialTokens).toMatchObject(golden.default.special);
    expect(model.isSpecial(model.tokenToId('<|im_start|>') as number)).toBe(true);
    expect(model.tokenToId('no such token')).toBeUndefined();
  });

  withDefault('gives the bytes of every token', () => {
    const { bytes, offsets } = model.tokenBytes();
    expect(offsets.length).toBe(model.vocabSize + 1);
    expect(offsets[model.vocabSize]).toBe(bytes.length);
    for (const text of ['naïve 😀 12', '<|im_end|>', '\n\n  ½']) {
      const joined = model
        .encode(text)
        .flatMap((id) => [...bytes.subarray(offsets[id], offsets[id + 1])]);
      expect(Buffer.from(joined).toString()).toBe(text);
    }
  });

  withDefault('saves files that load again and encode alike', async () => {
    const folder = temporaryFolder('cream-text-');
    for (const [name, text] of Object.entries(model.files()))
      writeFileSync(join(folder, name), text);
    const again = await loadTokenizer({ folder });
    expect(differences(again, golden.strings, golden.default.ids)).toEqual([]);
    expect(again.eosTokenIds).toContain(model.tokenToId('<|im_end|>'));
    expect(again.chatTemplate).toBe(model.chatTemplate);
    const json = readFileSync(join(folder, 'tokenizer.json'), 'utf8');
    const { pre_tokenizer } = JSON.parse(json) as { pre_tokenizer: unknown };
    expect(JSON.stringify(pre_tokenizer)).toContain('"Digits"'); // as transformers has to read it
  });
});

describe('byte-level GGUF vocabularies', () => {
  it.each(Object.keys(golden.families.ids))('splits as %s does', async (pre) => {
    expect(
      differences(await small(pre), golden.strings, golden.families.ids[pre] as number[][]),
    ).toEqual([]);
  });

  it('splits by llama.cpp’s default rules where the file says so', async () => {
    const plain = await small('default');
    expect(plain.encode('1234').length).toBeGreaterThan(1);
    for (const text of golden.strings) expect(plain.decode(plain.encode(text))).toBe(text);
  });

  it('puts begin-of-text in front only when asked, and by the file', async () => {
    const bos = {
      'tokenizer.ggml.bos_token_id': 7,
      'tokenizer.ggml.token_type': golden.families.tokens.map((_, id) => (id === 7 ? 3 : 1)),
    };
    const llama = await small('llama-bpe', bos);
    expect(llama.encode('The')).not.toContain(7);
    expect(llama.encode('The', { addSpecialTokens: true })).toEqual([7, ...llama.encode('The')]);
    const without = await small('llama-bpe', { ...bos, 'tokenizer.ggml.add_bos_token': false });
    expect(without.encode('The', { addSpecialTokens: true })).toEqual(without.encode('The'));
  });

  it('refuses named templates without a default, as transformers does', async () => {
    await expect(small('gpt-2', { 'tokenizer.chat_templates': ['tool_use'] })).rejects.toThrow(
      'the chat templates "tool_use" and none named "default"',
    );
  });

  it('counts every end-of-turn token as an end', async () => {
    expect(
      (
        await small('gpt-2', {
          'tokenizer.ggml.eos_token_id': 3n,
          'tokenizer.ggml.eot_token_id': 5,
        })
      ).eosTokenIds,
    ).toEqual([3, 5]);
  });

  it('encodes the empty text and decodes unknown ids', async () => {
    const gpt2 = await small('gpt-2');
    expect(gpt2.encode('')).toEqual([]);
    expect(gpt2.decode([])).toBe('');
    expect(gpt2.decode([100000, -1])).toBe('');
  });

  it.each([
    [
      'an unknown pre-tokenizer',
      { 'tokenizer.ggml.pre': 'from-the-future' },
      'pre-tokenizer "from-the-future" is not known here',
    ],
    ['no pre-tokenizer', { 'tokenizer.ggml.pre': undefined }, 'has no tokenizer.ggml.pre'],
    ['another kind', { 'tokenizer.ggml.model': 'bert' }, 'tokenizer kind "bert" is not supported'],
    ['no kind', { 'tokenizer.ggml.model': undefined }, 'tokenizer kind null is not supported'],
    ['no tokens', { 'tokenizer.ggml.tokens': undefined }, 'no usable tokenizer.ggml.tokens'],
    [
      'tokens that are numbers',
      { 'tokenizer.ggml.tokens': [1, 2] },
      'no usable tokenizer.ggml.tokens',
    ],
    ['a merge of one token', { 'tokenizer.ggml.merges': ['ab'] }, 'merge 0 is "ab"'],
    [
      'an id outside the vocabulary',
      { 'tokenizer.ggml.eos_token_id': 1e9 },
      'eos_token_id is 1000000000, outside its 480 tokens',
    ],
    ['token types that are text', { 'tokenizer.ggml.token_type': 'x' }, 'token_type is not a list'],
  ])('refuses %s with a sentence', async (_, extra, message) => {
    await expect(small('gpt-2', extra)).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringContaining(message),
    });
  });
});

describe('SentencePiece GGUF vocabularies', () => {
  it('encodes as sentencepiece does', async () => {
    expect(differences(await spm(), golden.spm.strings, golden.spm.ids)).toEqual([]);
  });

  it('decodes and streams what it encoded, and broken bytes as Rust does', async () => {
    const llama = await spm();
    for (const text of golden.spm.strings) {
      const ids = llama.encode(text);
      expect(llama.decode(ids)).toBe(text);
      expect(streamed(llama, ids)).toBe(text);
    }
    for (const { ids, text } of golden.spm.decode) expect(llama.decode(ids)).toBe(text);
    const { bytes, offsets } = llama.tokenBytes();
    const joined = llama
      .encode('a 😀')
      .flatMap((id) => [...bytes.subarray(offsets[id], offsets[id + 1])]);
    expect(Buffer.from(joined).toString()).toBe(' a 😀');
  });

  it('puts no space in front where the file says so, as Gemma does', async () => {
    const gemma = await spm({ 'tokenizer.ggml.add_space_prefix': false });
    expect(
      differences(
        gemma,
        golden.spm.strings.map((text) => ` ${text}`),
        golden.spm.ids,
      ),
    ).toEqual([]);
    for (const text of golden.spm.strings)
      expect(gemma.decode(gemma.encode(` ${text}`))).toBe(` ${text}`);
  });

  it('lets Phi-3’s names of turns swallow the white space behind them', async () => {
    const tokens = [...golden.spm.tokens, '<|endoftext|>', '<|end|>'];
    const phi = (extra = {}): Promise<Tokenizer> =>
      spm({
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.scores': [...golden.spm.scores, 0, 0],
        'tokenizer.ggml.token_type': [...golden.spm.types, 3, 3],
        ...extra,
      });
    const [plain, phi3] = [await phi(), await phi({ 'general.architecture': 'phi3' })];
    expect(phi3.encode('<|end|> \n a')).toEqual(plain.encode('<|end|>a'));
    expect(phi3.encode('</s> a')).toEqual(plain.encode('</s>a'));
    expect(phi3.encode('<|endoftext|> a')).toEqual(plain.encode('<|endoftext|> a'));
  });

  it('refuses a token that nobody could have meant', async () => {
    await expect(
      spm({ 'tokenizer.ggml.tokens': [...golden.spm.tokens.slice(1), 'a'.repeat(100_000)] }),
    ).rejects.toMatchObject({ message: expect.stringContaining('100000 characters long') });
  });

  it('begins with begin-of-text when asked, and needs its scores', async () => {
    const llama = await spm();
    expect(llama.encode('a', { addSpecialTokens: true })[0]).toBe(1);
    await expect(spm({ 'tokenizer.ggml.scores': [1] })).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringContaining('tokens and 1 scores'),
    });
  });
});
