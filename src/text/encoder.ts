/**
 * Text → ids, as in Rust's tokenizers: added tokens are found, the rest is normalized, split and
 * merged. @huggingface/tokenizers does the merging; the parts in which that library differs from
 * Rust (flags of added tokens, splits, white space) are our own.
 */
import { atOnce, type Steps } from '../files/steps.js';
import { AddedTokens } from './added-tokens.js';
import { mergeChunk } from './bpe.js';
import { createBpe, createUnigram, type BpeModel, type UnigramModel } from './merging-models.js';
import {
  createNormalizer,
  createPreTokenizer,
  type Normalizer,
  type PreTokenizer,
} from './splitting.js';
import { LIMIT_MS, withTimeLimit } from './time-limit.js';
import { segmentChunk } from './unigram.js';
import {
  byteOfCharacter,
  isId,
  isKnownPattern,
  type AddedToken,
  type Component,
  type TokenizerJson,
} from './tokenizer-json.js';

/** Chunks of at least this length are merged in steps. */
const LONG_CHUNK = 2000;
/** Characters of work between two yields. */
const STEP = 1000;
/** What a character adds to the time limit under unknown patterns; ordinary ones take 0.0002 ms. */
const LIMIT_MS_PER_CHARACTER = 0.01;

/** Encodes text with the rules of one tokenizer.json. */
export class Encoder {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly normalize: Normalizer;
  private readonly split: PreTokenizer;
  private asWritten!: AddedTokens;
  private asNormalized!: AddedTokens;
  private readonly around: { before: number[]; after: number[] };
  /** Whether a pattern may backtrack or the vocabulary is slow: every text has a time limit. */
  readonly limited: boolean;
  /** Rust drops unknown characters before it merges, so their neighbours may become adjacent. */
  private readonly forgets: boolean;
  private readonly wholeChunks: boolean;
  private readonly fallsBack: boolean;
  /** Maximum ratio of a text's bytes to those of its tokens; Infinity if parts may be dropped. */
  readonly mostShrinkage: number;

  /** The encoder of a checked tokenizer.json. Throws Error, one clause without a full stop. */
  static *of(json: TokenizerJson): Steps<Encoder> {
    const { type } = json.model;
    if (type !== 'BPE' && type !== 'Unigram')
      throw new Error(
        `its model ${JSON.stringify(type ?? null)} is not supported (supported: BPE, Unigram)`,
      );
    const unigram = type === 'Unigram' ? yield* createUnigram(json.model) : undefined;
    const encoder = new Encoder(json, unigram ?? (yield* createBpe(json.model)), unigram);
    yield* encoder.add(json.added_tokens);
    return encoder;
  }

  private constructor(
    json: TokenizerJson,
    private readonly model: BpeModel | UnigramModel,
    private readonly unigram: UnigramModel | undefined,
  ) {
    this.vocabulary = model.tokens_to_ids;
    this.normalize = createNormalizer(json.normalizer);
    this.split = createPreTokenizer(json.pre_tokenizer);
    this.limited =
      [...patterns(json.normalizer), ...patterns(json.pre_tokenizer)].some(
        (pattern) => !isKnownPattern(pattern),
      ) || unigram?.slow === true;
    const added = new Map(json.added_tokens.map(({ content, id }) => [content, id]));
    this.around = around(
      json.post_processor,
      (token) => added.get(token) ?? this.vocabulary.get(token),
    );
    this.forgets =
      unigram === undefined &&
      (json.model['unk_token'] ?? null) === null &&
      json.model['byte_fallback'] !== true &&
      [...byteOfCharacter().keys()].some((character) => !this.vocabulary.has(character));
    this.wholeChunks = json.model['ignore_merges'] === true;
    this.fallsBack = json.model['byte_fallback'] === true;
    if (this.fallsBack) refuseMissingBytes(this.vocabulary);
    this.mostShrinkage =
      this.forgets || json.added_tokens.some(({ lstrip, rstrip }) => lstrip || rstrip)
        ? Infinity
        : shrinkage(json.normalizer, 'normalizers') *
          shrinkage(json.pre_tokenizer, 'pretokenizers') *
          (model.fuse_unk === true && !this.fallsBack ? Infinity : 1);
  }

  private *add(tokens: readonly AddedToken[]): Steps<void> {
    const asWritten = tokens.filter((token) => !token.normalized);
    this.asWritten = yield* AddedTokens.of(asWritten.map((token) => [token.content, token]));
    const normalized = tokens.filter((token) => token.normalized);
    const texts = this.within(0, () => normalized.map(({ content }) => this.normalize(content)));
    this.asNormalized = yield* AddedTokens.of(normalized.map((token, i) => [texts[i]!, token]));
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
    if (this.unigram) return this.push(atOnce(segmentChunk(chunk, this.unigram)), ids);
    for (const token of (this.model as BpeModel)([this.known(chunk)])) {
      const id = this.idOf(token);
      if (id !== undefined) ids.push(id);
    }
  }

  private *mergeLong(chunk: string, ids: number[]): Generator<number> {
    const known = this.known(chunk);
    const { unigram } = this;
    if (unigram) return this.push(yield* segmentChunk(known, unigram), ids);
    const { bpe_ranks: ranks, end_of_word_suffix: suffix } = this.model as BpeModel;
    if (suffix || this.wholeChunk(known)) return this.merge(chunk, ids);
    const rankOf = (left: string, right: string) => ranks.get(JSON.stringify([left, right]));
    this.push(yield* mergeChunk(known, rankOf), ids);
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
    if (!this.unigram) return (this.model as BpeModel)([token]);
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

/** Most tokens that a post-processor may add to a text, one or two in real ones. */
const MOST_AROUND = 1000;

/** The tokens that the post-processor adds before and after a single text. @throws Error */
function around(
  step: Component | null,
  idOf: (token: string) => number | undefined,
): { before: number[]; after: number[] } {
  const pair = (key: string): number[] => {
    const id = (step?.[key] as unknown[] | undefined)?.[1];
    if (isId(id)) return [id];
    throw new Error(`its post-processor ${step?.type} has no "${key}" of a token and its id`);
  };
  switch (step?.type) {
    case undefined:
    case 'ByteLevel':
      return { before: [], after: [] };
    case 'RobertaProcessing':
    case 'BertProcessing':
      return { before: pair('cls'), after: pair('sep') };
    case 'Sequence': {
      const inner = (step?.['processors'] as Component[]).map((processor) =>
        around(processor, idOf),
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
      let count = 0;
      const at = items.findIndex((item) => item.Sequence !== undefined);
      const of = (part: typeof items): number[] =>
        part.flatMap(({ SpecialToken: token }) => {
          const found =
            token &&
            ((named && Object.hasOwn(named, token.id) ? named[token.id]?.ids : undefined) ??
              idOf(token.id));
          const ids = [found].flat();
          if (!ids.every(isId))
            throw new Error(
              `its post-processor names the token ${JSON.stringify(token?.id)}, which is ` +
                'not in the vocabulary',
            );
          count += ids.length;
          if (count > MOST_AROUND)
            throw new Error(`its post-processor adds more than ${MOST_AROUND} tokens to a text`);
          return ids;
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
