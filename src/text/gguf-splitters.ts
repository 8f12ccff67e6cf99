/**
 * How a GGUF file's text is split before merging. GGUF stores only the *name* of the splitter
 * (`tokenizer.ggml.pre`); this table gives its meaning, as in llama.cpp. A guess would silently
 * change tokens, so other names are errors.
 */
import {
  byteLevel,
  GPT2_PATTERN,
  LLAMA3_PATTERN,
  O200K_PATTERN,
  QWEN2_PATTERN,
  split,
  TEKKEN_PATTERN,
  type Component,
} from './tokenizer-json.js';

export interface PreTokenizer {
  steps: Component[];
  /** A chunk that is in the vocabulary as a whole is not merged. */
  ignoreMerges?: boolean;
  normalizer?: Component;
  /** The begin-of-text token is added unless the file says otherwise. */
  addBos?: boolean;
}

const digits: PreTokenizer = {
  steps: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
};
const gpt2: PreTokenizer = { steps: [byteLevel(true)] };
const llama3: PreTokenizer = {
  steps: [split(LLAMA3_PATTERN), byteLevel(false)],
  ignoreMerges: true,
  addBos: true,
};
const qwen2: PreTokenizer = {
  steps: [split(QWEN2_PATTERN), byteLevel(false)],
  normalizer: { type: 'NFC' },
};
/**
 * llama.cpp writes the next two with ASCII's upper and lower case; these are the models' own
 * patterns, which know the cases of all scripts.
 */
const tekken: PreTokenizer = {
  steps: [split(TEKKEN_PATTERN), byteLevel(false)],
  ignoreMerges: true,
  addBos: true,
};
const o200k: PreTokenizer = { steps: [split(O200K_PATTERN), byteLevel(false)] };
const fallback: PreTokenizer = {
  steps: [
    split(String.raw`[\p{P}\$\+<=>\^~\|]+`),
    split(GPT2_PATTERN),
    split(String.raw`\p{N}+`),
    split('[0-9][0-9][0-9]'),
    byteLevel(false),
  ],
};

export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  smollm: digits,
  starcoder: digits,
  refact: digits,
  'command-r': digits,
  codeshell: digits,
  exaone: digits,
  'minerva-7b': digits,
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  olmo: gpt2,
  jais: gpt2,
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  'smaug-bpe': { steps: llama3.steps },
  dbrx: { steps: llama3.steps },
  tekken,
  'gpt-4o': o200k,
  llama4: o200k,
  qwen2,
  'deepseek-r1-qwen': { steps: qwen2.steps },
  default: fallback,
};
