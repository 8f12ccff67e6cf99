/** The problems that the built-in templates make, and the words that templates share. */
import type { Draw } from './draw.js';
import type { AnswerKind } from './question.js';
import type { Choice } from './records.js';

export interface Problem {
  question: string;
  kind: AnswerKind;
  answer: string;
  /** A short worked solution that ends with `Answer: …`. */
  solution: string;
  choices?: Choice[];
  /**
   * The fact that is asked for, if the wording or the order of choices is incidental; it decides
   * the split instead of the text.
   */
  fact?: string;
}

export type Template = (draw: Draw) => Problem;

export const NAMES = [
  'Ada',
  'Amir',
  'Anna',
  'Ben',
  'Carla',
  'Chen',
  'Dana',
  'David',
  'Elif',
  'Emma',
  'Felix',
  'Grace',
  'Hana',
  'Ivan',
  'Jonas',
  'Kofi',
  'Lena',
  'Lucas',
  'Maria',
  'Mia',
  'Nadia',
  'Noah',
  'Olga',
  'Omar',
  'Pablo',
  'Priya',
  'Rosa',
  'Sam',
  'Sara',
  'Tom',
  'Uma',
  'Viktor',
  'Yuki',
  'Zoe',
] as const;

export const THINGS = [
  'apples',
  'pencils',
  'marbles',
  'stickers',
  'books',
  'coins',
  'shells',
  'cards',
  'oranges',
  'buttons',
  'cookies',
  'balloons',
  'stamps',
  'tickets',
  'postcards',
  'beads',
  'flowers',
  'eggs',
] as const;

const OPENINGS = [
  '',
  '',
  '',
  'Let me work it out. ',
  'Step by step: ',
  'First, look at the numbers. ',
] as const;

/** A numeric problem; `steps` are the sentences of its solution. */
export function numeric(draw: Draw, question: string, answer: number, ...steps: string[]): Problem {
  return {
    question,
    kind: 'number',
    answer: String(answer),
    solution: solved(draw, draw.pick(OPENINGS), steps, String(answer)),
  };
}

/** A question whose answer is a word. */
export function word(
  draw: Draw,
  question: string,
  answer: string,
  fact: string,
  ...steps: string[]
): Problem {
  return { question, kind: 'word', answer, fact, solution: solved(draw, '', steps, answer) };
}

/** A question with the right option and wrong ones, shuffled under the letters A, B, C… */
export function multipleChoice(
  draw: Draw,
  { question, right, wrong, fact, step }: Options,
): Problem {
  const texts = draw.several([right, ...wrong], wrong.length + 1);
  const choices = texts.map((text, i) => ({ label: 'ABCDE'[i]!, text }));
  const answer = choices[texts.indexOf(right)]!.label;
  const naming = draw.pick([
    `That is choice ${answer}.`,
    `So ${answer} is right.`,
    `This matches ${answer}, ${right}.`,
  ]);
  return {
    question,
    kind: 'letter',
    answer,
    choices,
    fact,
    solution: solved(draw, '', [step, naming], answer),
  };
}

interface Options {
  question: string;
  right: string;
  wrong: readonly string[];
  /** Identifies the knowledge that is asked for, in whatever words. */
  fact: string;
  /** The sentence of the solution before the one that names the letter. */
  step: string;
}

function solved(draw: Draw, opening: string, steps: readonly string[], answer: string): string {
  return `${opening}${steps.join(draw.pick([' ', ' ', '\n']))}\nAnswer: ${answer}`;
}

/** `1 apple`, `2 apples`: for nouns whose plural ends in s. */
export function count(n: number, plural: string): string {
  return `${n} ${n === 1 ? plural.replace(/ies$/, 'y').replace(/s$/, '') : plural}`;
}
