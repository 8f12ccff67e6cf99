/**
 * Text ↔ token ids: names a model's special tokens, encodes, decodes, and saves the tokenizer.
 * tokenizer-folder.ts reads its files, encoder.ts splits and merges text, decoding.ts turns ids
 * into text.
 */
import { createDecoding, type Decoding } from './decoding.js';
import { Encoder } from './encoder.js';
import { EncoderThread } from './encoder-thread.js';
import { isPlain, optionsFault, property, shown, unreadable } from '../files/options.js';
import { forEach, inTurns, STEP_ITEMS, type Steps } from '../files/steps.js';
import { TextError } from './errors.js';
import { refuseUnknownKeys } from './gguf-keys.js';
import { readGgufVocabulary, type Metadata } from './gguf-vocabulary.js';
import { readFolder, type TokenizerParts } from './tokenizer-folder.js';
import type { TokenizerJson } from './tokenizer-json.js';

/** A longer text is tokenised in a thread. */
const QUICK_CHARACTERS = 50_000;
/** Ids of the thread that are copied at once. */
const COPIED_IDS = 10_000;

export type TokenizerSource = { folder: string } | { gguf: Metadata };

export interface DecodeOptions {
  /** Leave out special tokens such as end-of-turn; default false. */
  skipSpecialTokens?: boolean;
}

/**
 * The text of a growing list of ids: only whole characters are returned, the rest waits. The
 * results of `push` and `end`, concatenated, are `decode(all ids)`.
 */
export interface StreamDecoder {
  push(ids: readonly number[] | Int32Array): string;
  end(): string;
}

/** Bytes of every token: token i is `bytes[offsets[i] … offsets[i + 1])`. */
interface TokenBytes {
  bytes: Uint8Array;
  offsets: Uint32Array;
}

/**
 * Reads a tokenizer from a Hugging Face folder (tokenizer.json and its companions) or from GGUF
 * metadata, in steps between which the event loop runs. Rejects with TextError, or the reason of an
 * aborted `signal`.
 */
export async function loadTokenizer(
  source: TokenizerSource,
  options: { signal?: AbortSignal } = {},
): Promise<Tokenizer> {
  const [folder, gguf] = [property(source, 'folder'), property(source, 'gguf')];
  if (typeof folder !== 'string' && !isPlain(gguf))
    throw new TextError(
      'ERR_INVALID_ARGUMENT',
      '[loadTokenizer] the source must be {folder} with a path or {gguf} with metadata, got ' +
        `${shown(source)}.`,
    );
  refuseFault(optionsFault(options, ['signal'], '[loadTokenizer] the options'));
  const { signal } = options;
  const parts =
    typeof folder === 'string'
      ? await readFolder(folder, signal)
      : await inTurns(readMetadata(gguf as Metadata), signal);
  return inTurns(Tokenizer.of(parts), signal);
}

/** A tokenizer: text ↔ token ids, equal to those of the tokenizers library. */
export class Tokenizer {
  /**
   * The largest id plus one; a model's embedding may have more rows (padding), whose ids decode to
   * nothing.
   */
  readonly vocabSize: number;
  /** Id of the begin-of-text token, or null. */
  readonly bosTokenId: number | null;
  /** Ids that end a text or a turn: of the tokenizer and of generation_config.json. */
  readonly eosTokenIds: readonly number[];
  /**
   * Special tokens by their Hugging Face names (`bos_token`, `eos_token`, …), as passed to the chat
   * template.
   */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** The texts of all special tokens. */
  readonly specialTexts: readonly string[];
  /** Jinja source of the chat template, or null. */
  readonly chatTemplate: string | null;
  private readonly special: Set<number>;
  private readonly added: ReadonlyMap<string, number>;
  private readonly longest: number;
  private thread: EncoderThread | undefined;

  /** @internal The tokenizer of a folder's or a GGUF file's parts. @throws TextError */
  static *of(parts: TokenizerParts): Steps<Tokenizer> {
    const { json } = parts;
    try {
      const encoder = yield* Encoder.of(json);
      const decoding = createDecoding(json.decoder);
      const tokens: string[] = [];
      yield* forEach(encoder.vocabulary, ([token, id]) => (tokens[id] = token));
      yield* forEach(json.added_tokens, ({ content, id }) => (tokens[id] = content));
      return new Tokenizer(parts, encoder, decoding, tokens, yield* bytesOf(tokens, decoding));
    } catch (error) {
      throw new TextError(
        'ERR_TOKENIZER',
        `The tokenizer cannot be used: ${(error as Error).message}; check tokenizer.json ` +
          `against the model's original.`,
        { cause: error },
      );
    }
  }

