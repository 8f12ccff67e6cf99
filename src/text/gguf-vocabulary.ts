/** From a GGUF file's `tokenizer.ggml.*` metadata to a Hugging Face tokenizer. */
import { forEach, sorted, type Steps } from '../files/steps.js';
import { TextError } from './errors.js';
import { PRE_TOKENIZERS, type PreTokenizer } from './gguf-splitters.js';
import { ggufTemplate } from './named-templates.js';
import { type AddedToken, type Component, type TokenizerJson } from './tokenizer-json.js';

export type Metadata = Readonly<Record<string, unknown>>;

/** tokenizer.ggml.token_type */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

export interface GgufVocabulary {
  json: TokenizerJson;
  /** Contents of the special tokens that the file names. */
  special: { bos_token?: string; eos_token?: string; unk_token?: string; pad_token?: string };
  /** Ids that end a turn or a text. */
  eosTokenIds: number[];
  chatTemplate: string | null;
  contextLength: number | null;
}

/**
 * Builds the tokenizer that a GGUF file describes. Throws TextError if the metadata is missing,
 * malformed or of an unsupported kind.
 */
export function* readGgufVocabulary(metadata: Metadata): Steps<GgufVocabulary> {
  const tokens = strings(metadata, 'tokenizer.ggml.tokens');
  const types = numbers(metadata, 'tokenizer.ggml.token_type') ?? [];
  const template = ggufTemplate(metadata); // its control tokens must be known
  if (types.length !== tokens.length && (types.length > 0 || template !== null))
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file has ${tokens.length} tokens and ${types.length} entries in ` +
        "tokenizer.ggml.token_type; use the model's Hugging Face folder.",
    );
  const kind = metadata['tokenizer.ggml.model'];
  const added = addedTokens(
    tokens,
    types,
    metadata['general.architecture'] === 'phi3' && kind === 'llama',
  );
  const id = (name: string): number | undefined => tokenId(metadata, name, tokens.length);
  const content = (name: string): string | undefined => tokens[id(name) ?? -1];
  let json: TokenizerJson;
  if (kind === 'gpt2') json = yield* bytePairs(metadata, tokens, added);
  else if (kind === 'llama')
    json = yield* sentencePiece(metadata, tokens, added, content('unknown') ?? '<unk>');
  else
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file's tokenizer kind ${JSON.stringify(kind ?? null)} is not supported ` +
        `(supported: gpt2, llama); use the model's Hugging Face folder, which has a ` +
        'tokenizer.json.',
    );
  const special = Object.fromEntries(
    (
      [
        ['bos_token', 'bos'],
        ['eos_token', 'eos'],
        ['unk_token', 'unknown'],
        ['pad_token', 'padding'],
      ] as const
    ).flatMap(([key, name]) => (content(name) === undefined ? [] : [[key, content(name)]])),
  );
  return {
    json,
    special,
    eosTokenIds: [...new Set(['eos', 'eot', 'eom'].flatMap((name) => id(name) ?? []))],
    chatTemplate: template,
    contextLength:
      Number(metadata[`${String(metadata['general.architecture'])}.context_length`] ?? 0) || null,
  };
}

/** GPT-2's model: characters stand for bytes, and merges are listed by rank. */
function* bytePairs(
  metadata: Metadata,
  tokens: string[],
  added: AddedToken[],
): Steps<TokenizerJson> {
  const name = metadata['tokenizer.ggml.pre'];
  if (name === undefined || name === null)
    throw new TextError(
      'ERR_TOKENIZER',
      'The GGUF file has no tokenizer.ggml.pre, so how its text is split is unknown; add it with ' +
        "gguf-new-metadata --pre-tokenizer, or use the model's Hugging Face folder, which has a " +
        'tokenizer.json.',
    );
  const pre =
    typeof name === 'string' && Object.hasOwn(PRE_TOKENIZERS, name)
      ? (PRE_TOKENIZERS[name] as PreTokenizer)
      : undefined;
  if (!pre) {
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file's pre-tokenizer ${JSON.stringify(name)} is not known here (known: ` +
        `${Object.keys(PRE_TOKENIZERS).join(', ')}); use the model's Hugging Face folder, ` +
        'which has a tokenizer.json.',
    );
  }
  const merges: [string, string][] = [];
  yield* forEach(strings(metadata, 'tokenizer.ggml.merges'), (merge, rank) => {
    const space = merge.indexOf(' ', 1);
    if (space < 1 || space === merge.length - 1)
      throw new TextError(
        'ERR_TOKENIZER',
        `The GGUF file's merge ${rank} is ${JSON.stringify(merge)}, not two tokens with a ` +
          'space between; the file is damaged: fetch it again.',
      );
    merges.push([merge.slice(0, space), merge.slice(space + 1)]);
  });
  return {
    ...frame(added),
    normalizer: pre.normalizer ?? null,
    pre_tokenizer:
      pre.steps.length === 1
        ? (pre.steps[0] as Component)
        : { type: 'Sequence', pretokenizers: pre.steps },
    post_processor: beginAndEnd(metadata, tokens, pre.addBos ?? false),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { ...(yield* bpe(tokens, merges)), ...(pre.ignoreMerges && { ignore_merges: true }) },
  };
}

/**
 * SentencePiece BPE (Llama 2): spaces are `▁`, and characters outside the vocabulary fall back to
 * bytes.
 */
