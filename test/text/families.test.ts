/**
 * Every family's tokenizer against Rust's, on vocabularies of a thousand tokens in the family's own
 * frame (test/golden/tokenizers).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from '@jest/globals';
import type { TokenizerJson } from '../../src/text/tokenizer-json.js';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';

interface Expected {
  ids: string[];
  special: string[];
  decode: [ids: string, text: string, visible: string][];
  /** Texts with the special tokens that only this family has. */
  own?: [text: string, ids: string][];
}

const root = new URL('../golden/tokenizers/', import.meta.url);
const read = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, root), 'utf8')) as T;
const strings = read<string[]>('strings.json');
const families = readdirSync(root).filter((name) => !name.endsWith('.json'));
const numbers = (line: string): number[] => (line === '' ? [] : line.split(' ').map(Number));

describe.each(families)('%s', (family) => {
  const expected = read<Expected>(`${family}/expected.json`);
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer({ folder: new URL(family, root).pathname });
  });

  it(`encodes ${strings.length} texts as Rust does`, () => {
    const differences = strings.flatMap((text, i) =>
      tokenizer.encode(text).join(' ') === expected.ids[i]
        ? []
        : [
            {
              text,
              ours: tokenizer
                .encode(text)
                .map((id) => tokenizer.idToToken(id))
                .join(' '),
              reference: numbers(expected.ids[i] as string)
                .map((id) => tokenizer.idToToken(id))
                .join(' '),
            },
          ],
    );
    expect(differences).toEqual([]);
  });

  it("encodes texts with the family's own special tokens as Rust does", () => {
    const own = expected.own ?? [];
    expect(own.map(([text]) => [text, tokenizer.encode(text).join(' ')])).toEqual(own);
  });

  it('puts the special tokens around a text when asked', () => {
    expect(
      expected.special.map((_, i) =>
        tokenizer.encode(strings[i] as string, { addSpecialTokens: true }).join(' '),
      ),
    ).toEqual(expected.special);
  });

  it(
    `decodes ${expected.decode.length} id lists as Rust does, broken ones too, whole and one ` +
      'token at a time',
    () => {
      for (const [line, text, visible] of expected.decode) {
        const ids = numbers(line);
        const streamed = (options = {}): string => {
          const decoder = tokenizer.streamDecoder(options);
          return ids.map((id) => decoder.push([id])).join('') + decoder.end();
        };
        expect([
          line,
          tokenizer.decode(ids),
          tokenizer.decode(ids, { skipSpecialTokens: true }),
        ]).toEqual([line, text, visible]);
        expect([line, streamed(), streamed({ skipSpecialTokens: true })]).toEqual([
          line,
          text,
          visible,
        ]);
      }
    },
  );

  it(
    'has the bytes of its tokens: joined they are the text, but for a space that a decoder ' +
      'drops',
    () => {
      const { bytes, offsets } = tokenizer.tokenBytes();
      expect(offsets.length).toBe(tokenizer.vocabSize + 1);
      for (const text of strings) {
        const ids = tokenizer.encode(text);
        const decoded = tokenizer.decode(ids);
        if (decoded.includes('\uFFFD')) continue;
        const joined = Buffer.concat(
          ids.map((id) => bytes.subarray(offsets[id], offsets[id + 1])),
        ).toString();
        expect([decoded, ` ${decoded}`]).toContain(joined);
      }
    },
  );

  it('replaces half a surrogate pair as text that cannot be read', () => {
    expect(tokenizer.encode('a\ud83d b\ude00')).toEqual(tokenizer.encode('a\ufffd b\ufffd'));
  });
});

/** What a converter writes into a GGUF file: no frame, only its name. */
describe.each([
  ['llama3', 'llama-bpe', true],
  ['tekken', 'tekken', true],
  ['phi4', 'gpt-4o', false],
  ['smollm3', 'smaug-bpe', false],
  ['qwen', 'qwen2', false],
  ['smollm2', 'smollm', false],
  ['olmo2', 'dbrx', false],
  ['granite', 'refact', false],
  ['ministral', 'tekken', true],
])('%s from GGUF metadata (%s)', (family, pre, addsBos) => {
  const json = read<TokenizerJson>(`${family}/tokenizer.json`);
  const expected = read<Expected>(`${family}/expected.json`);
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(json.model.vocab as unknown as Record<string, number>))
    tokens[id] = token;
  const types = Array.from(tokens, () => 1);
  for (const token of json.added_tokens) {
    tokens[token.id] = token.content;
    types[token.id] = token.special ? 3 : 4;
  }

  it('encodes as the family’s tokenizer.json does', async () => {
    const bos = tokens.findIndex((token) => token === '<|begin_of_text|>' || token === '<s>');
    const tokenizer = await loadTokenizer({
      gguf: {
        'tokenizer.ggml.model': 'gpt2',
        'tokenizer.ggml.pre': pre,
        'tokenizer.ggml.tokens': tokens,
        'tokenizer.ggml.token_type': types,
        'tokenizer.ggml.merges': json.model.merges!.map((merge) => merge.join(' ')),
        ...(bos >= 0 && { 'tokenizer.ggml.bos_token_id': bos }),
      },
    });
    const spaced = json.added_tokens
      .filter(({ lstrip, rstrip }) => lstrip || rstrip)
      .map(({ content }) => content); // a GGUF file does not say so
    const compared = strings
      .map((text, i) => ({ text, i }))
      .filter(({ text }) => !spaced.some((name) => text.includes(name)));
    expect(compared.length).toBeGreaterThan(450);
    expect(
      compared.filter(({ text, i }) => tokenizer.encode(text).join(' ') !== expected.ids[i]),
    ).toEqual([]);
    expect(tokenizer.encode('a', { addSpecialTokens: true })).toEqual([
      ...(addsBos ? [bos] : []),
      ...tokenizer.encode('a'),
    ]);
  });
});
