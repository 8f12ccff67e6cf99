/**
 * Multiple-choice rows, in the forms of the hub's data sets and in the uniform one, as one prompt
 * with its options.
 */
import { parseJsonText } from '../files/json.js';
import { DataError, describe, isChoice, isObject } from './jsonl.js';
import { isBlank } from './messages.js';
import { askChoices } from './question.js';
import type { Choice, Message, PromptRecord } from './records.js';
import type { Row } from './rows.js';

export type MakePrompt = (
  prompt: Message[],
  given?: Pick<PromptRecord, 'answer' | 'choices'>,
) => PromptRecord;

/** The prompt of a row with `choices` (or SIQA's answerA … answerC). @throws DataError */
export function choicePrompt(row: Row, make: MakePrompt): PromptRecord {
  const choices = choicesOf(row);
  const answer = answerOf(row, choices);
  const { question, context } = askedOf(row);
  return make(askChoices(question, choices, context), { answer, choices });
}

/** The question of such a row, and the context before it. @throws DataError */
export function askedOf({ value, where }: Row): { question: string; context?: string } {
  const question = value['question'] ?? value['question_stem'];
  const context = value['context'];
  if (typeof question !== 'string' || isBlank(question))
    throw new DataError(
      `${where}: column "question" must be text that is not empty, but is ${describe(question)}`,
    );
  if (context !== undefined && typeof context !== 'string')
    throw new DataError(`${where}: column "context" must be text, but is ${describe(context)}`);
  return { question, ...(context !== undefined && { context }) };
}

/**
 * Choices as a list of {label, text}; as the hub's {label: […], text: […]} (ARC, OpenBookQA); as a
 * list of texts (MMLU), which get the labels A, B, …; or as SIQA's answerA, answerB, answerC. A
 * label may be a whole number. @throws DataError
 */
export function choicesOf({ value, where }: Row): Choice[] {
  const raw =
    parsed(value['choices']) ??
    ['A', 'B', 'C'].map((label) => ({ label, text: value[`answer${label}`] }));
  const { label: labels, text: texts } = raw as { label?: unknown; text?: unknown };
  const list: unknown =
    Array.isArray(labels) && Array.isArray(texts)
      ? labels.map((label: unknown, i) => ({ label, text: (texts as unknown[])[i] }))
      : Array.isArray(raw) && raw.every((text) => typeof text === 'string')
        ? raw.map((text, i) => ({ label: String.fromCharCode(65 + i), text }))
        : raw;
  const given = Array.isArray(list) ? list.map(withTextLabel) : [];
  if (given.length < 2 || given.length > 26 || !given.every(isChoice))
    throw new DataError(
      `${where}: "choices" must be a list of at least two {"label", "text"}, but is ` +
        `${describe(raw)}`,
    );
  const choices = given.map(({ label, text }) => ({ label, text }));
  if (new Set(choices.map(({ label }) => label)).size < choices.length)
    throw new DataError(`${where}: two choices have the same label`);
  return choices;
}

/** The same choice with its label as text. */
const withTextLabel = (choice: unknown): unknown =>
  isObject(choice) && Number.isInteger(choice['label'])
    ? { ...choice, label: String(choice['label']) }
    : choice;

const isTexts = (choices: unknown): boolean =>
  Array.isArray(choices) && typeof choices[0] === 'string';

/** Choices as JSON text, as in CSV files; any other value as it is. */
function parsed(choices: unknown): unknown {
  if (typeof choices !== 'string') return choices;
  try {
    return parseJsonText(choices);
  } catch {
    return choices;
  }
}

/** Columns that name the right choice. */
const ANSWERS = ['answer', 'answerKey', 'label'];

/** Whether a column names no choice: it is absent, empty, or −1, as in the hub's test splits. */
export const isUnanswered = (given: unknown): boolean =>
  given === undefined || given === null || given === '' || given === -1 || given === '-1';

/**
 * What the `columns` that name a choice say, read by `read`; undefined if none does. @throws
 * DataError where two of them name different choices
 */
export function namedChoice<T>(
  { value, where }: Row,
  columns: readonly string[],
  read: (column: string) => T,
): T | undefined {
  const [first, ...others] = columns
    .filter((column) => !isUnanswered(value[column]))
    .map((column) => ({ column, choice: read(column) }));
  const other = others.find(({ choice }) => choice !== first!.choice);
  if (other !== undefined)
    throw new DataError(
      `${where}: "${first!.column}" and "${other.column}" contradict each other, for they name ` +
        'different choices; remove the wrong one',
    );
  return first?.choice;
}

/**
 * The right label: `answer`, `answerKey`, or SIQA's `label` from 1; MMLU's `answer` is an index
 * from 0. Undefined if none is given. @throws DataError
 */
export function answerOf(row: Row, choices: readonly Choice[]): string | undefined {
  const { value, where } = row;
  const labels = choices.map(({ label }) => label);
  const from = value['choices'] === undefined ? 1 : isTexts(parsed(value['choices'])) ? 0 : NaN;
  return namedChoice(row, ANSWERS, (column) => {
    const given = value[column];
    if (typeof given !== 'string' && typeof given !== 'number')
      throw new DataError(`${where}: the answer must be a label, but is ${describe(given)}`);
    const text = String(given).trim();
    if (labels.includes(text)) return text;
    const named = /^\d+$/.test(text) ? labels[Number(text) - from] : undefined;
    if (named === undefined)
      throw new DataError(
        `${where}: the answer ${describe(given)} is not among the labels ${labels.join(', ')}`,
      );
    return named;
  });
}
