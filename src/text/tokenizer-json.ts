/**
 * The `tokenizer.json` format: the parts we touch, and the form in which @huggingface/tokenizers reads it exactly as the
 * Rust original does. Files are saved in the original form; only the in-memory copy is rewritten.
 */

export interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  normalized: boolean;
  lstrip: boolean;
  rstrip: boolean;
  single_word: boolean;
}

/** A normalizer, pre-tokenizer, post-processor or decoder: `type` and its own keys. */
export interface Component {
  type: string;
  [key: string]: unknown;
}

export interface TokenizerJson {
  version: string;
  truncation: null;
  padding: null;
  added_tokens: AddedToken[];
  normalizer: Component | null;
  pre_tokenizer: Component | null;
  post_processor: Component | null;
  decoder: Component | null;
  model: { type?: string; vocab: Record<string, number> | [string, number][]; merges?: string[] | [string, string][]; [key: string]: unknown };
}

/** GPT-2's splitter, written as Rust's ByteLevel(use_regex) has it. */
export const GPT2_PATTERN = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

export function split(pattern: string): Component {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

export function byteLevel(useRegex: boolean): Component {
  return { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}

/**
 * Pre-tokenizers as JavaScript has to be told them:
 * - `Digits` is `\d` (ASCII) in JS, every numeric character in Rust: `½` and `²` would stay glued to their neighbours;
 * - `ByteLevel`'s own regex uses JS's `\s`, which counts U+FEFF and not U+0085; as a Split, `\s` is translated from Rust's.
 */
export function javascriptForm(json: TokenizerJson): TokenizerJson {
  const model = json.model.type === undefined && Array.isArray(json.model.merges) ? { ...json.model, type: 'BPE' } : json.model;
  return { ...json, model, pre_tokenizer: json.pre_tokenizer && rewrite(json.pre_tokenizer) };
}

function rewrite(step: Component): Component {
  if (Array.isArray(step['pretokenizers'])) {
    return { ...step, pretokenizers: (step['pretokenizers'] as Component[]).map(rewrite) };
  }
  if (step.type === 'Digits') return split(step['individual_digits'] === true ? String.raw`\p{N}` : String.raw`\p{N}+`);
  if (step.type === 'ByteLevel' && step['use_regex'] !== false && step['add_prefix_space'] !== true) {
    return { type: 'Sequence', pretokenizers: [split(GPT2_PATTERN), { ...step, use_regex: false }] };
  }
  return step;
}

/** Every component of `type` in a tree of Sequences. */
export function find(step: Component | null, type: string): Component | undefined {
  if (step === null) return undefined;
  if (step.type === type) return step;
  for (const key of ['pretokenizers', 'normalizers', 'decoders', 'processors']) {
    for (const inner of (step[key] as Component[] | undefined) ?? []) {
      const found = find(inner, type);
      if (found) return found;
    }
  }
  return undefined;
}

let charToByte: Map<string, number> | undefined;

/** GPT-2's table: the printable character that stands for each byte in a ByteLevel vocabulary. */
export function byteOfCharacter(): Map<string, number> {
  if (charToByte) return charToByte;
  charToByte = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    charToByte.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return charToByte;
}
