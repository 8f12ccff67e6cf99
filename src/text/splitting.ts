/**
 * Normalizers and pre-tokenizers of a tokenizer.json, exactly as in Rust's tokenizers. Other kinds
 * are refused, because text that is split differently from training silently gives wrong numbers.
 */
import * as library from '@huggingface/tokenizers';
import { byteOfCharacter, GPT2_PATTERN, split, textOf, type Component } from './tokenizer-json.js';

export type Normalizer = (text: string) => string;

/** A part of the text that is not split yet. */
export interface Chunk {
  text: string;
  /** Whether it begins where the whole text begins. */
  first: boolean;
}
/** Splits lazily: a long text is split only as far as its chunks are requested. */
export type PreTokenizer = (chunks: Iterable<Chunk>) => Iterable<Chunk>;

const UNICODE_FORMS = ['NFC', 'NFD', 'NFKC', 'NFKD'];

/** Maximum growth of a text; U+FDFA, the maximum in Unicode, becomes 18 characters in NFKD. */
const MOST_GROWTH = 32;
/** Characters that a normalizer may add to any text, however short. */
const SMALL = 4096;

/** `step` as a function that refuses unbounded growth of a text. */
export function createNormalizer(step: Component | null): Normalizer {
  const normalize = unbounded(step);
  return (text) => normalize(text, SMALL + MOST_GROWTH * text.length);
}

/** @throws Error if the text becomes longer than `limit` */
type BoundedNormalizer = (text: string, limit: number) => string;

function unbounded(step: Component | null): BoundedNormalizer {
  if (step === null) return (text) => text;
  const { type } = step;
  if (UNICODE_FORMS.includes(type)) return (text, limit) => bounded(text.normalize(type), limit);
  switch (type) {
    case 'Sequence': {
      const steps = (step['normalizers'] as Component[]).map(unbounded);
      return (text, limit) => steps.reduce((result, normalize) => normalize(result, limit), text);
    }
    case 'Prepend':
      return (text, limit) =>
        text === '' ? '' : bounded(textOf(step, 'prepend', '') + text, limit);
    case 'Replace': {
      const [pattern, content] = [regularExpression(step), textOf(step, 'content', '')];
      return (text, limit) => {
        let left = limit;
        const replaced = text.replace(pattern, () => {
          left -= content.length;
          if (left < 0) throw tooLong(limit);
          return content;
        });
        return bounded(replaced, limit);
      };
    }
    case 'Lowercase':
      // without the rule of the final sigma
      return (text, limit) =>
        bounded(Array.from(text, (character) => character.toLowerCase()).join(''), limit);
    case 'Strip':
      return (text) =>
        text
          .replace(step['strip_left'] === true ? /^\p{White_Space}+/u : /^(?:)/, '')
          .replace(
            step['strip_right'] === true ? /(?<!\p{White_Space})\p{White_Space}+$/u : '',
            '',
          );
    default:
      throw new Error(`its normalizer ${JSON.stringify(type)} is not supported`);
  }
}

function bounded(text: string, limit: number): string {
  if (text.length > limit) throw tooLong(limit);
  return text;
}

const tooLong = (limit: number): Error =>
  new Error(`its normalizer makes more than ${limit} characters of it`);

/** `\w` of Rust's regex crate. */
const WORD = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}`;

/** The pre-tokenizer of a tokenizer.json. @throws Error for one that is not supported */
export function createPreTokenizer(step: Component | null): PreTokenizer {
  if (step === null) return (chunks) => chunks;
  switch (step.type) {
    case 'Sequence': {
      const steps = (step['pretokenizers'] as Component[]).map(createPreTokenizer);
      return (chunks) => steps.reduce((result, next) => next(result), chunks);
    }
    case 'Split':
      return splitter(
        regularExpression(step),
        behaviour(step['behavior']),
        step['invert'] === true,
      );
    case 'ByteLevel':
      return byteLevelSplitter(step);
    case 'Metaspace':
      return metaspace(step);
    case 'Digits':
      return splitter(/\p{N}/gu, step['individual_digits'] === true ? 'Isolated' : 'Contiguous');
    case 'Punctuation':
      // \p{P} and the other ASCII punctuation.
      return splitter(/[\p{P}$+<=>^`|~]/gu, behaviour(step['behavior'] ?? 'Isolated'));
    case 'Whitespace':
      return splitter(new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, 'gu'), 'Removed', true);
    case 'WhitespaceSplit':
      return splitter(/\p{White_Space}/gu, 'Removed');
    default:
      throw new Error(`its pre-tokenizer ${JSON.stringify(step.type)} is not supported`);
  }
}

const BEHAVIOURS = [
  'Isolated',
  'Removed',
  'Contiguous',
  'MergedWithPrevious',
  'MergedWithNext',
] as const;
type Behaviour = (typeof BEHAVIOURS)[number];

