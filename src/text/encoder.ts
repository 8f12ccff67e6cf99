/**
 * Text → ids, as Rust's tokenizers has it: added tokens are found, the rest is normalized, split
 * and merged. The merging itself is @huggingface/tokenizers'; what that library does otherwise than
 * Rust (flags of added tokens, splits, white space) is ours.
 */
import * as library from '@huggingface/tokenizers';
import { AddedTokens } from './added-tokens.js';
import {
  createNormalizer,
  createPreTokenizer,
  type Normalizer,
  type PreTokenizer,
} from './splitting.js';
import { withTimeLimit } from './time-limit.js';
import {
  byteOfCharacter,
  isKnownPattern,
  type Component,
  type TokenizerJson,
} from './tokenizer-json.js';

/**
 * What the library's models have in common; its declarations hide them behind imports without
 * extensions.
 */
interface MergingModel {
  tokens_to_ids: Map<string, number>;
  unk_token_id?: number | undefined;
  (chunks: string[]): string[];
}
const { BPE, Unigram } = library as unknown as {
  BPE: new (model: object) => MergingModel;
  Unigram: new (model: object, eos: string) => MergingModel;
};

export class Encoder {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly model: MergingModel;
  private readonly normalize: Normalizer;
  private readonly split: PreTokenizer;
  private readonly asWritten: AddedTokens;
  private readonly asNormalized: AddedTokens;
  private readonly around: { before: number[]; after: number[] };
  private readonly limited: boolean;
  /** Rust forgets unknown characters before it merges, so that their neighbours may meet. */
  private readonly forgets: boolean;
  private readonly wholeChunks: boolean;

  constructor(json: TokenizerJson) {
    const { model } = json;
    if (model.type !== 'BPE' && model.type !== 'Unigram')
      throw new Error(
        `its model ${JSON.stringify(model.type ?? null)} is not supported (supported: BPE, ` +
          'Unigram)',
      );
    this.model = model.type === 'BPE' ? new BPE(model) : new Unigram(model, '');
    this.vocabulary = this.model.tokens_to_ids;
    this.normalize = createNormalizer(json.normalizer);
    this.split = createPreTokenizer(json.pre_tokenizer);
    this.asWritten = new AddedTokens(
      json.added_tokens.filter((token) => !token.normalized),
      (content) => content,
    );
    this.asNormalized = new AddedTokens(
      json.added_tokens.filter((token) => token.normalized),
      this.normalize,
    );
    this.around = around(
      json.post_processor,
      new Map([
        ...this.vocabulary,
        ...json.added_tokens.map((token): [string, number] => [token.content, token.id]),
      ]),
    );
    this.limited = [...patterns(json.normalizer), ...patterns(json.pre_tokenizer)].some(
      (pattern) => !isKnownPattern(pattern),
    );
    this.forgets =
      model.type === 'BPE' &&
      (model['unk_token'] ?? null) === null &&
      model['byte_fallback'] !== true &&
      [...byteOfCharacter().keys()].some((character) => !this.vocabulary.has(character));
    this.wholeChunks = model['ignore_merges'] === true;
  }

  encode(text: string, addSpecialTokens: boolean): number[] {
    const whole = text.replace(/\p{Cs}/gu, '\uFFFD'); // half a surrogate pair has no bytes
    const ids = this.limited ? withTimeLimit(() => this.ids(whole)) : this.ids(whole);
    return addSpecialTokens ? [...this.around.before, ...ids, ...this.around.after] : ids;
  }

  private ids(text: string): number[] {
    const ids: number[] = [];
    for (const section of this.asWritten.split(text)) {
      if (section.id !== undefined) ids.push(section.id);
      else
        for (const part of this.asNormalized.split(this.normalize(section.text))) {
          if (part.id !== undefined) ids.push(part.id);
          else
            for (const chunk of this.split([
              { text: part.text, first: section.start === 0 && part.start === 0 },
            ]))
              this.merge(chunk.text, ids);
        }
    }
    return ids;
  }

  private merge(chunk: string, ids: number[]): void {
    const known =
      this.forgets && !(this.wholeChunks && this.vocabulary.has(chunk))
        ? Array.from(chunk)
            .filter((character) => this.vocabulary.has(character))
            .join('')
        : chunk;
    for (const token of this.model([known])) {
      const id = this.vocabulary.get(token) ?? this.model.unk_token_id;
      if (id !== undefined) ids.push(id);
    }
  }
}

/** What the post-processor puts before and after a single text. */
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

/** Every regular expression of the file. */
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
