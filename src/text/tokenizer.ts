/**
 * Text ↔ token ids. The splitting and merging is @huggingface/tokenizers; this file decides what it is fed (see
 * tokenizer-json.ts for where it differs from the Rust original), and owns decoding to bytes, streaming and saving.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { TextError } from './errors.js';
import { readGgufVocabulary, type Metadata } from './gguf-vocabulary.js';
import { byteOfCharacter, find, javascriptForm, type Component, type TokenizerJson } from './tokenizer-json.js';

export type TokenizerSource = { folder: string } | { gguf: Metadata };

export interface DecodeOptions {
  /** Leave out special tokens such as end-of-turn; default false. */
  skipSpecialTokens?: boolean;
}

/** Text of a growing list of ids: whole characters only, the rest waits. What `push` and `end` return joins to `decode(all ids)`. */
export interface StreamDecoder {
  push(ids: readonly number[]): string;
  end(): string;
}

interface Parts {
  json: TokenizerJson;
  config: Record<string, unknown>;
  eosTokenIds: number[];
  chatTemplate: string | null;
  /** Files to save as they are; what is missing is written from `json` and `config`. */
  files: Record<string, string>;
}

/** Reads a tokenizer from a Hugging Face folder (tokenizer.json and its companions) or from GGUF metadata. Throws TextError. */
export async function loadTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  return new Tokenizer('folder' in source ? await readFolder(source.folder) : readMetadata(source.gguf));
}

export class Tokenizer {
  /** One more than the largest id; a model's embedding may have more rows (padding), whose ids decode to nothing. */
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  /** Ids that end a text or a turn: of the tokenizer and of generation_config.json. */
  readonly eosTokenIds: readonly number[];
  /** Special tokens by their Hugging Face names (`bos_token`, `eos_token`, …), as the chat template sees them. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** Jinja source of the chat template, or null. */
  readonly chatTemplate: string | null;
  private readonly inner: HuggingFaceTokenizer;
  private readonly special: Set<number>;
  private readonly isByteLevel: boolean;
  private readonly decodePieces: ((pieces: string[]) => string) | null;
  private table: { bytes: Uint8Array; offsets: Uint32Array } | undefined;

  constructor(private readonly parts: Parts) {
    try {
      // clean_up_tokenization_spaces defaults to true in the library and would eat spaces before punctuation
      this.inner = new HuggingFaceTokenizer(javascriptForm(parts.json), { ...parts.config, clean_up_tokenization_spaces: false });
    } catch (error) {
      throw new TextError('ERR_TOKENIZER', `The tokenizer cannot be used: ${(error as Error).message}; check tokenizer.json against the model's original.`, { cause: error });
    }
    this.isByteLevel = find(parts.json.decoder, 'ByteLevel') !== undefined;
    this.decodePieces = byteFallbackDecoder(parts.json);
    this.special = new Set(parts.json.added_tokens.filter((token) => token.special).map((token) => token.id));
    this.specialTokens = specialTokens(parts.config);
    this.vocabSize = countIds(parts.json);
    this.bosTokenId = this.tokenToId(this.specialTokens['bos_token'] ?? '') ?? null;
    const eos = this.tokenToId(this.specialTokens['eos_token'] ?? '');
    this.eosTokenIds = [...new Set([...(eos === undefined ? [] : [eos]), ...parts.eosTokenIds])];
    this.chatTemplate = parts.chatTemplate;
  }