function* sentencePiece(
  metadata: Metadata,
  tokens: string[],
  added: AddedToken[],
  unknown: string,
): Steps<TokenizerJson> {
  const scores = numbers(metadata, 'tokenizer.ggml.scores');
  if (scores?.length !== tokens.length)
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file has ${tokens.length} tokens and ${scores?.length ?? 0} scores; it is ` +
        'damaged: fetch it again.',
    );
  const prefix = metadata['tokenizer.ggml.add_space_prefix'] !== false;
  return {
    ...frame(added),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: beginAndEnd(metadata, tokens, true),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...(yield* bpe(tokens, yield* mergesFromScores(tokens, scores))),
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: true,
    },
  };
}

/** Limits the chunks that are looked up; the longest real tokens are a few dozen spaces. */
const MAX_CHUNK = 1024;

/**
 * SentencePiece merges the pair whose result has the highest score: listed by falling score, that
 * is a merge table.
 */
function* mergesFromScores(tokens: string[], scores: number[]): Steps<[string, string][]> {
  const index = new Map<string, number>();
  yield* forEach(tokens, (token, id) => index.set(token, id));
  const merges: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  yield* forEach(tokens, (token, id) => {
    if (token.length > MAX_CHUNK)
      throw new TextError(
        'ERR_TOKENIZER',
        `The GGUF file's token ${id} is ${token.length} characters long; it is damaged: ` +
          'fetch it again.',
      );
    const characters = Array.from(token);
    for (
      let cut = 1, left = characters[0] ?? '';
      cut < characters.length;
      left += characters[cut++]
    ) {
      const right = token.slice(left.length);
      const [l, r] = [index.get(left), index.get(right)];
      if (l !== undefined && r !== undefined)
        merges.push({ pair: [left, right], score: scores[id] as number, left: l, right: r });
    }
  });
  const ordered = yield* sorted(
    merges,
    (a, b) => b.score - a.score || a.left - b.left || a.right - b.right,
  );
  return ordered.map((merge) => merge.pair);
}

function frame(
  added: AddedToken[],
): Pick<TokenizerJson, 'version' | 'truncation' | 'padding' | 'added_tokens'> {
  return { version: '1.0', truncation: null, padding: null, added_tokens: added };
}

function* bpe(tokens: string[], merges: [string, string][]): Steps<TokenizerJson['model']> {
  const vocab = new Map<string, number>();
  yield* forEach(tokens, (token, id) => vocab.set(token, id));
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab,
    merges,
  };
}

const PHI3_KEEPS_SPACE = ['<unk>', '<s>', '<|endoftext|>'];

/**
 * The added tokens. A GGUF file has no flags for them, but Phi-3's role tokens and `</s>` strip the
 * white space after them.
 */
function addedTokens(tokens: string[], types: number[], phi3: boolean): AddedToken[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== CONTROL && type !== USER_DEFINED && type !== UNKNOWN) return [];
    return [
      {
        id,
        content,
        special: type !== USER_DEFINED,
        normalized: false,
        lstrip: false,
        rstrip: phi3 && !PHI3_KEEPS_SPACE.includes(content),
        single_word: false,
      },
    ];
  });
}

/** The special tokens around a text, if they are requested. */
function beginAndEnd(
  metadata: Metadata,
  tokens: string[],
  bosByDefault: boolean,
): Component | null {
  const chunk = (name: 'bos' | 'eos', byDefault: boolean): [string, number] | null => {
    const id = tokenId(metadata, name, tokens.length);
    const wanted = metadata[`tokenizer.ggml.add_${name}_token`] ?? byDefault;
    return wanted === true && id !== undefined ? [tokens[id] as string, id] : null;
  };
  const [bos, eos] = [chunk('bos', bosByDefault), chunk('eos', false)];
  if (!bos && !eos) return null;
  const around = (sequence: 'A' | 'B', type: number): unknown[] => [
    ...(bos ? [{ SpecialToken: { id: bos[0], type_id: type } }] : []),
    { Sequence: { id: sequence, type_id: type } },
    ...(eos ? [{ SpecialToken: { id: eos[0], type_id: type } }] : []),
  ];
  const special_tokens = Object.fromEntries(
    [bos, eos].flatMap((token) =>
      token ? [[token[0], { id: token[0], ids: [token[1]], tokens: [token[0]] }]] : [],
    ),
  );
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens,
  };
}

function tokenId(metadata: Metadata, name: string, count: number): number | undefined {
  const value = metadata[`tokenizer.ggml.${name}_token_id`];
  if (value === undefined || value === null) return undefined;
  const id = Number(value);
  if (!Number.isInteger(id) || id < 0 || id >= count)
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file's tokenizer.ggml.${name}_token_id is ${String(value)}, outside its ` +
        `${count} tokens; the file is damaged: fetch it again.`,
    );
  return id;
}

function strings(metadata: Metadata, key: string): string[] {
  const value = metadata[key];
  if (
    !Array.isArray(value) ||
    value.length === 0 ||
    !value.every((item) => typeof item === 'string')
  ) {
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file has no usable ${key} (a list of strings); it holds no tokenizer: use ` +
        `the model's Hugging Face folder, or a GGUF made with its tokenizer.`,
    );
  }
  return value;
}

function numbers(metadata: Metadata, key: string): number[] | undefined {
  const value = metadata[key];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) && !ArrayBuffer.isView(value))
    throw new TextError(
      'ERR_TOKENIZER',
      `The GGUF file's ${key} is not a list of numbers; the file is damaged: fetch it again.`,
    );
  return Array.from(value as ArrayLike<number | bigint>, Number);
}
