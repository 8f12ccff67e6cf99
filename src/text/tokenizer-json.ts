/**
 * The `tokenizer.json` format: the parts that are used, the splitters that models share, and the
 * checks that an untrusted file must pass before anything is built from it.
 */
import { forEach, type Steps } from '../files/steps.js';

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

/** A component's own key that holds text. */
export const textOf = (step: Component, key: string, fallback: string): string =>
  String(step[key] ?? fallback);

export interface TokenizerJson {
  version: string;
  truncation: null;
  padding: null;
  added_tokens: AddedToken[];
  normalizer: Component | null;
  pre_tokenizer: Component | null;
  post_processor: Component | null;
  decoder: Component | null;
  model: {
    type?: string;
    /** BPE: the tokens and their ids. Unigram: each token with its score, in the order of ids. */
    vocab: Map<string, number> | [string, number][];
    merges?: [string, string][];
    [key: string]: unknown;
  };
}

/** GPT-2's splitter, in the form of Rust's ByteLevel(use_regex). */
export const GPT2_PATTERN =
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+` +
  String.raw`|\s+(?!\S)|\s+`;
const afterGpt4 = (digits: string): string =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}` +
  String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const byCase = (suffix: string, digits: string): string =>
  String.raw`[^\r\n\p{L}\p{N}]?${UPPER}*${LOWER}+${suffix}` +
  String.raw`|[^\r\n\p{L}\p{N}]?${UPPER}+${LOWER}*${suffix}` +
  String.raw`|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
export const LLAMA3_PATTERN = afterGpt4('{1,3}');
export const QWEN2_PATTERN = afterGpt4('');
/** The splitter of Mistral models since Nemo; letter case decides where a word ends. */
export const TEKKEN_PATTERN = byCase('', '');
/** GPT-4o's splitter, which Phi-4-mini uses. */
export const O200K_PATTERN = byCase(`(?i:'s|'t|'re|'ve|'m|'ll|'d)?`, '{1,3}');

const KNOWN_PATTERNS = new Set([
  GPT2_PATTERN,
  LLAMA3_PATTERN,
  QWEN2_PATTERN,
  TEKKEN_PATTERN,
  O200K_PATTERN,
  ' ',
]);

/**
 * Whether a splitter is one of those above, whose time is linear in the text; any other one runs
 * under a time limit.
 */
export function isKnownPattern(pattern: string): boolean {
  return KNOWN_PATTERNS.has(pattern);
}

/** A Split step that makes each match of `pattern` a chunk of its own. */
export function split(pattern: string): Component {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

/** A ByteLevel step without a space before the text. */
export function byteLevel(useRegex: boolean): Component {
  return { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}

let charToByte: Map<string, number> | undefined;

/** GPT-2's table: the printable character that stands for each byte in a ByteLevel vocabulary. */
export function byteOfCharacter(): Map<string, number> {
  if (charToByte) return charToByte;
  charToByte = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    charToByte.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return charToByte;
}

/** Longest added token; at every position of a text up to this many characters may be compared. */
const MAX_ADDED = 1024;
/** Larger ids are damaged or hostile: tables are as long as the largest id. */
const MAX_ID = 2 ** 22;

/**
 * `json`, whose vocabulary may be a Map, with defaults for missing parts. Throws Error, one clause
 * without a full stop, if it cannot be a tokenizer.
 */
export function* checkTokenizerJson(json: unknown): Steps<TokenizerJson> {
  const it = json as TokenizerJson | null;
  const given = it?.model?.vocab as unknown;
  if (!it || typeof given !== 'object' || given === null) throw new Error('it has no model.vocab');
  const vocab =
    Array.isArray(given) || given instanceof Map
      ? (given as TokenizerJson['model']['vocab'])
      : new Map(Object.entries(given as Record<string, number>));
  const isList = Array.isArray(vocab);
  const model = { ...it.model, vocab, type: it.model.type ?? (isList ? 'Unigram' : 'BPE') };
  if (isList) {
    yield* checkChunks(vocab);
    const unknown = it.model['unk_id'] ?? null;
    if (unknown !== null && vocab[unknown as number] === undefined)
      throw new Error(
        `its unk_id is ${JSON.stringify(unknown)}, which is no entry of its vocabulary`,
      );
  } else yield* forEach(vocab, ([token, id]) => checkId(id, token));
  if (model.type === 'BPE') {
    if (isList) throw new Error('its BPE vocabulary is a list');
    model.merges = yield* checkMerges(model.merges);
  }
  const step = (key: keyof typeof LISTS): Component | null => {
    const value = it[key] ?? null;
    checkStep(value, key);
    if (value !== null) checkComponent(value, key);
    return value;
  };
  return {
    ...it,
    model,
    added_tokens: yield* checkAddedTokens(it.added_tokens ?? [], vocab),
    normalizer: step('normalizer'),
    pre_tokenizer: step('pre_tokenizer'),
    post_processor: step('post_processor'),
    decoder: step('decoder'),
  };
}

/** Maximum number of parts of a component, and maximum depth of their nesting. */
const MAX_PARTS = 256;
const MAX_DEPTH = 8;
/** A post-processor may name every special token, with its ids. */
const MAX_NAMED = 100_000;
/** Longest text that a part writes or searches for; real ones have a few hundred characters. */
const MAX_LITERAL = 10_000;

/** The key of a Sequence's components, by the kind of these. */
const LISTS = {
  normalizer: 'normalizers',
  pre_tokenizer: 'pretokenizers',
  post_processor: 'processors',
  decoder: 'decoders',
} as const;

/** @throws Error, one clause, for a component that is none, or a Sequence of such */
function checkComponent(given: unknown, key: keyof typeof LISTS): asserts given is Component {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new Error(`its ${key} is or holds ${JSON.stringify(given)?.slice(0, 40)}, no component`);
  const { type, [LISTS[key]]: inner } = given as Component;
  if (typeof type !== 'string')
    throw new Error(
      `its ${key} has the type ${JSON.stringify(type ?? null).slice(0, 40)}, no text`,
    );
  if (type !== 'Sequence') return;
  if (!Array.isArray(inner)) throw new Error(`its ${key} Sequence has no list of ${LISTS[key]}`);
  for (const one of inner) checkComponent(one, key);
}

/** @throws Error for a part that is nested so deeply, or is so long, that it must be hostile */
function checkStep(step: unknown, key: string): void {
  let parts = 0;
  const most = key === 'post_processor' ? MAX_NAMED : MAX_PARTS;
  const walk = (value: unknown, depth: number): void => {
    if (typeof value === 'string' && value.length > MAX_LITERAL && key !== 'post_processor')
      throw new Error(`its ${key} holds a text of ${value.length} characters`);
    if (typeof value !== 'object' || value === null) return;
    if (depth > 2 * MAX_DEPTH) throw new Error(`its ${key} is nested too deeply`);
    if (Array.isArray(value) && (parts += value.length) > most)
      throw new Error(`its ${key} has more than ${most} parts`);
    for (const inner of Object.values(value)) walk(inner, depth + 1);
  };
  walk(step, 0);
}

/** Whether it can be a token's id. */
export const isId = (id: unknown): id is number =>
  Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID;

function checkId(id: unknown, token: string): void {
  if (!isId(id))
    throw new Error(
      `its token ${JSON.stringify(token.slice(0, 40))} has the id ${JSON.stringify(id)}, ` +
        `not a whole number from 0 to ${MAX_ID}`,
    );
}

function* checkChunks(chunks: unknown[]): Steps<void> {
  if (chunks.length === 0) throw new Error('its vocabulary is empty');
  yield* forEach(chunks, (chunk, index) => {
    if (!Array.isArray(chunk) || typeof chunk[0] !== 'string' || typeof chunk[1] !== 'number')
      throw new Error(`its vocabulary's entry ${index} is not a token and its score`);
  });
}

/** Older files have "a b", newer ones ["a", "b"]. */
function* checkMerges(merges: unknown): Steps<[string, string][]> {
  if (!Array.isArray(merges)) throw new Error('its BPE model has no list of merges');
  const pairs: [string, string][] = [];
  yield* forEach(merges as unknown[], (merge, rank) => {
    const pair = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((part) => typeof part !== 'string'))
      throw new Error(
        `its merge ${rank} is ${JSON.stringify(merge)?.slice(0, 80)}, not two tokens`,
      );
    pairs.push(pair as [string, string]);
  });
  return pairs;
}

/** The ids of a vocabulary's tokens. */
export function* idsOf(vocab: TokenizerJson['model']['vocab']): Steps<ReadonlyMap<string, number>> {
  if (!Array.isArray(vocab)) return vocab;
  const ids = new Map<string, number>();
  yield* forEach(vocab, ([token], id) => ids.set(token, id));
  return ids;
}

function* checkAddedTokens(
  tokens: unknown,
  vocab: TokenizerJson['model']['vocab'],
): Steps<AddedToken[]> {
  if (!Array.isArray(tokens)) throw new Error('its added_tokens is not a list');
  const added: AddedToken[] = [];
  yield* forEach(tokens as (Partial<AddedToken> | null)[], (token, i) =>
    added.push(readAddedToken(token, i)),
  );
  yield* refuseOtherIds(added, yield* idsOf(vocab));
  return added;
}

/**
 * The tokenizers library gives an added token the id that the vocabulary has, or the next free one,
 * whatever the file says. @throws Error where the file says another id
 */
function* refuseOtherIds(
  added: readonly AddedToken[],
  ids: ReadonlyMap<string, number>,
): Steps<void> {
  const given = new Map<string, number>();
  let next = ids.size;
  yield* forEach(added, ({ content, id }) => {
    const expected = given.get(content) ?? ids.get(content) ?? next;
    if (id !== expected && content !== '')
      throw new Error(
        `its added token ${JSON.stringify(content.slice(0, 40))} has the id ${id}, and the ` +
          `tokenizers library would give it ${expected}`,
      );
    given.set(content, id);
    next = Math.max(next, id + 1);
  });
}

function readAddedToken(token: Partial<AddedToken> | null, i: number): AddedToken {
  if (typeof token?.content !== 'string') throw new Error(`its added token ${i} has no content`);
  if (token.content.length > MAX_ADDED)
    throw new Error(`its added token ${i} is ${token.content.length} characters long`);
  checkId(token.id, token.content);
  const special = token.special === true;
  return {
    id: token.id as number,
    content: token.content,
    special,
    normalized: token.normalized ?? !special,
    lstrip: token.lstrip === true,
    rstrip: token.rstrip === true,
    single_word: token.single_word === true,
  };
}
