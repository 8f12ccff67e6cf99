/**
 * Tasks that read a data set in its published columns. A task's file names the columns and the
 * parts that are asked, compared and right; this file does the rest.
 */
import { isUnanswered } from '../data/choices.js';
import { columnList, DataError, describe } from '../data/jsonl.js';
import { refuseControlTokens } from '../data/messages.js';
import { text } from '../data/prompt-columns.js';
import { askChoices, contentId } from '../data/question.js';
import type { Row } from '../data/rows.js';
import { questionsOf, type Question, type Task } from './task.js';

/** A row of a published set as a multiple-choice question. */
export interface Published {
  /** The question in generation, before its options. */
  question: string;
  context?: string;
  /** Texts of the choices; they are labelled A, B, … in this order. */
  choices: readonly string[];
  /** Indices of the right choices, from 0; empty if the row has no answer. */
  right: readonly number[];
  /** Log-likelihood: the text before each choice, or one text per choice. */
  stem: string | readonly string[];
  /** Log-likelihood: the text that is scored, if it is not the choice. */
  continuation?: string;
}

export interface PublishedTask extends Pick<Task, 'name' | 'method'> {
  hub: string;
  /** Columns that every row must have; an error about a row of another data set names them. */
  columns: readonly string[];
  read(row: Row): Published;
  /** The measure of a question: its right choice, or the total probability of its right choices. */
  counts?: 'choice' | 'probability';
}

/** A task whose questions are the rows of a published data set. */
export function publishedTask(task: PublishedTask): Task {
  const { name, hub, method } = task;
  return {
    name,
    hub,
    ...(method && { method }),
    questions: (source) =>
      questionsOf({ name, hub }, source, (row) => publishedQuestion(row, task)),
  };
}

function publishedQuestion(row: Row, task: PublishedTask): Question {
  const { value, where } = row;
  const missing = task.columns.filter((column) => value[column] === undefined);
  if (missing.length > 0)
    throw new DataError(
      `${where}: the task ${task.name} reads the columns ${task.columns.join(', ')}, as ` +
        `${task.hub} has them; the row has ${columnList(value)}`,
    );
  const { question, context, choices: texts, right, stem, continuation } = task.read(row);
  const choices = texts.map((choice, i) => ({ label: label(i), text: choice }));
  const last = right.find((number) => !(number >= 0 && number < choices.length));
  if (last !== undefined)
    throw new DataError(
      `${where}: the right choice is number ${last} from 0, and the row has ${choices.length}`,
    );
  if (right.length === 0)
    throw new DataError(
      `${where}: the row has no answer, and the task ${task.name} grades by one; name a split ` +
        'that has answers',
    );
  checkRight(right.length, choices.length, task, where);
  const prompt = askChoices(question, choices, context);
  refuseControlTokens(prompt, where);
  return {
    id: typeof value.id === 'string' ? value.id : contentId(prompt),
    prompt,
    choices,
    answer: label(right[0]!),
    task: task.name,
    stem,
    ...(continuation !== undefined && { continuation }),
    ...(task.counts === 'probability' && { right: right.map(label) }),
  };
}

/** @throws DataError where every answer would be right, or all but the first right one wrong */
function checkRight(
  right: number,
  choices: number,
  { name, counts = 'choice' }: PublishedTask,
  where: string,
): void {
  if (counts === 'choice' ? right > 1 : right === choices)
    throw new DataError(
      `${where}: ${right} of ${choices} choices are right, and the task ${name} ` +
        (counts === 'choice' ? 'grades by one' : 'compares right choices with wrong ones'),
    );
}

const label = (i: number): string => (i < 26 ? String.fromCharCode(65 + i) : String(i + 1));

/** A column that must be text. @throws DataError */
export const textOf = (row: Row, column: string): string => text(row, column);

/** A column that must be a list of texts. @throws DataError */
export function textsOf({ value, where }: Row, column: string): string[] {
  const raw = value[column];
  if (Array.isArray(raw) && raw.length > 1 && raw.every((one) => typeof one === 'string'))
    return raw;
  throw new DataError(
    `${where}: column "${column}" must be a list of texts, but is ${describe(raw)}`,
  );
}

/**
 * The choice that a column names: a number (also as text) from `first`. Empty if the column names
 * none, as in test splits. @throws DataError
 */
export function numberOf({ value, where }: Row, column: string, first = 0): number[] {
  const raw = value[column];
  if (isUnanswered(raw)) return [];
  const number = typeof raw === 'string' && /^\d+$/.test(raw) ? Number(raw) : raw;
  if (typeof number === 'number' && Number.isInteger(number) && number >= first)
    return [number - first];
  throw new DataError(
    `${where}: column "${column}" must be the number of the right choice, from ${first}, but is ` +
      describe(raw),
  );
}
