/**
 * Text → ids, as in Rust's tokenizers: added tokens are found, the rest is normalized, split and
 * merged. @huggingface/tokenizers does the merging; the parts in which that library differs from
 * Rust (flags of added tokens, splits, white space) are our own.
 */
import * as library from '@huggingface/tokenizers';
import { AddedTokens } from './added-tokens.js';
import { mergeChunk } from './bpe.js';
import {
  createNormalizer,
  createPreTokenizer,
  type Normalizer,
  type PreTokenizer,
} from './splitting.js';
import { LIMIT_MS, withTimeLimit } from './time-limit.js';
import { segmentChunk, type UnigramModel } from './unigram.js';
import {
  byteOfCharacter,
  isKnownPattern,
  type Component,
  type TokenizerJson,
} from './tokenizer-json.js';

/**
 * The common interface of the library's models; its declarations hide them behind imports without
 * extensions.
 */
interface MergingModel {
  tokens_to_ids: Map<string, number>;
  unk_token_id?: number | undefined;
  (chunks: string[]): string[];
  /** BPE: the rank of a pair, by its JSON. */
  bpe_ranks?: Map<string, number>;
  end_of_word_suffix?: string | null;
  fuse_unk?: boolean;
}
const { BPE, Unigram } = library as unknown as {
  BPE: new (model: object) => MergingModel;
  Unigram: new (model: object, eos: string) => MergingModel & UnigramModel;
};

/** Chunks of at least this length are merged in steps. */
const LONG_CHUNK = 2000;
/** Characters of work between two yields. */
const STEP = 1000;
/** What a character adds to the time limit under unknown patterns; ordinary ones take 0.0002 ms. */
const LIMIT_MS_PER_CHARACTER = 0.01;

/** Encodes text with the rules of one tokenizer.json. */
export class Encoder {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly model: MergingModel;
  private readonly unigram: (MergingModel & UnigramModel) | undefined;
  private readonly normalize: Normalizer;
  private readonly split: PreTokenizer;
  private readonly asWritten: AddedTokens;
  private readonly asNormalized: AddedTokens;
  private readonly around: { before: number[]; after: number[] };
  /** Whether a pattern of the file may backtrack, so that every text has a time limit. */
  readonly limited: boolean;
  /** Rust drops unknown characters before it merges, so their neighbours may become adjacent. */
  private readonly forgets: boolean;
  private readonly wholeChunks: boolean;
  private readonly fallsBack: boolean;
  /** Maximum ratio of a text's bytes to those of its tokens; Infinity if parts may be dropped. */
  readonly mostShrinkage: number;

  constructor(json: TokenizerJson) {
    const { model } = json;
    if (model.type !== 'BPE' && model.type !== 'Unigram')
      throw new Error(
        `its model ${JSON.stringify(model.type ?? null)} is not supported (supported: BPE, ` +
          'Unigram)',
      );
    if (model.type === 'BPE') refuseVariants(model);
    this.unigram = model.type === 'Unigram' ? new Unigram(model, '') : undefined;
    this.model = this.unigram ?? new BPE(model);
    this.vocabulary = this.model.tokens_to_ids;
    this.normalize = createNormalizer(json.normalizer);
    this.split = createPreTokenizer(json.pre_tokenizer);
    this.asWritten = new AddedTokens(
      json.added_tokens.filter((token) => !token.normalized),
      (content) => content,
    );
    this.limited = [...patterns(json.normalizer), ...patterns(json.pre_tokenizer)].some(
      (pattern) => !isKnownPattern(pattern),
    );
    this.asNormalized = this.within(0, () => {
      const normalized = json.added_tokens.filter((token) => token.normalized);
      return new AddedTokens(normalized, this.normalize);
    });
    this.around = around(
      json.post_processor,
      new Map([
        ...this.vocabulary,
        ...json.added_tokens.map((token): [string, number] => [token.content, token.id]),
      ]),
    );
    this.forgets =
      model.type === 'BPE' &&
      (model['unk_token'] ?? null) === null &&
      model['byte_fallback'] !== true &&
      [...byteOfCharacter().keys()].some((character) => !this.vocabulary.has(character));
    this.wholeChunks = model['ignore_merges'] === true;
    this.fallsBack = model['byte_fallback'] === true;
    if (this.fallsBack) refuseMissingBytes(this.vocabulary);
    this.mostShrinkage =
      this.forgets || json.added_tokens.some(({ lstrip, rstrip }) => lstrip || rstrip)
        ? Infinity
        : shrinkage(json.normalizer, 'normalizers') *
          shrinkage(json.pre_tokenizer, 'pretokenizers') *
          (this.model.fuse_unk === true && model['byte_fallback'] !== true ? Infinity : 1);
  }