  private constructor(
    private readonly parts: TokenizerParts,
    private readonly encoder: Encoder,
    private readonly decoding: Decoding,
    private readonly tokens: readonly (string | undefined)[],
    private readonly table: TokenBytes,
  ) {
    const { added_tokens: added } = parts.json;
    this.added = new Map(added.map(({ content, id }) => [content, id]));
    this.special = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.specialTexts = added.filter(({ special }) => special).map(({ content }) => content);
    this.specialTokens = specialTokens(parts.config);
    this.vocabSize = tokens.length;
    this.longest = table.offsets.reduce(
      (longest, offset, i, offsets) => Math.max(longest, offset - (offsets[i - 1] ?? 0)),
      1,
    );
    this.bosTokenId = this.tokenToId(this.specialTokens['bos_token'] ?? '') ?? null;
    const eos = this.tokenToId(this.specialTokens['eos_token'] ?? '');
    this.eosTokenIds = [...new Set([...(eos === undefined ? [] : [eos]), ...parts.eosTokenIds])];
    this.chatTemplate = parts.chatTemplate;
  }

  /**
   * Token ids of `text`. Names of special tokens in it become those tokens; begin-of-text is added
   * only on request. The event loop waits meanwhile, so a long text, or one for a tokenizer that is
   * not trusted, belongs to encodeInSlices().
   */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    checkText(text);
    refuseFault(optionsFault(options, ['addSpecialTokens'], '[encode] the options', ENCODE_KINDS));
    try {
      return this.encoder.encode(text, options.addSpecialTokens ?? false);
    } catch (error) {
      throw unsplit(text, error);
    }
  }

  /**
   * encode() that lets the event loop run: in steps, after each of which `after` is awaited with
   * the number of characters processed, or in a thread of its own where a step could take long.
   * Rejects with TextError, the error of `after`, or the reason of an aborted `signal`.
   */
  async encodeInSlices(
    text: string,
    after: (work: number) => Promise<void>,
    options: { addSpecialTokens?: boolean; signal?: AbortSignal } = {},
  ): Promise<number[]> {
    checkText(text);
    const keys = ['addSpecialTokens', 'signal'];
    refuseFault(optionsFault(options, keys, '[encodeInSlices] the options', ENCODE_KINDS));
    if (typeof after !== 'function')
      refuseFault(`[encodeInSlices] the second argument must be a function, got ${shown(after)}.`);
    const { addSpecialTokens = false, signal } = options;
    if (!this.isQuick(text)) return this.encodeInThread(text, after, addSpecialTokens, signal);
    const ids: number[] = [];
    const steps = this.encoder.steps(text, addSpecialTokens, ids);
    for (;;) {
      let step: IteratorResult<number, void>;
      try {
        step = steps.next();
      } catch (error) {
        throw unsplit(text, error);
      }
      if (step.done) return ids;
      await after(step.value);
    }
  }

  /** @internal Whether encode() of a text takes milliseconds: a short one under known patterns. */
  isQuick(text: string): boolean {
    return text.length <= QUICK_CHARACTERS && !this.encoder.limited;
  }

  /**
   * A lower bound of the number of tokens of `text` from its length alone: its bytes divided by
   * those of the longest token. 0 if the normalizer may drop text.
   */
  fewestTokens(text: string): number {
    checkText(text);
    const shrinks = this.encoder.mostShrinkage;
    if (shrinks === Infinity) return 0;
    return Math.floor(Buffer.byteLength(text) / (this.longest * shrinks));
  }

  /**
   * Text of `ids`. Bytes that are not UTF-8 become U+FFFD; ids outside the vocabulary are ignored.
   */
  decode(ids: readonly number[] | Int32Array, options: DecodeOptions = {}): string {
    const decoder = this.streamDecoder(options);
    return decoder.push(ids) + decoder.end();
  }

  /** The id of a token as it stands in the vocabulary. */
  tokenToId(token: string): number | undefined {
    return this.added.get(token) ?? this.encoder.vocabulary.get(token);
  }

  /** The token of an id as it stands in the vocabulary. */
  idToToken(id: number): string | undefined {
    return Number.isInteger(id) ? this.tokens[id] : undefined;
  }

  /** Whether decode() leaves the token out with skipSpecialTokens. */
  isSpecial(id: number): boolean {
    return this.special.has(id);
  }

  /**
   * UTF-8 bytes of every token: token i is `bytes[offsets[i] … offsets[i + 1])`, `offsets` has
   * vocabSize + 1 entries. A `▁` is a space here even at the start of a text, where decode() may
   * drop it. The arrays must not be changed.
   */
  tokenBytes(): { bytes: Uint8Array; offsets: Uint32Array } {
    return this.table;
  }

  /** A decoder for ids that arrive one after the other. */
  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    const flags = ['skipSpecialTokens'];
    refuseFault(optionsFault(options, flags, '[decode] the options', { flags }));
    const { skipSpecialTokens = false } = options;
    const stream = this.decoding.stream();
    return {
      push: (ids) => {
        checkIds(ids);
        let text = '';
        for (const id of ids) {
          const token = this.tokens[id];
          if (token !== undefined && !(skipSpecialTokens && this.special.has(id)))
            text += stream.push(token);
        }
        return text;
      },
      end: () => stream.end(),
    };
  }

  /**
   * All files that a Hugging Face folder needs to load this tokenizer: file name → contents. Those
   * of the folder that it was read from are their bytes.
   */
  files(): Record<string, string | Uint8Array> {
    const { json, config, files, chatTemplate } = this.parts;
    const lines = (value: unknown): string => JSON.stringify(value, null, 2) + '\n';
    const special = Object.fromEntries(
      ['bos_token', 'eos_token', 'unk_token', 'pad_token'].flatMap((key) =>
        this.specialTokens[key] === undefined ? [] : [[key, this.specialTokens[key]]],
      ),
    );
    return {
      'tokenizer.json': files['tokenizer.json'] ?? textOfJson(json),
      'tokenizer_config.json': files['tokenizer_config.json'] ?? lines(config),
      'special_tokens_map.json': files['special_tokens_map.json'] ?? lines(special),
      ...(chatTemplate !== null && { 'chat_template.jinja': chatTemplate }),
    };
  }

  private async encodeInThread(
    text: string,
    after: (work: number) => Promise<void>,
    addSpecialTokens: boolean,
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    this.thread ??= new EncoderThread(this.parts.json);
    const encoded = await this.thread.encode(text, addSpecialTokens, signal).catch((error) => {
      if (signal?.aborted) throw signal.reason;
      throw unsplit(text, error);
    });
    const ids: number[] = [];
    for (let at = 0; at < encoded.length; at += COPIED_IDS) {
      const part = encoded.subarray(at, at + COPIED_IDS);
      for (const id of part) ids.push(id);
      await after(part.length);
    }
    return ids;
  }
}

