/** Golden values of tokenizers (scripts/golden/tokenizer.py); small tokenizers of GGUF files. */
import { readFileSync } from 'node:fs';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';

interface Golden {
  strings: string[];
  default: {
    ids: number[][];
    decode: { ids: number[]; text: string; visible: string }[];
    special: Record<string, string>;
  };
  families: { tokens: string[]; merges: string[]; ids: Record<string, number[][]> };
  spm: {
    tokens: string[];
    scores: number[];
    types: number[];
    strings: string[];
    ids: number[][];
    decode: { ids: number[]; text: string }[];
  };
}
export const golden = JSON.parse(
  readFileSync(new URL('../golden/tokenizer.json', import.meta.url), 'utf8'),
) as Golden;

/** Index and text of the strings on which `tokenizer` and the reference differ. */
export function differences(tokenizer: Tokenizer, strings: string[], ids: number[][]): unknown[] {
  return strings.flatMap((text, i) => {
    const ours = tokenizer.encode(text);
    return JSON.stringify(ours) === JSON.stringify(ids[i])
      ? []
      : [{ i, text, ours, reference: ids[i] }];
  });
}

export function streamed(tokenizer: Tokenizer, ids: number[], options = {}): string {
  const decoder = tokenizer.streamDecoder(options);
  return ids.map((id) => decoder.push([id])).join('') + decoder.end();
}

export const small = (pre: string, extra: Record<string, unknown> = {}): Promise<Tokenizer> =>
  loadTokenizer({
    gguf: {
      'general.architecture': 'llama',
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': pre,
      'tokenizer.ggml.tokens': golden.families.tokens,
      'tokenizer.ggml.merges': golden.families.merges,
      ...extra,
    },
  });

export const spm = (extra: Record<string, unknown> = {}): Promise<Tokenizer> =>
  loadTokenizer({
    gguf: {
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': golden.spm.tokens,
      'tokenizer.ggml.scores': new Float32Array(golden.spm.scores),
      'tokenizer.ggml.token_type': new Int32Array(golden.spm.types),
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.unknown_token_id': 0,
      ...extra,
    },
  });