  encode(text: string, addSpecialTokens: boolean): number[] {
    const ids: number[] = [];
    this.within(text.length, () => {
      for (const _ of this.steps(text, addSpecialTokens, ids));
    });
    return ids;
  }

  /**
   * `encode` in steps that append to `ids`, without a time limit. Yields the number of characters
   * that each step processed, about a thousand.
   */
  *steps(text: string, addSpecialTokens: boolean, ids: number[]): Generator<number> {
    if (addSpecialTokens) ids.push(...this.around.before);
    const whole = text.replace(/\p{Cs}/gu, '\uFFFD'); // half a surrogate pair has no bytes
    let work = 0;
    for (const chunk of this.chunks(whole)) {
      if (typeof chunk === 'number') ids.push(chunk);
      else if (chunk.length < LONG_CHUNK) this.merge(chunk, ids);
      else {
        yield* this.mergeLong(chunk, ids);
        continue;
      }
      work += typeof chunk === 'number' ? 1 : chunk.length;
      if (work < STEP) continue;
      yield work;
      work = 0;
    }
    if (addSpecialTokens) ids.push(...this.around.after);
    if (work > 0) yield work;
  }

  private within<T>(characters: number, work: () => T): T {
    return this.limited
      ? withTimeLimit(work, LIMIT_MS + LIMIT_MS_PER_CHARACTER * characters)
      : work();
  }

  /** The chunks that are merged separately, and the ids of the added tokens between them. */
  private *chunks(text: string): Generator<string | number> {
    for (const section of this.asWritten.split(text)) {
      if (section.id !== undefined) yield section.id;
      else
        for (const part of this.asNormalized.split(this.normalize(section.text))) {
          if (part.id !== undefined) yield part.id;
          else
            for (const chunk of this.split([
              { text: part.text, first: section.start === 0 && part.start === 0 },
            ]))
              yield chunk.text;
        }
    }
  }

  private merge(chunk: string, ids: number[]): void {
    if (this.unigram) return this.push(drained(segmentChunk(chunk, this.unigram)), ids);
    for (const token of this.model([this.known(chunk)])) {
      const id = this.idOf(token);
      if (id !== undefined) ids.push(id);
    }
  }

  private *mergeLong(chunk: string, ids: number[]): Generator<number> {
    const { bpe_ranks: ranks } = this.model;
    const known = this.known(chunk);
    if (this.model.end_of_word_suffix || this.wholeChunk(known)) return this.merge(chunk, ids);
    const tokens = this.unigram
      ? yield* segmentChunk(known, this.unigram)
      : yield* mergeChunk(known, (left, right) => ranks!.get(JSON.stringify([left, right])));
    this.push(tokens, ids);
  }

  /** Adds the ids of merged tokens; neighbouring unknown ones count once if the model says so. */
  private push(tokens: readonly string[], ids: number[]): void {
    const { unk_token_id: unknown, fuse_unk: fuses } = this.model;
    let before: number | undefined;
    for (const token of tokens)
      for (const id of this.partsOf(token).map((part) => this.idOf(part))) {
        if (id !== undefined && !(fuses && id === unknown && before === unknown)) ids.push(id);
        before = id;
      }
  }

  /** A token that is not in the vocabulary as its bytes, or as it is where it remains unknown. */
  private partsOf(token: string): string[] {
    if (this.vocabulary.has(token)) return [token];
    if (!this.unigram) return this.model([token]);
    if (this.fallsBack) return byteTokens(token);
    if ((this.model.unk_token_id ?? null) === null)
      throw new Error(`its vocabulary has no ${JSON.stringify(token)}, and its unk_id is null`);
    return [token];
  }

  private idOf(token: string): number | undefined {
    return this.vocabulary.get(token) ?? this.model.unk_token_id;
  }

  private known(chunk: string): string {
    return this.forgets && !this.wholeChunk(chunk)
      ? Array.from(chunk)
          .filter((character) => this.vocabulary.has(character))
          .join('')
      : chunk;
  }

  private wholeChunk(chunk: string): boolean {
    return this.wholeChunks && this.vocabulary.has(chunk);
  }
}

