/** Tokenizers in Hugging Face folders: reading, saving, damaged files. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { golden, differences, small } from './golden-tokenizer.js';
import { temporaryFolder } from '../support/folders.js';

describe('a tokenizer folder', () => {
  const write = (files: Record<string, string>): string => {
    const place = temporaryFolder('cream-text-');
    for (const [name, text] of Object.entries(files)) writeFileSync(join(place, name), text);
    return place;
  };

  const bpe = (extra: object): Record<string, string> => ({
    'tokenizer.json': JSON.stringify({
      model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
      ...extra,
    }),
  });

  it(
    'with a pattern that never ends is given up on, and with a name of JavaScript’s own is ' +
      'read as any other',
    async () => {
      const endless = await loadTokenizer({
        folder: write(
          bpe({
            pre_tokenizer: { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' },
          }),
        ),
      });
      expect(() => endless.encode(`${'a'.repeat(60)}!`)).toThrow(
        expect.objectContaining({
          code: 'ERR_TOKENIZER',
          message: expect.stringContaining('it ran for more than 2 s'),
        }),
      );
      const json =
        '{"model":{"type":"BPE","vocab":{"__proto__":0,"constructor":1,"a":2},"merges":[]},' +
        '"added_tokens":[{"id":0,"content":"__proto__","special":true},' +
        '{"id":1,"content":"constructor","special":true}]}';
      const odd = await loadTokenizer({
        folder: write({
          'tokenizer.json': json,
          'tokenizer_config.json': '{"__proto__":{"eos_token":"a"},"bos_token":"constructor"}',
        }),
      });
      expect(odd.encode('__proto__aconstructor')).toEqual([0, 2, 1]);
      expect([
        odd.bosTokenId,
        odd.eosTokenIds,
        ({} as Record<string, unknown>)['eos_token'],
      ]).toEqual([1, [], undefined]);
    },
  );

  it('keeps the original files’ bytes and reads end ids of generation_config.json', async () => {
    const files = (await small('smollm')).files();
    const config = JSON.stringify({
      eos_token: { content: golden.families.tokens[9] },
      tokenizer_class: 'X',
      chat_template: [
        { name: 'tool_use', template: 't' },
        { name: 'default', template: 'd' },
      ],
    });
    const source = {
      'tokenizer.json': files['tokenizer.json'] as string,
      'tokenizer_config.json': config,
      'generation_config.json': '{"eos_token_id": [4, 9]}',
    };
    const loaded = await loadTokenizer({ folder: write(source) });
    expect(loaded.eosTokenIds).toEqual([9, 4]);
    expect(loaded.chatTemplate).toBe('d');
    expect(String(loaded.files()['tokenizer.json'])).toBe(source['tokenizer.json']);
    expect(String(loaded.files()['tokenizer_config.json'])).toBe(config);
    // Here the end of text is a common token; as a special one it would be found within words.
    const plain = await loadTokenizer({
      folder: write({ ...source, 'tokenizer_config.json': '{}' }),
    });
    expect(differences(plain, golden.strings, golden.families.ids['smollm'] as number[][])).toEqual(
      [],
    );
    const jinja = await loadTokenizer({ folder: write({ ...source, 'chat_template.jinja': 'j' }) });
    expect(jinja.chatTemplate).toBe('j');
  });

  it.each([
    [
      'a list without a default',
      { 'tokenizer_config.json': '{"chat_template": [{"name": "rag", "template": "r"}]}' },
      'tokenizer_config.json has the chat templates "rag" and none named "default"',
    ],
    [
      'an object without a default',
      { 'chat_template.json': '{"chat_template": {"tools": "t", "rag": "r"}}' },
      'chat_template.json has the chat templates "tools", "rag" and none named "default"',
    ],
  ])('refuses %s as transformers does', async (_, files, message) => {
    const json = (await small('smollm')).files()['tokenizer.json'] as string;
    const folder = write({ 'tokenizer.json': json, ...files });
    await expect(loadTokenizer({ folder })).rejects.toThrow(message);
    writeFileSync(join(folder, 'chat_template.jinja'), 'plain');
    expect((await loadTokenizer({ folder })).chatTemplate).toBe('plain');
  });

  it('reads additional_chat_templates, and refuses them without a default', async () => {
    const json = (await small('smollm')).files()['tokenizer.json'] as string;
    const folder = write({ 'tokenizer.json': json });
    mkdirSync(join(folder, 'additional_chat_templates'));
    writeFileSync(join(folder, 'additional_chat_templates', 'tool_use.jinja'), 't');
    await expect(loadTokenizer({ folder })).rejects.toThrow('"tool_use" and none named "default"');
    writeFileSync(join(folder, 'additional_chat_templates', 'default.jinja'), 'd');
    expect((await loadTokenizer({ folder })).chatTemplate).toBe('d');
  });

  it.each([
    ['nothing in it', {}, 'has no tokenizer.json'],
    ['a cut tokenizer.json', { 'tokenizer.json': '{"model": {' }, 'is not valid JSON'],
    ['another tokenizer.json', { 'tokenizer.json': '{"a": 1}' }, 'it has no model.vocab'],
    ['null in it', { 'tokenizer.json': 'null' }, 'it has no model.vocab'],
    [
      'a splitter nobody knows',
      bpe({ pre_tokenizer: { type: 'Nope' } }),
      'its pre-tokenizer "Nope" is not supported',
    ],
    [
      'a decoder nobody knows',
      bpe({ decoder: { type: 'Nope' } }),
      'its decoder "Nope" is not supported',
    ],
    [
      'a normalizer nobody knows',
      bpe({ normalizer: { type: 'Sequence', normalizers: [{ type: 'Nope' }] } }),
      'its normalizer "Nope" is not supported',
    ],
    [
      'another kind of model',
      bpe({ model: { type: 'WordPiece', vocab: { a: 0 } } }),
      'its model "WordPiece" is not supported',
    ],
    [
      'an id that would fill memory',
      bpe({ model: { type: 'BPE', vocab: { a: 4e9 }, merges: [] } }),
      'has the id 4000000000',
    ],
    [
      'an id that is text',
      bpe({ model: { type: 'BPE', vocab: { a: 'x' }, merges: [] } }),
      'has the id "x"',
    ],
    [
      'half a merge',
      bpe({ model: { type: 'BPE', vocab: { a: 0 }, merges: ['a'] } }),
      'its merge 0 is "a", not two tokens',
    ],
    ['no merges', bpe({ model: { type: 'BPE', vocab: { a: 0 } } }), 'no list of merges'],
    [
      'an added token without content',
      bpe({ added_tokens: [{ id: 1 }] }),
      'added token 0 has no content',
    ],
    [
      'a post-processor of another vocabulary',
      bpe({
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ SpecialToken: { id: '<s>' } }, { Sequence: { id: 'A' } }],
        },
      }),
      'names the token "<s>"',
    ],
    [
      'a pattern that is none',
      bpe({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(((' }, behavior: 'Isolated' } }),
      'cannot be used',
    ],
  ])('with %s is refused with a sentence', async (_, files, message) => {
    await expect(loadTokenizer({ folder: write(files) })).rejects.toMatchObject({
      code: 'ERR_TOKENIZER',
      message: expect.stringContaining(message),
    });
  });
});