function behaviour(name: unknown): Behaviour {
  const found = BEHAVIOURS.find(
    (known) => known.toLowerCase() === String(name).toLowerCase().replaceAll('_', ''),
  );
  if (!found)
    throw new Error(
      `its pre-tokenizer Split has the unknown behavior ${JSON.stringify(name ?? null)}`,
    );
  return found;
}

interface Stretch {
  text: string;
  matches: boolean;
}

/** The parts of `text` that match and those between; `invert` swaps the two. */
function* stretchesOf(text: string, pattern: RegExp, invert: boolean): Generator<Stretch> {
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (end < match.index) yield { text: text.slice(end, match.index), matches: invert };
    yield { text: match[0], matches: !invert };
    end = match.index + match[0].length;
  }
  if (end < text.length) yield { text: text.slice(end), matches: invert };
}

/** Splits by the behaviour `how`, which says what happens to the parts that match. */
function splitter(pattern: RegExp, how: Behaviour, invert = false): PreTokenizer {
  return function* (chunks) {
    for (const { text, first } of chunks) {
      let begins = first;
      for (const stretch of join(stretchesOf(text, pattern, invert), how)) {
        if (stretch !== '') yield { text: stretch, first: begins && text.startsWith(stretch) };
        begins = false;
      }
    }
  };
}

function* join(stretches: Iterable<Stretch>, how: Behaviour): Generator<string> {
  let waiting: Stretch | undefined;
  for (const stretch of stretches) {
    if (how === 'Isolated') yield stretch.text;
    else if (how === 'Removed') {
      if (!stretch.matches) yield stretch.text;
    } else if (waiting !== undefined && joins(waiting, stretch, how)) {
      const text: string = waiting.text + stretch.text;
      // A part takes at most one match; a run of equal ones continues.
      if (how === 'Contiguous') waiting = { text, matches: stretch.matches };
      else {
        yield text;
        waiting = undefined;
      }
    } else {
      if (waiting !== undefined) yield waiting.text;
      waiting = stretch;
    }
  }
  if (waiting !== undefined) yield waiting.text;
}

function joins(left: Stretch, right: Stretch, how: Behaviour): boolean {
  if (how === 'Contiguous') return left.matches === right.matches;
  return how === 'MergedWithPrevious'
    ? right.matches && !left.matches
    : left.matches && !right.matches;
}

function byteLevelSplitter(step: Component): PreTokenizer {
  const bySpaces = step['use_regex'] === false ? null : splitter(compile(GPT2_PATTERN), 'Isolated');
  const characters = [...byteOfCharacter()]
    .sort((a, b) => a[1] - b[1])
    .map(([character]) => character);
  const utf8 = new TextEncoder();
  const withSpace = function* (chunks: Iterable<Chunk>): Iterable<Chunk> {
    for (const chunk of chunks)
      yield chunk.text.startsWith(' ') ? chunk : { ...chunk, text: ` ${chunk.text}` };
  };
  return function* (chunks) {
    const spaced = step['add_prefix_space'] === true ? withSpace(chunks) : chunks;
    for (const chunk of bySpaces?.(spaced) ?? spaced) {
      let text = '';
      for (const byte of utf8.encode(chunk.text)) text += characters[byte];
      yield { ...chunk, text };
    }
  };
}

/**
 * SentencePiece's splitting: spaces become `▁`, one is added at the front, and with `split` every
 * `▁` begins a chunk.
 */
function metaspace(step: Component): PreTokenizer {
  const mark = textOf(step, 'replacement', '▁');
  const scheme =
    step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always');
  const words =
    step['split'] === false ? null : splitter(new RegExp(escape(mark), 'gu'), 'MergedWithNext');
  const marked = function* (chunks: Iterable<Chunk>): Iterable<Chunk> {
    for (const { text, first } of chunks) {
      const replaced = text.replaceAll(' ', mark);
      const wanted = scheme === 'always' || (scheme === 'first' && first);
      yield { text: wanted && !replaced.startsWith(mark) ? mark + replaced : replaced, first };
    }
  };
  return (chunks) => words?.(marked(chunks)) ?? marked(chunks);
}

/** The pattern of a Split or Replace, translated from Oniguruma's syntax to JavaScript's. */
function regularExpression(step: Component): RegExp {
  const { String: plain, Regex: regex } = (step['pattern'] ?? {}) as {
    String?: unknown;
    Regex?: unknown;
  };
  if (typeof plain === 'string') return new RegExp(escape(plain), 'gu');
  if (typeof regex !== 'string') throw new Error(`its ${step.type} has no pattern`);
  return compile(regex);
}

const { SplitPreTokenizer } = library as unknown as {
  SplitPreTokenizer: new (step: Component) => { pattern: RegExp };
};

function compile(pattern: string): RegExp {
  return new SplitPreTokenizer(split(pattern)).pattern;
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
