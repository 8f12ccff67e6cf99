/**
 * The form in which the model gets a question: the question, then an instruction to think step by
 * step and to end with `Answer:` (CREAM's official code, prompts.py, has the same two parts).
 * Training prompts and evaluation questions have the same form.
 */
import { createHash } from 'node:crypto';
import type { Choice, Message } from './records.js';

export type AnswerKind = 'number' | 'letter' | 'word';

const INSTRUCTIONS: Record<AnswerKind, string> = {
  number: 'Think step by step in a few short sentences. End with "Answer:" and the number.',
  letter:
    'Think step by step in a few short sentences. End with "Answer:" and the letter of the ' +
    'right choice.',
  word: 'Think step by step in a few short sentences. End with "Answer:" and the word.',
};

/**
 * The kind of a known answer: a number (perhaps with a unit), or one word; undefined for an answer
 * of several words, or none.
 */
export function kindOf(answer: string | undefined): AnswerKind | undefined {
  const words = answer?.trim().split(/\s+/) ?? [];
  if (words[0] === undefined || words[0] === '' || words.length > 3) return undefined;
  if (/\p{N}/u.test(words.join(''))) return 'number';
  return words.length === 1 ? 'word' : undefined;
}

/** A question as the one user message of a prompt; without a kind it is asked as it stands. */
export function askQuestion(question: string, kind: AnswerKind | undefined): Message[] {
  const content =
    kind === undefined ? question.trim() : `${question.trim()}\n\n${INSTRUCTIONS[kind]}`;
  return [{ role: 'user', content }];
}

/** A multiple-choice question with its options, one per line. */
export function askChoices(
  question: string,
  choices: readonly Choice[],
  context?: string,
): Message[] {
  const options = choices.map(({ label, text }) => `${label}. ${text}`).join('\n');
  return askQuestion(
    `${context ? `${context.trim()}\n` : ''}${question.trim()}\n${options}`,
    'letter',
  );
}

/** An id that depends on the conversation alone: the first 16 hex digits of its SHA-256. */
export function contentId(messages: readonly Message[]): string {
  return createHash('sha256')
    .update(JSON.stringify(messages.map(({ role, content }) => [role, content])))
    .digest('hex')
    .slice(0, 16);
}