/** What `steps` returns once it has run to its end. */
function drained<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** @throws Error for a BPE model that would give other ids than in Rust's tokenizers */
function refuseVariants(model: TokenizerJson['model']): void {
  if (Number(model['dropout'] ?? 0) !== 0)
    throw new Error('its model has a dropout, which makes ids random; set it to null');
  if ((model['continuing_subword_prefix'] ?? '') !== '')
    throw new Error('its model has a continuing_subword_prefix, which is not supported');
  const vocabulary = new Set(Object.keys(model.vocab));
  const unknown = model['byte_fallback'] === true ? null : (model['unk_token'] ?? null);
  for (const [left, right] of (model.merges ?? []) as [string, string][]) {
    for (const token of [left, right, left + right])
      if (!vocabulary.has(token))
        throw new Error(
          `it merges ${JSON.stringify(left)} and ${JSON.stringify(right)}, and its vocabulary ` +
            `has no ${JSON.stringify(token)}`,
        );
    if (left === unknown || right === unknown)
      throw new Error(`it merges its unknown token ${JSON.stringify(unknown)}`);
  }
}

/** The tokens that stand for the bytes of a text that is not in the vocabulary. */
const byteTokens = (text: string): string[] => Array.from(Buffer.from(text), byteToken);

const byteToken = (byte: number): string =>
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** @throws Error for a model that falls back to bytes and lacks some of their tokens */
function refuseMissingBytes(vocabulary: ReadonlyMap<string, number>): void {
  for (let byte = 0; byte < 256; byte++)
    if (!vocabulary.has(byteToken(byte)))
      throw new Error(
        `its model has byte_fallback: true, and its vocabulary has no ${byteToken(byte)}`,
      );
}

/** Maximum ratio of a text's bytes before `step` to those after it. */
function shrinkage(step: Component | null, list: 'normalizers' | 'pretokenizers'): number {
  switch (step?.type) {
    case undefined:
    case 'Prepend':
    case 'ByteLevel':
    case 'Metaspace':
    case 'Digits':
      return 1;
    case 'NFC': // a base character with its marks becomes one of at least a third of the bytes
      return 3;
    case 'Split':
    case 'Punctuation':
      return step['behavior'] === 'Removed' ? Infinity : 1;
    case 'Replace': {
      const pattern = (step['pattern'] as { String?: unknown } | undefined)?.String;
      const content = step['content'];
      return typeof pattern === 'string' && typeof content === 'string' && content !== ''
        ? Math.max(1, Buffer.byteLength(pattern) / Buffer.byteLength(content))
        : Infinity;
    }
    case 'Sequence':
      return (step[list] as Component[]).reduce(
        (product, inner) => product * shrinkage(inner, list),
        1,
      );
    default:
      return Infinity;
  }
}

/** The tokens that the post-processor adds before and after a single text. */
function around(
  step: Component | null,
  ids: ReadonlyMap<string, number>,
): { before: number[]; after: number[] } {
  const pair = (key: string): number[] => [(step?.[key] as [string, number])[1]];
  switch (step?.type) {
    case undefined:
    case 'ByteLevel':
      return { before: [], after: [] };
    case 'RobertaProcessing':
    case 'BertProcessing':
      return { before: pair('cls'), after: pair('sep') };
    case 'Sequence': {
      const inner = (step?.['processors'] as Component[]).map((processor) =>
        around(processor, ids),
      );
      return {
        before: inner.toReversed().flatMap(({ before }) => before),
        after: inner.flatMap(({ after }) => after),
      };
    }
    case 'TemplateProcessing': {
      const items = step?.['single'] as { Sequence?: unknown; SpecialToken?: { id: string } }[];
      if (!Array.isArray(items) || items.some((item) => typeof item !== 'object' || item === null))
        throw new Error('its post-processor has no list `single`');
      const named = step?.['special_tokens'] as Record<string, { ids?: number[] }> | undefined;
      const at = items.findIndex((item) => item.Sequence !== undefined);
      const of = (part: typeof items): number[] =>
        part.flatMap(({ SpecialToken: token }) => {
          const found =
            token &&
            ((named && Object.hasOwn(named, token.id) ? named[token.id]?.ids : undefined) ??
              ids.get(token.id));
          if (found === undefined)
            throw new Error(
              `its post-processor names the token ${JSON.stringify(token?.id)}, which is ` +
                'not in the vocabulary',
            );
          return found;
        });
      return { before: of(items.slice(0, at)), after: of(items.slice(at + 1)) };
    }
    default:
      throw new Error(`its post-processor ${JSON.stringify(step?.type)} is not supported`);
  }
}

/** All regular expressions of the file. */
function patterns(step: Component | null): string[] {
  if (step === null) return [];
  const own = (step['pattern'] as { Regex?: unknown } | undefined)?.Regex;
  return [
    ...(typeof own === 'string' ? [own] : []),
    ...['pretokenizers', 'normalizers'].flatMap((key) =>
      ((step[key] as Component[] | undefined) ?? []).flatMap(patterns),
    ),
  ];
}
