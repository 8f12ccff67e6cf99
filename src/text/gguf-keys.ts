/** Keys of a GGUF file's tokenizer that would change ids and are not read: refused by name. */
import { TextError } from './errors.js';

const PREFIX = 'tokenizer.ggml.';

/** Keys that gguf-vocabulary.ts reads, and keys that change no id of a text. */
const KNOWN = new Set([
  ...['model', 'pre', 'tokens', 'scores', 'token_type', 'token_type_count', 'merges'],
  ...['add_bos_token', 'add_eos_token', 'add_space_prefix', 'added_tokens'],
  // llama.cpp reads this one in Unigram models alone.
  'remove_extra_whitespaces',
]);
const ID = /^\w+_token_ids?$/;

/** @throws TextError naming a key of `tokenizer.ggml` that is set and not known */
export function refuseUnknownKeys(metadata: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(metadata)) {
    const name = key.slice(PREFIX.length);
    if (!key.startsWith(PREFIX) || KNOWN.has(name) || ID.test(name) || isUnset(value)) continue;
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file sets ${key}, which is not known here and may change how text is split; use ` +
        "the model's Hugging Face folder, which has a tokenizer.json.",
    );
  }
}

const isUnset = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  value === '' ||
  (typeof value === 'object' && Object.keys(value).length === 0);
