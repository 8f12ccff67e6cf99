/**
 * The answer that a completion gives, as text. The prompt asks the model to end with `Answer:`
 * (src/data/question.ts); a weak model often does not, so there are fall-backs. They extend the
 * rules of CREAM's official code (evaluate.py):
 *
 *   letter   after `<answer>`, `Answer:`, `\boxed{…}` or `answer is`; else the last stand-alone
 *            label of the text (letter.ts)
 *   number   after `####`, `<answer>`, `Answer:`, `\boxed{…}` or `answer is`; else the last number
 *            of the text (number.ts)
 *   words    as many last words as the known answer has, of the line after `Answer:` or
 *            `answer is`; else of the text
 *
 * The first marker in the text that names an answer counts, whatever its kind, because a model that
 * continues after its answer invents further questions. Text within `<think>…</think>` is not read.
 */
import type { PromptRecord } from '../data/records.js';
import { extractLetter } from './letter.js';
import {
  ANSWER_COLON,
  ANSWER_IS,
  ANSWER_TAG,
  BINDS,
  clean,
  linesAfter,
  withoutThoughts,
} from './marker.js';
import { extractNumber, numberWithUnit, numericValue } from './number.js';

/** The columns of a question that grading reads. */
export type Known = Pick<PromptRecord, 'answer' | 'choices'>;

/** Whether `completion` gives the known answer of `question`; false if none is known. */
export function isCorrect(question: Known, completion: string): boolean {
  return matchesAnswer(extractAnswer(completion, question), question);
}

/**
 * The answer of a row: the text after the last `####` of a solution, as in GSM8K (a number without
 * its unit), or the content of a `\boxed{…}` that is the whole answer.
 */
export function knownAnswer(answer: string): string {
  const parts = answer.split('####');
  const last = parts
    .at(-1)!
    .trim()
    .replace(/^\$([^$]+)\$$/, '$1');
  const boxed = /^\$*\s*\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\$*\.?$/.exec(last)?.[1]?.trim();
  return boxed ?? (parts.length > 1 ? numberWithUnit(last) : undefined) ?? last;
}

/**
 * The answer in `completion` in canonical form (a label; a number without grouping signs or units;
 * a lower-case word), or null.
 */
export function extractAnswer(completion: string, question: Known): string | null {
  const text = withoutThoughts(completion);
  if (question.choices) return extractLetter(text, question.choices);
  // Only the kind of the known answer is used, not its value.
  const known = question.answer === undefined ? undefined : knownAnswer(question.answer);
  if (known === undefined || numericValue(known) !== null) return extractNumber(text);
  const count = wordsOf(known).length;
  return count === 0 ? lastSign(text) || null : extractWords(text, count);
}

/**
 * Whether `extracted` is the known answer: numbers are compared by value, labels and words by text.
 */
export function matchesAnswer(extracted: string | null, question: Known): boolean {
  if (extracted === null || question.answer === undefined) return false;
  if (question.choices) return extracted === question.answer;
  const answer = knownAnswer(question.answer);
  const expected = numericValue(answer);
  if (expected === null) return extracted === (clean(answer) || lastSign(answer));
  const given = numericValue(extracted);
  return given !== null && Math.abs(given - expected) <= 1e-9 * Math.max(1, Math.abs(expected));
}

/** The last `count` words of the line after a marker, or of the text. */
function extractWords(text: string, count: number): string | null {
  for (const { line } of linesAfter(text, [ANSWER_TAG, ANSWER_COLON, ANSWER_IS])) {
    const words = lastWords(line, count);
    if (words !== '') return words;
  }
  return lastWords(text.replace(new RegExp(ANSWER_COLON.source, 'i'), ' '), count) || null;
}

/** `The opposite is "cold" (not warm).` → `cold`. */
function lastWords(text: string, count: number): string {
  const outside = wordsOf(text.replace(/\([^()]*\)/g, ' '));
  const words = outside.length > 0 ? outside : wordsOf(text);
  let first = Math.max(0, words.length - Math.max(1, count));
  while (BINDS.test(words[first - 1] ?? '')) first--;
  return words.slice(first).join(' ');
}

/** The last part of a text whose answer is punctuation alone, without quotation marks. */
const lastSign = (text: string): string =>
  text
    .trim()
    .split(/\s+/)
    .at(-1)!
    .replace(/["'`*“”]+/g, '')
    .replace(/(?<=.)\.$/, '');

const wordsOf = (text: string): string[] =>
  clean(text)
    .split(' ')
    .filter((part) => part !== '');
