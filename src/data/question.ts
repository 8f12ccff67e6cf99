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

/** A question as the one user message of a prompt. */
export function askQuestion(question: string, kind: AnswerKind): Message[] {
  return [{ role: 'user', content: `${question.trim()}\n\n${INSTRUCTIONS[kind]}` }];
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
