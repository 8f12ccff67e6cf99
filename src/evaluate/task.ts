/**
 * A task is a source of questions with known answers. What a completion answers follows from the question alone (answer.ts), so a new
 * task is one file: where its questions come from, and what a row must have; and its line in tasks.ts.
 */
import { loadPrompts } from '../data/prompts.js';
import type { AnswerRecord, PromptRecord } from '../data/records.js';
import { extractAnswer, isCorrect } from './answer.js';

export interface TaskSource {
  /** JSONL file of the questions; every task but `builtin` needs one. */
  path?: string | undefined;
  /** Seed of the built-in questions. */
  seed?: number | undefined;
  /** At most this many questions, the first ones of the source; the built-in task makes exactly so many. */
  count?: number | undefined;
}

export interface Task {
  readonly name: string;
  /** Questions with answers; `task` is set in each. @throws Error naming file and line where a question lacks what the task needs. */
  questions(source: TaskSource): Promise<PromptRecord[]>;
}

/** A task that reads a JSONL file; `problem` says what is wrong with a question, or nothing. */
export function fileTask(name: string, problem: (question: PromptRecord) => string | undefined): Task {
  return {
    name,
    async questions({ path, count }) {
      if (path === undefined) throw new Error(`the task ${name} reads its questions from a file; give its path (JSONL)`);
      const { records } = await loadPrompts(path);
      return records.slice(0, count).map((question) => {
        const reason = question.answer === undefined ? 'has no answer' : problem(question);
        if (reason !== undefined) throw new Error(`${path}: question ${JSON.stringify(question.id)} ${reason}; the task ${name} cannot grade it`);
        return { ...question, task: name };
      });
    },
  };
}

/** For multiple choice: the answer must be one of the labels shown. */
export function needsChoices(question: PromptRecord): string | undefined {
  return question.choices?.some(({ label }) => label === question.answer) ? undefined : 'has no choices with the answer among their labels';
}

/** The record of one evaluated question; `tokens` is the completion's length. @throws Error where the question has no answer. */
export function grade(question: PromptRecord, completion: { text: string; tokens: number }): AnswerRecord {
  if (question.answer === undefined) throw new Error(`[evaluate] prompt ${JSON.stringify(question.id)} has no answer to grade by; add the column "answer"`);
  const extracted = extractAnswer(completion.text, question);
  return {
    prompt_id: question.id,
    task: question.task ?? 'prompts',
    completion: completion.text,
    extracted,
    answer: question.answer,
    correct: isCorrect(extracted, question),
    tokens: completion.tokens,
  };
}