/** The bytes of `tokens`, by id; ids without a token have none. */
function* bytesOf(tokens: readonly (string | undefined)[], decoding: Decoding): Steps<TokenBytes> {
  const offsets = new Uint32Array(tokens.length + 1);
  let bytes = new Uint8Array(8 * tokens.length);
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id];
    const own = token === undefined ? NO_BYTES : decoding.bytes(token);
    const end = offsets[id]! + own.length;
    if (end > bytes.length) {
      const larger = new Uint8Array(2 * end);
      larger.set(bytes);
      bytes = larger;
    }
    bytes.set(own, offsets[id]);
    offsets[id + 1] = end;
    if (id % STEP_ITEMS === STEP_ITEMS - 1) yield;
  }
  return { bytes: bytes.slice(0, offsets[tokens.length]), offsets };
}

const NO_BYTES = new Uint8Array();

const textOfJson = (json: TokenizerJson): string =>
  JSON.stringify(json, (_, value: unknown) =>
    value instanceof Map ? Object.fromEntries(value as Map<string, number>) : value,
  );

const unsplit = (text: string, error: unknown): TextError =>
  new TextError(
    'ERR_TOKENIZER',
    `A text of ${text.length} characters could not be split into tokens: ` +
      `${(error as Error).message}; check the normalizer and the patterns in the model's ` +
      'tokenizer.json.',
    { cause: error },
  );

function* readMetadata(metadata: Metadata): Steps<TokenizerParts> {
  refuseUnknownKeys(metadata);
  const { json, special, eosTokenIds, chatTemplate, contextLength } =
    yield* readGgufVocabulary(metadata);
  const config = {
    // Keeps transformers from rebuilding the splitter by the model's type.
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...special,
    ...(contextLength !== null && { model_max_length: contextLength }),
    clean_up_tokenization_spaces: false,
    added_tokens_decoder: Object.fromEntries(
      json.added_tokens.map(({ id, ...token }) => [id, token]),
    ),
    ...(chatTemplate !== null && { chat_template: chatTemplate }),
  };
  return { json, config, eosTokenIds, chatTemplate, files: {} };
}

/** `{eos_token: "</s>", …}` from a config whose values are strings or `{content}` objects. */
function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const content =
      typeof value === 'object' && value !== null
        ? (value as { content?: unknown }).content
        : value;
    if (key.endsWith('_token') && typeof content === 'string') found[key] = content;
  }
  return found;
}

function refuseFault(fault: string | undefined): void {
  if (fault !== undefined) throw new TextError('ERR_INVALID_ARGUMENT', fault);
}

const ENCODE_KINDS = { flags: ['addSpecialTokens'] };

/** Ids without a token are let through: the embedding may have more rows than the vocabulary. */
function checkIds(ids: readonly number[] | Int32Array): void {
  try {
    if (!Array.isArray(ids) && !(ArrayBuffer.isView(ids) && 'length' in ids))
      refuseFault(`[decode] the ids must be a list of token ids, got ${shown(ids)}.`);
    for (let i = 0; i < ids.length; i++)
      if (!Number.isSafeInteger(ids[i]))
        refuseFault(
          `[decode] the id at position ${i} must be a whole number, got ${shown(ids[i])}.`,
        );
  } catch (error) {
    if (error instanceof TextError) throw error;
    refuseFault(unreadable('[decode] the list of ids', error));
  }
}

function checkText(text: string): void {
  if (typeof text !== 'string') refuseFault(`The text must be a string, got ${shown(text)}.`);
}
