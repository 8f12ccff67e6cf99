/**
 * A task is a source of questions with known answers: its data set, the columns that a row must
 * have, and, for multiple choice, the text whose continuations are the choices. A new task is one
 * file and its line in tasks.ts.
 */
import { askedOf } from '../data/choices.js';
import { isEmpty } from '../data/messages.js';
import { presentRow } from '../data/prompt-columns.js';
import { promptOf } from '../data/prompts.js';
import { columnList, DataError, describe } from '../data/jsonl.js';
import { readObjects, type Row } from '../data/rows.js';
import type { AnswerRecord, PromptRecord } from '../data/records.js';
import { extractAnswer, knownAnswer, matchesAnswer } from './answer.js';

/** A question that can be graded. */
export interface Question extends PromptRecord {
  answer: string;
  task: string;
  /**
   * Log-likelihood: the text that each choice continues, after a space, or one text per choice.
   * Absent if the row has no plain question or no choices.
   */
  stem?: string | readonly string[];
  /** Log-likelihood: the text that is scored after each stem, if it is not the choice itself. */
  continuation?: string;
  /**
   * Labels of all right choices, if the measure is their share of the choices' probability
   * (TruthfulQA's mc2) instead of whether the likeliest choice is right.
   */
  right?: string[];
}

export interface TaskSource {
  /**
   * A JSONL, JSON, CSV or Parquet file, or `hub:org/name[/config][:split]`; by default the task's
   * own hub source.
   */
  source?: string | undefined;
  /** Seed of the built-in questions. */
  seed?: number | undefined;
  /**
   * At most this many questions, the first ones of the source; the built-in task makes exactly this
   * many.
   */
  count?: number | undefined;
}

export interface Task {
  readonly name: string;
  /** The data set that is used if no source is named; null if one must be named. */
  readonly hub: string | null;
  /** The only method that can measure the task; absent if both can. */
  readonly method?: 'generate' | 'loglikelihood';
  /** @throws DataError naming file and row if a row lacks something that the task needs */
  questions(source: TaskSource): Promise<Question[]>;
}

export interface RowTask extends Pick<Task, 'name' | 'hub' | 'method'> {
  /** Text before a choice: the harness's, with the context of a row that has one. */
  stem?: (asked: ReturnType<typeof askedOf>) => string;
  /** The problem of a question that has an answer, or undefined. */
  problem: (question: Question, row: Row) => string | undefined;
}

/**
 * A task that reads rows. Every row counts, also a duplicate, so that the accuracy is comparable
 * with published figures for the same set.
 */
export function rowTask({ name, hub, method, stem, problem }: RowTask): Task {
  const questionOf = (row: Row): Question => {
    const { value, where } = row;
    const prompt = promptOf(row);
    const line = presentRow(row);
    if (prompt.answer === undefined || prompt.answer.trim() === '') {
      throw new DataError(
        `${where}: the row has no answer (text or a number), and the task ${name} grades by one; ` +
          `its columns are ${columnList(value)}: name a split that has answers`,
      );
    }
    const question: Question = {
      ...prompt,
      answer: prompt.choices ? prompt.answer.trim() : knownAnswer(prompt.answer),
      task: name,
      ...(stem && isAskedAlone(line, prompt) && { stem: stem(askedOf(line)) }),
    };
    const reason = problem(question, line);
    if (reason !== undefined)
      throw new DataError(
        `${where}: question ${describe(question.id)} ${reason}; the task ${name} cannot grade it`,
      );
    return question;
  };
  return {
    name,
    hub,
    ...(method && { method }),
    questions: (source) => questionsOf({ name, hub }, source, questionOf),
  };
}

/** Whether a multiple-choice question is all that the user says, so that a stem can hold it. */
const isAskedAlone = ({ value }: Row, { prompt, choices }: PromptRecord): boolean =>
  choices !== undefined &&
  isEmpty(value['prompt']) &&
  prompt.filter(({ role }) => role !== 'system').length === 1;

/** Behind its context, if there is one. */
export const behind = (context: string | undefined, question: string): string =>
  context?.trim() ? `${context.trim()}\n${question}` : question;

/** The questions of a source of rows, one per row. @throws DataError */
export async function questionsOf(
  { name, hub }: Pick<Task, 'name' | 'hub'>,
  { source = hub ?? undefined, count }: TaskSource,
  questionOf: (row: Row) => Question,
): Promise<Question[]> {
  if (source === undefined)
    throw new DataError(
      `the task ${name} reads its questions from a file; write ` +
        `${name}:path/to/questions.jsonl, or ${name}:hub:org/name:split`,
    );
  const rows = await readObjects(source);
  return withOwnIds(rows.slice(0, count).map((row) => ({ question: questionOf(row), row })));
}

/**
 * Rows without an id are named by their content; a repeated one gets a number. @throws DataError
 * for an id that occurs in two rows
 */
function withOwnIds(found: readonly { question: Question; row: Row }[]): Question[] {
  const first = new Map<string, string>();
  const times = new Map<string, number>();
  return found.map(({ question, row }) => {
    const { id } = question;
    const before = first.get(id);
    const nth = (times.get(id) ?? 0) + 1;
    times.set(id, nth);
    if (before === undefined) {
      first.set(id, row.where);
      return question;
    }
    if (row.value.id !== undefined && row.value.id !== null)
      throw new DataError(
        `${row.where}: the id ${describe(id)} is also that of ${before}; answers are ` +
          'joined by id, so it must name one row',
      );
    return { ...question, id: `${id}-${nth}` };
  });
}

/** For multiple choice: the answer must be one of the labels shown. */
export function needsChoices(question: Question): string | undefined {
  return question.choices?.some(({ label }) => label === question.answer)
    ? undefined
    : 'has no choices with the answer among their labels';
}

/**
 * The record of one question answered by generation; `tokens` is the completion's length. @throws
 * Error if the question has no answer
 */
export function grade(
  question: PromptRecord,
  completion: { text: string; tokens: number },
): AnswerRecord {
  if (question.answer === undefined)
    throw new Error(
      `[evaluate] prompt ${JSON.stringify(question.id)} has no answer to grade by; add the ` +
        'column "answer"',
    );
  const extracted = extractAnswer(completion.text, question);
  return {
    prompt_id: question.id,
    task: question.task ?? 'prompts',
    completion: completion.text,
    extracted,
    answer: question.answer,
    correct: matchesAnswer(extracted, question),
    tokens: completion.tokens,
  };
}
