/**
 * The answer that a completion gives, as text. The prompt asked the model to end with `Answer:` (src/data/question.ts); a weak model
 * often does otherwise, so there are fall-backs (the rules of CREAM's official code, evaluate.py, with its gaps closed):
 *
 *   letter   the stand-alone label after `Answer:`, else after `answer is`, else the last stand-alone label of the text. The labels are
 *            the question's own: ARC has 1–4, three choices, and E (the official code knows A–D alone)
 *   number   the first number after `####`, else after `Answer:`, else after `answer is`, else the last number of the text
 *   word     the word after `Answer:`, else after `answer is`, else the last word of the text
 *
 * The first occurrence of a marker counts: a model that has answered and runs on invents further questions.
 */
import type { Choice, PromptRecord } from '../data/records.js';

/** What `text` answers, canonical (a label; a number without signs of grouping or units; a lower-case word), or null. */
export function extractAnswer(text: string, prompt: Pick<PromptRecord, 'answer' | 'choices'>): string | null {
  if (prompt.choices) return extractLetter(text, prompt.choices);
  // The kind of the known answer, not its value, says what to look for.
  return prompt.answer !== undefined && numericValue(prompt.answer) === null ? extractWord(text) : extractNumber(text);
}

/** Whether `extracted` is the known answer: numbers by value, labels and words by name. */
export function isCorrect(extracted: string | null, prompt: Pick<PromptRecord, 'answer' | 'choices'>): boolean {
  if (extracted === null || prompt.answer === undefined) return false;
  if (prompt.choices) return extracted === prompt.answer;
  const expected = numericValue(prompt.answer);
  if (expected === null) return extracted === clean(prompt.answer);
  const given = numericValue(extracted);
  return given !== null && Math.abs(given - expected) <= 1e-9 * Math.max(1, Math.abs(expected));
}

const HASHES = /####/;
const ANSWER_COLON = /\banswer\s*(?:\*\*|__)?\s*[::]/i;
const ANSWER_IS = /\banswer\s+is\b(?:\s*[::])?/i;

/** Everything after the first occurrence of `marker`, or null. */
function after(text: string, marker: RegExp): string | null {
  const match = marker.exec(text);
  return match ? text.slice(match.index + match[0].length) : null;
}

/** The first line that says something. */
const firstLine = (text: string): string => text.split('\n').find((line) => /[\p{L}\p{N}]/u.test(line)) ?? '';

export function extractLetter(text: string, choices: readonly Choice[]): string | null {
  const labels = choices.map(({ label }) => label);
  for (const marker of [ANSWER_COLON, ANSWER_IS]) {
    const rest = after(text, marker);
    if (rest === null) continue;
    const line = firstLine(rest);
    // `Answer: a clock` names a choice by its text; the article is not the label A.
    const named = choices.filter((choice) => clean(choice.text) === clean(line));
    if (named.length === 1) return named[0]!.label;
    const label = standAlone(line, labels, true)[0];
    if (label !== undefined) return label;
  }
  return standAlone(text, labels, false).at(-1) ?? null;
}

/** Labels that stand alone in `text`, in order. `anyCase` also takes `b` for B; a leading article `A magnet…` is no label. */
function standAlone(text: string, labels: readonly string[], anyCase: boolean): string[] {
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}_'’.-])(?:${labels.map(escapePattern).join('|')})(?![\\p{L}\\p{N}_'’]|[.,-][\\p{L}\\p{N}])`, anyCase ? 'giu' : 'gu');
  return [...text.matchAll(pattern)].flatMap((match) => {
    const isArticle = /^a$/i.test(match[0]) && /^ \p{Ll}/u.test(text.slice(match.index + 1)) && !/^ (?:because|is|since|as|and|or)\b/.test(text.slice(match.index + 1));
    const label = labels.find((l) => l === match[0]) ?? labels.find((l) => l.toLowerCase() === match[0].toLowerCase());
    return isArticle || label === undefined ? [] : [label];
  });
}

// Sign, then digits grouped by commas or not, with decimals; or a fraction. A minus after a digit or letter is a hyphen or a difference.
const DIGITS = String.raw`(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)`;
const NUMBER = new RegExp(
  String.raw`(?<![\p{L}\d_.])(?:(?<![\p{L}\d)]\s?)-\s?)?(?:[$€£]\s?)?-?(?:${DIGITS}(?:\.\d+)?(?:\s?\/\s?${DIGITS}(?![\d./]))?|\.\d+)`, 'gu');

export function extractNumber(text: string): string | null {
  const plain = text.replace(/[−–]/g, '-').replace(/\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}/g, '$1/$2').replace(/\\\$/g, '$').replace(/\\(?:boxed|text)\s*\{/g, ' ');
  for (const marker of [HASHES, ANSWER_COLON, ANSWER_IS]) {
    const rest = after(plain, marker);
    const first = rest === null ? undefined : numbers(rest)[0];
    if (first !== undefined) return first;
  }
  return numbers(plain).at(-1) ?? null;
}

const numbers = (text: string): string[] => [...text.matchAll(NUMBER)].map((match) => canonical(match[0]));

/** `-$1,234.50` → `-1234.5`, `3 / 4` → `3/4`. */
function canonical(written: string): string {
  const negative = written.includes('-') ? '-' : '';
  return negative + written.replace(/[^\d./]/g, '').split('/').map((part) => part.replace(/^0+(?=\d)/, '').replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '').replace(/^\./, '0.')).join('/');
}

/** The value of a whole text that is one number or fraction, or null. */
export function numericValue(text: string): number | null {
  const match = /^(-?)[$€£]?(-?)([\d,]*\.?\d+)(?:\/([\d,]*\.?\d+))?%?$/.exec(text.trim().replace(/\s+/g, ''));
  if (!match) return null;
  const part = (digits: string) => Number(digits.replaceAll(',', ''));
  const value = part(match[3]!) / (match[4] === undefined ? 1 : part(match[4]));
  return Number.isFinite(value) ? (match[1] || match[2] ? -value : value) : null;
}

export function extractWord(text: string): string | null {
  for (const marker of [ANSWER_COLON, ANSWER_IS]) {
    const rest = after(text, marker);
    const word = rest === null ? undefined : lastWord(firstLine(rest));
    if (word !== undefined) return word;
  }
  return lastWord(text.replace(ANSWER_COLON, ' ')) ?? null;
}

/** `The opposite is "cold" (not warm).` → `cold`. */
function lastWord(text: string): string | undefined {
  return clean(text.replace(/\([^()]*\)/g, ' ')).split(' ').filter((part) => part !== '').at(-1);
}

/** Lower case, letters and digits and inner hyphens alone, no leading article. */
function clean(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{N}'’-]+/gu, ' ').replace(/(?<![\p{L}\p{N}])['’-]+|['’-]+(?![\p{L}\p{N}])/gu, ' ').replace(/\s+/g, ' ').trim().replace(/^(?:the|an|a) (?=\S)/, '');
}

const escapePattern = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
