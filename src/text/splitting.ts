/**
 * Normalizers and pre-tokenizers of a tokenizer.json, to the letter of Rust's tokenizers. A kind
 * that is not here is refused: a text split otherwise than in training is silent damage.
 */
import * as library from '@huggingface/tokenizers';
import { byteOfCharacter, GPT2_PATTERN, split, textOf, type Component } from './tokenizer-json.js';

export type Normalizer = (text: string) => string;

/** A stretch that is not split yet. */
export interface Chunk {
  text: string;
  /** Whether it begins where the whole text begins. */
  first: boolean;
}
export type PreTokenizer = (chunks: Chunk[]) => Chunk[];

const UNICODE_FORMS = ['NFC', 'NFD', 'NFKC', 'NFKD'];

export function createNormalizer(step: Component | null): Normalizer {
  if (step === null) return (text) => text;
  const { type } = step;
  if (UNICODE_FORMS.includes(type)) return (text) => text.normalize(type);
  switch (type) {
    case 'Sequence': {
      const steps = list(step, 'normalizers').map(createNormalizer);
      return (text) => steps.reduce((result, normalize) => normalize(result), text);
    }
    case 'Prepend':
      return (text) => (text === '' ? '' : String(step['prepend']) + text);
    case 'Replace': {
      const [pattern, content] = [regularExpression(step), textOf(step, 'content', '')];
      return (text) => text.replace(pattern, () => content); // a function: `$&` means nothing
    }
    case 'Lowercase':
      // without the rule of the final sigma
      return (text) => Array.from(text, (character) => character.toLowerCase()).join('');
    case 'Strip':
      return (text) =>
        text
          .replace(step['strip_left'] === true ? /^\p{White_Space}+/u : /^(?:)/, '')
          .replace(step['strip_right'] === true ? /\p{White_Space}+$/u : /(?:)$/, '');
    default:
      throw new Error(`its normalizer ${JSON.stringify(type)} is not supported`);
  }
}

export function createPreTokenizer(step: Component | null): PreTokenizer {
  if (step === null) return (chunks) => chunks;
  switch (step.type) {
    case 'Sequence': {
      const steps = list(step, 'pretokenizers').map(createPreTokenizer);
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
      // \p{P} and what else ASCII has
      return splitter(/[\p{P}$+<=>^`|~]/gu, behaviour(step['behavior'] ?? 'Isolated'));
    case 'Whitespace':
      return splitter(
        /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu,
        'Removed',
        true,
      );
    case 'WhitespaceSplit':
      return splitter(/\p{White_Space}/gu, 'Removed');
    default:
      throw new Error(`its pre-tokenizer ${JSON.stringify(step.type)} is not supported`);
  }
}

function list(step: Component, key: string): Component[] {
  const steps = step[key];
  if (!Array.isArray(steps) || steps.some((inner) => typeof inner !== 'object' || inner === null))
    throw new Error(`its Sequence has no list of ${key}`);
  return steps as Component[];
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

/** What becomes of the stretches that match and of those between; `invert` swaps the two. */
function splitter(pattern: RegExp, how: Behaviour, invert = false): PreTokenizer {
  return (chunks) =>
    chunks.flatMap(({ text, first }) => {
      const stretches: { text: string; matches: boolean }[] = [];
      let end = 0;
      const push = (from: number, to: number, matches: boolean): void => {
        stretches.push({ text: text.slice(from, to), matches: matches !== invert });
      };
      for (const match of text.matchAll(pattern)) {
        if (end < match.index) push(end, match.index, false);
        push(match.index, match.index + match[0].length, true);
        end = match.index + match[0].length;
      }
      if (end < text.length) push(end, text.length, false);
      return join(stretches, how).flatMap((stretch, i) =>
        stretch === ''
          ? []
          : [{ text: stretch, first: first && i === 0 && text.startsWith(stretch) }],
      );
    });
}

function join(stretches: { text: string; matches: boolean }[], how: Behaviour): string[] {
  if (how === 'Isolated') return stretches.map(({ text }) => text);
  if (how === 'Removed') return stretches.filter(({ matches }) => !matches).map(({ text }) => text);
  const backwards = how === 'MergedWithNext';
  const joined: string[] = [];
  let previous = false;
  for (const { text, matches } of backwards ? stretches.toReversed() : stretches) {
    const glue =
      joined.length > 0 && (how === 'Contiguous' ? matches === previous : matches && !previous);
    if (glue)
      joined.push(backwards ? text + (joined.pop() as string) : (joined.pop() as string) + text);
    else joined.push(text);
    previous = matches;
  }
  return backwards ? joined.reverse() : joined;
}

function byteLevelSplitter(step: Component): PreTokenizer {
  const bySpaces = step['use_regex'] === false ? null : splitter(compile(GPT2_PATTERN), 'Isolated');
  const characters = [...byteOfCharacter()]
    .sort((a, b) => a[1] - b[1])
    .map(([character]) => character);
  const utf8 = new TextEncoder();
  return (chunks) => {
    const spaced =
      step['add_prefix_space'] === true
        ? chunks.map((chunk) =>
            chunk.text.startsWith(' ') ? chunk : { ...chunk, text: ` ${chunk.text}` },
          )
        : chunks;
    return (bySpaces?.(spaced) ?? spaced).map((chunk) => {
      let text = '';
      for (const byte of utf8.encode(chunk.text)) text += characters[byte];
      return { ...chunk, text };
    });
  };
}

/**
 * SentencePiece's way: spaces become `▁`, one is put in front, and with `split` every `▁` begins a
 * chunk.
 */
function metaspace(step: Component): PreTokenizer {
  const mark = textOf(step, 'replacement', '▁');
  const scheme =
    step['prepend_scheme'] ?? (step['add_prefix_space'] === false ? 'never' : 'always');
  const words =
    step['split'] === false ? null : splitter(new RegExp(escape(mark), 'gu'), 'MergedWithNext');
  return (chunks) => {
    const marked = chunks.map(({ text, first }) => {
      const replaced = text.replaceAll(' ', mark);
      const wanted = scheme === 'always' || (scheme === 'first' && first);
      return { text: wanted && !replaced.startsWith(mark) ? mark + replaced : replaced, first };
    });
    return words?.(marked) ?? marked;
  };
}

/** The pattern of a Split or Replace, which is Oniguruma's, as JavaScript has it. */
export function regularExpression(step: Component): RegExp {
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