  /** Token ids of `text`. Names of special tokens in it become those tokens; begin-of-text is added only if asked for. */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    return this.inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }).ids;
  }

  /** Text of `ids`. Bytes that are not UTF-8 become U+FFFD; ids outside the vocabulary become nothing. */
  decode(ids: readonly number[] | Int32Array, options: DecodeOptions = {}): string {
    if (this.isByteLevel) {
      const decoder = this.streamDecoder(options);
      return decoder.push(ids as readonly number[]) + decoder.end();
    }
    const known = this.visible(ids, options);
    if (this.decodePieces) return this.decodePieces(known.map((id) => this.inner.id_to_token(id) as string));
    return known.length === 0 ? '' : this.inner.decode(known, { clean_up_tokenization_spaces: false }); // it throws on []
  }

  tokenToId(token: string): number | undefined {
    return this.inner.token_to_id(token);
  }

  idToToken(id: number): string | undefined {
    return this.inner.id_to_token(id);
  }

  isSpecial(id: number): boolean {
    return this.special.has(id);
  }

  /**
   * UTF-8 bytes of every token: token i is `bytes[offsets[i] … offsets[i + 1])`, `offsets` has vocabSize + 1 entries.
   * A piece's `▁` is a space here even at the start of a text, where decode() may drop it. Do not write to it.
   */
  tokenBytes(): { bytes: Uint8Array; offsets: Uint32Array } {
    return (this.table ??= bytesOfTokens(this.inner, this.vocabSize, this.parts.json, this.isByteLevel));
  }

  streamDecoder(options: DecodeOptions = {}): StreamDecoder {
    return this.isByteLevel ? this.streamBytes(options) : this.streamPieces(options);
  }

  /** Everything a Hugging Face folder needs to load this tokenizer: file name → contents. */
  files(): Record<string, string> {
    const { json, config, files, chatTemplate } = this.parts;
    const lines = (value: unknown): string => JSON.stringify(value, null, 2) + '\n';
    const special = Object.fromEntries(['bos_token', 'eos_token', 'unk_token', 'pad_token'].flatMap((key) => (this.specialTokens[key] === undefined ? [] : [[key, this.specialTokens[key]]])));
    return {
      'tokenizer.json': files['tokenizer.json'] ?? JSON.stringify(json),
      'tokenizer_config.json': files['tokenizer_config.json'] ?? lines(config),
      'special_tokens_map.json': files['special_tokens_map.json'] ?? lines(special),
      ...(chatTemplate !== null && { 'chat_template.jinja': chatTemplate }),
    };
  }

  private visible(ids: readonly number[] | Int32Array, { skipSpecialTokens = false }: DecodeOptions): number[] {
    return Array.from(ids).filter((id) => this.inner.id_to_token(id) !== undefined && !(skipSpecialTokens && this.special.has(id)));
  }

  /** ByteLevel tokens are bytes: a streaming UTF-8 decoder is exact. */
  private streamBytes(options: DecodeOptions): StreamDecoder {
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (ids) => {
        const { bytes, offsets } = this.tokenBytes();
        let text = '';
        for (const id of ids) {
          if (!(id >= 0 && id < this.vocabSize) || (options.skipSpecialTokens && this.special.has(id))) continue;
          text += utf8.decode(bytes.subarray(offsets[id], offsets[id + 1]), { stream: true });
        }
        return text;
      },
      end: () => utf8.decode(),
    };
  }

  /** Other families: decode a short window twice and emit the difference, holding back while it ends in U+FFFD. */
  private streamPieces(options: DecodeOptions): StreamDecoder {
    const ids: number[] = [];
    let start = 0; // the window begins with tokens already emitted, so that a leading-space rule sees a predecessor
    let done = 0;
    const advance = (final: boolean): string => {
      const before = this.decode(ids.slice(start, done), options);
      const now = this.decode(ids.slice(start), options);
      if (now.length <= before.length || (!final && now.endsWith('\uFFFD'))) return '';
      start = done;
      done = ids.length;
      return now.slice(before.length);
    };
    return {
      push: (more) => {
        ids.push(...more);
        return advance(false);
      },
      end: () => advance(true),
    };
  }
}

async function readFolder(folder: string): Promise<Parts> {
  const files: Record<string, string> = {};
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json', 'chat_template.jinja', 'chat_template.json']) {
    const text = await readFile(join(folder, name), 'utf8').catch((error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? undefined : Promise.reject(error)));
    if (text !== undefined) files[name] = text;
  }
  const parse = (name: string): Record<string, unknown> | undefined => {
    if (files[name] === undefined) return undefined;
    try {
      return JSON.parse(files[name]) as Record<string, unknown>;
    } catch (error) {
      throw new TextError('ERR_TOKENIZER', `${join(folder, name)} is not valid JSON (${(error as Error).message}); it is damaged or half-downloaded: fetch it again.`, { cause: error });
    }
  };
  const json = parse('tokenizer.json') as TokenizerJson | undefined;
  if (json === undefined) throw new TextError('ERR_TOKENIZER', `${folder} has no tokenizer.json; copy the one that belongs to this model into the folder.`);
  if (typeof json?.model !== 'object' || json.model === null || typeof json.model.vocab !== 'object' || !Array.isArray(json.added_tokens ?? [])) {
    throw new TextError('ERR_TOKENIZER', `${join(folder, 'tokenizer.json')} has no model.vocab: it is not a tokenizer of the tokenizers library; fetch the model again.`);
  }
  const complete = { ...json, added_tokens: json.added_tokens ?? [], normalizer: json.normalizer ?? null, pre_tokenizer: json.pre_tokenizer ?? null, post_processor: json.post_processor ?? null, decoder: json.decoder ?? null };
  const config: Record<string, unknown> = { ...parse('special_tokens_map.json'), ...(parse('tokenizer_config.json') ?? { tokenizer_class: 'PreTrainedTokenizerFast' }) };
  const generation = parse('generation_config.json')?.['eos_token_id'];
  const template = files['chat_template.jinja'] ?? namedTemplate(config['chat_template']) ?? namedTemplate(parse('chat_template.json')?.['chat_template']);
  return { json: complete, config, eosTokenIds: [generation].flat().filter((id): id is number => Number.isInteger(id)), chatTemplate: template ?? null, files };
}

