/** Added tokens and settings outside of tokenizer.json, against transformers. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

interface Golden {
  text: string;
  tokenizer: { model: object };
  cases: { name: string; config: object; ids: number[]; text: string }[];
}
const { text, tokenizer, cases } = JSON.parse(
  readFileSync(new URL('../golden/configured_tokens.json', import.meta.url), 'utf8'),
) as Golden;

function folderOf(files: Record<string, object>): string {
  const folder = temporaryFolder('cream-tokens-');
  for (const [name, value] of Object.entries({ 'tokenizer.json': tokenizer, ...files }))
    writeFileSync(join(folder, name), JSON.stringify(value));
  return folder;
}
const load = (files: Record<string, object>) => loadTokenizer({ folder: folderOf(files) });

describe('tokens of tokenizer_config.json are those of transformers', () => {
  it.each(cases)('$name', async ({ config, ids, text: shown }) => {
    const loaded = await load({ 'tokenizer_config.json': config });
    expect(loaded.encode(text)).toEqual(ids);
    expect(loaded.decode(ids, { skipSpecialTokens: true })).toBe(shown);
  });

  it('special_tokens_map.json counts, and a saved folder gives the same ids', async () => {
    const { ids } = cases.find(({ name }) => name === 'a special token that is missing')!;
    const first = await load({ 'special_tokens_map.json': { eos_token: '42' } });
    expect(first.encode(text)).toEqual(ids);
    const folder = temporaryFolder('cream-tokens-');
    for (const [name, content] of Object.entries(first.files()))
      writeFileSync(join(folder, name), content);
    expect((await loadTokenizer({ folder })).encode(text)).toEqual(ids);
  });

  it('a missing padding token is not added: no text holds it', async () =>
    expect((await load({ 'tokenizer_config.json': { pad_token: '<pad>' } })).vocabSize).toBe(257));
});

describe('settings that change ids and are not supported are refused by name', () => {
  const model = (extra: object) => ({ ...tokenizer, model: { ...tokenizer.model, ...extra } });
  it.each([
    ['split_special_tokens', { 'tokenizer_config.json': { split_special_tokens: true } }],
    ['a chat_template that is no text: 5', { 'tokenizer_config.json': { chat_template: 5 } }],
    [
      'has the token "<new>", which tokenizer.json lacks',
      { 'added_tokens.json': { '<new>': 257 } },
    ],
    ['the eos_token_id ["256"]', { 'generation_config.json': { eos_token_id: '256' } }],
    ['has a dropout', { 'tokenizer.json': model({ dropout: 0.1 }) }],
    ['continuing_subword_prefix', { 'tokenizer.json': model({ continuing_subword_prefix: '##' }) }],
    ['no "He"', { 'tokenizer.json': model({ merges: [['H', 'e']] }) }],
    ['no "zz"', { 'tokenizer.json': model({ merges: [['H', 'zz']] }) }],
  ])('%s', async (message, files) => await expect(load(files)).rejects.toThrow(message));

  it('added_tokens.json may list what tokenizer.json has', async () =>
    expect((await load({ 'added_tokens.json': { '<|end|>': 256 } })).vocabSize).toBe(257));
});

it('the last of two default templates counts, as in transformers', async () => {
  const templates = ['a', 'b'].map((template) => ({ name: 'default', template }));
  const loaded = await load({ 'tokenizer_config.json': { chat_template: templates } });
  expect(loaded.chatTemplate).toBe('b');
});
