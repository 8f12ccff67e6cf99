/**
 * The models of @huggingface/tokenizers, filled in steps: their own constructors hold the event
 * loop for a second at the 500 thousand merges of Gemma.
 */
import * as library from '@huggingface/tokenizers';
import { forEach, type Steps } from '../files/steps.js';
import { idsOf, type TokenizerJson } from './tokenizer-json.js';

/** The parts of the library's models that are used; its declarations hide them. */
interface MergingModel {
  tokens_to_ids: ReadonlyMap<string, number>;
  unk_token_id?: number | undefined;
  fuse_unk?: boolean;
}
export interface BpeModel extends MergingModel {
  /** The tokens of chunks. */
  (chunks: string[]): string[];
  /** The rank of a pair, by its JSON. */
  bpe_ranks: Map<string, number>;
  end_of_word_suffix?: string | null;
}
export interface UnigramModel extends MergingModel {
  /** Log-probability of each token, by id. */
  scores: number[];
  /** Log-probability of a character that is no token. */
  unk_score: number;
  /** Whether tokens are so long that the search for them may take long at every character. */
  slow: boolean;
  trie: {
    push(token: string): void;
    common_prefix_search(characters: string[], at: number): Iterable<string>;
  };
}
const { BPE, Unigram } = library as unknown as {
  BPE: new (model: object) => BpeModel;
  Unigram: new (model: object, eos: string) => UnigramModel;
};

type Model = TokenizerJson['model'];

/**
 * The byte-pair model. @throws Error, one clause, for one that would give other ids than in Rust's
 * tokenizers
 */
export function* createBpe(model: Model): Steps<BpeModel> {
  if (Number(model['dropout'] ?? 0) !== 0)
    throw new Error('its model has a dropout, which makes ids random; set it to null');
  if ((model['continuing_subword_prefix'] ?? '') !== '')
    throw new Error('its model has a continuing_subword_prefix, which is not supported');
  const vocabulary = yield* idsOf(model.vocab);
  const made = new BPE({ ...model, vocab: {}, merges: [] });
  made.tokens_to_ids = vocabulary;
  made.unk_token_id = vocabulary.get(model['unk_token'] as string);
  const unknown = model['byte_fallback'] === true ? null : (model['unk_token'] ?? null);
  yield* forEach(model.merges ?? [], ([left, right], rank) => {
    for (const token of [left, right, left + right])
      if (!vocabulary.has(token))
        throw new Error(
          `it merges ${JSON.stringify(left)} and ${JSON.stringify(right)}, and its vocabulary ` +
            `has no ${JSON.stringify(token)}`,
        );
    if (left === unknown || right === unknown)
      throw new Error(`it merges its unknown token ${JSON.stringify(unknown)}`);
    made.bpe_ranks.set(JSON.stringify([left, right]), rank);
  });
  return made;
}

/** Longest token of a Unigram model, and most characters of all together; XLM-R has 1.4 million. */
const MOST_IN_TOKEN = 1024;
const MOST_IN_ALL = 4_000_000;
/** At every character the tokens that begin there are compared, each of at most this length. */
const QUICK_TOKEN = 64;

/** What the library takes off the lowest log-probability for a character that is no token. */
const UNKNOWN_PENALTY = 10;

/** The Unigram model. @throws Error, one clause, for one that needs too much memory or time */
export function* createUnigram(model: Model): Steps<UnigramModel> {
  const tokens = model.vocab as [string, number][];
  const made = new Unigram({ ...model, vocab: tokens.slice(0, 1) }, '');
  made.tokens_to_ids = yield* idsOf(tokens);
  made.scores = [];
  let lowest = Infinity;
  let [characters, longest] = [0, 0];
  yield* forEach(tokens, ([token, score], id) => {
    characters += token.length;
    longest = Math.max(longest, token.length);
    if (token.length > MOST_IN_TOKEN)
      throw new Error(`its token ${id} is ${token.length} characters long`);
    if (characters > MOST_IN_ALL)
      throw new Error(`its tokens have more than ${MOST_IN_ALL} characters together`);
    made.trie.push(token);
    made.scores.push(score);
    lowest = Math.min(lowest, score);
  });
  made.slow = longest > QUICK_TOKEN;
  made.unk_score = lowest - UNKNOWN_PENALTY;
  const unknown = made.unk_token_id ?? null;
  if (unknown !== null) made.scores[unknown] = made.unk_score;
  return made;
}
