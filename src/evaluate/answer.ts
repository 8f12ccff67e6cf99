/**
 * The answer that a completion gives, as text. The prompt asked the model to end with `Answer:`
 * (src/data/question.ts); a weak model often does otherwise, so there are fall-backs. They begin
 * with the rules of CREAM's official code (evaluate.py) and close its gaps:
 *
 *   letter after `Answer:`, `\boxed{…}` or `answer is`; else the last stand-alone label of the text
 *   (letter.ts)
 *   number after `####`, `Answer:`, `\boxed{…}` or `answer is`; else the last number of the text
 *   (number.ts)
 *   word     the last word of the line after `Answer:` or `answer is`; else of the text
 *
 * The first occurrence that names an answer counts: a model that has answered and runs on invents
 * further questions.
 */
import type { PromptRecord } from '../data/records.js';
import { extractLetter } from './letter.js';
import { ANSWER_COLON, ANSWER_IS, clean, linesAfter } from './marker.js';
import { extractNumber, numericValue } from './number.js';

/** What grading needs of a question. */
export type Known = Pick<PromptRecord, 'answer' | 'choices'>;

/**
 * Whether `completion` gives the known answer of `question`; false where none is known. What a
 * gold-answer reward asks.
 */
export function isCorrect(question: Known, completion: string): boolean {
  return matchesAnswer(extractAnswer(completion, question), question);
}

/**
 * What `text` answers, canonical (a label; a number without signs of grouping or units; a
 * lower-case word), or null.
 */
export function extractAnswer(text: string, question: Known): string | null {
  if (question.choices) return extractLetter(text, question.choices);
  // The kind of the known answer, not its value, says what to look for.
  return question.answer !== undefined && numericValue(question.answer) === null
    ? extractWord(text)
    : extractNumber(text);
}

/** Whether `extracted` is the known answer: numbers by value, labels and words by name. */
export function matchesAnswer(extracted: string | null, question: Known): boolean {
  if (extracted === null || question.answer === undefined) return false;
  if (question.choices) return extracted === question.answer;
  const expected = numericValue(question.answer);
  if (expected === null) return extracted === clean(question.answer);
  const given = numericValue(extracted);
  return given !== null && Math.abs(given - expected) <= 1e-9 * Math.max(1, Math.abs(expected));
}

export function extractWord(text: string): string | null {
  for (const marker of [ANSWER_COLON, ANSWER_IS]) {
    for (const line of linesAfter(text, marker)) {
      const word = lastWord(line);
      if (word !== undefined) return word;
    }
  }
  return lastWord(text.replace(new RegExp(ANSWER_COLON.source, 'i'), ' ')) ?? null;
}

/** `The opposite is "cold" (not warm).` → `cold`. */
function lastWord(text: string): string | undefined {
  return clean(text.replace(/\([^()]*\)/g, ' '))
    .split(' ')
    .filter((part) => part !== '')
    .at(-1);
}