/** A chat template is a string, or a list of named ones of which `default` is the plain one. */
function namedTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  return (value as { name?: string; template?: string }[]).find(({ name }) => name === 'default')?.template;
}

function readMetadata(metadata: Metadata): Parts {
  const { json, special, eosTokenIds, chatTemplate, contextLength } = readGgufVocabulary(metadata);
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast', // keeps transformers from rebuilding the splitter by the model's type
    ...special,
    ...(contextLength !== null && { model_max_length: contextLength }),
    clean_up_tokenization_spaces: false,
    added_tokens_decoder: Object.fromEntries(json.added_tokens.map(({ id, ...token }) => [id, token])),
    ...(chatTemplate !== null && { chat_template: chatTemplate }),
  };
  return { json, config, eosTokenIds, chatTemplate, files: {} };
}

/** `{eos_token: "</s>", …}` from a config whose values are strings or `{content}` objects. */
function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const content = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value;
    if (key.endsWith('_token') && typeof content === 'string') found[key] = content;
  }
  return found;
}

/**
 * Rust's Replace + ByteFallback + Fuse (+ Strip) for Llama 2's and Gemma's kind; null for every other decoder. The library's own
 * swallows U+FEFF, and counts broken bytes otherwise: in Rust one bad byte spoils its whole run of byte tokens.
 */
function byteFallbackDecoder(json: TokenizerJson): ((pieces: string[]) => string) | null {
  const steps = json.decoder?.['decoders'] as Component[] | undefined;
  if (!steps?.some((step) => step.type === 'ByteFallback') || !steps.every((step) => ['Replace', 'ByteFallback', 'Fuse', 'Strip'].includes(step.type))) return null;
  const leading = steps.find((step) => step.type === 'Strip')?.['start'] ?? 0;
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
  return (pieces) => {
    let text = '';
    let run: number[] = [];
    const endRun = (): void => {
      if (run.length === 0) return;
      try {
        text += utf8.decode(Uint8Array.from(run));
      } catch {
        text += '\uFFFD'.repeat(run.length);
      }
      run = [];
    };
    for (const piece of pieces) {
      const byte = BYTE_PIECE.exec(piece);
      if (byte) {
        run.push(parseInt(byte[1] as string, 16));
        continue;
      }
      endRun();
      text += piece.replaceAll('▁', ' ');
    }
    endRun();
    return leading === 1 && text.startsWith(' ') ? text.slice(1) : text;
  };
}

const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

function countIds(json: TokenizerJson): number {
  const { vocab } = json.model;
  let largest = Array.isArray(vocab) ? vocab.length - 1 : -1;
  if (!Array.isArray(vocab)) for (const token in vocab) largest = Math.max(largest, vocab[token] as number);
  for (const { id } of json.added_tokens) largest = Math.max(largest, id);
  return largest + 1;
}

function bytesOfTokens(inner: HuggingFaceTokenizer, count: number, json: TokenizerJson, isByteLevel: boolean): { bytes: Uint8Array; offsets: Uint32Array } {
  const added = new Set(json.added_tokens.map((token) => token.id));
  const table = byteOfCharacter();
  const utf8 = new TextEncoder();
  const bytesOf = (id: number): ArrayLike<number> => {
    const token = inner.id_to_token(id);
    if (token === undefined) return [];
    if (added.has(id)) return utf8.encode(token);
    if (isByteLevel) {
      const bytes = [...token].map((character) => table.get(character) ?? -1);
      return bytes.includes(-1) ? utf8.encode(token) : bytes; // outside GPT-2's table: as it stands, like the Rust decoder
    }
    const byte = BYTE_PIECE.exec(token);
    return byte ? [parseInt(byte[1] as string, 16)] : utf8.encode(token.replaceAll('▁', ' '));
  };
  const pieces = Array.from({ length: count }, (_, id) => bytesOf(id));
  const offsets = new Uint32Array(count + 1);
  pieces.forEach((piece, id) => { offsets[id + 1] = (offsets[id] as number) + piece.length; });
  const bytes = new Uint8Array(offsets[count] as number);
  pieces.forEach((piece, id) => bytes.set(piece, offsets[id]));
  return { bytes, offsets };
}
