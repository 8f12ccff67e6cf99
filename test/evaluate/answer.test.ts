import { describe, expect, it } from '@jest/globals';
import { extractAnswer, isCorrect, matchesAnswer } from '../../src/evaluate/answer.js';
import { numericValue } from '../../src/evaluate/number.js';
import { letters, number, word, four, TABLE } from './labelled-answers.js';

describe('extractAnswer', () => {
  it.each(TABLE)('%j: %j → %j', (question, text, expected) =>
    expect(extractAnswer(text, question)).toBe(expected),
  );
  it('has enough cases', () => expect(TABLE.length).toBeGreaterThanOrEqual(200));

  it('ends in time on hostile text', () => {
    const start = performance.now();
    for (const text of [
      '1,'.repeat(20_000),
      '-'.repeat(50_000),
      'Answer '.repeat(20_000),
      '((((A'.repeat(10_000),
      '1/'.repeat(20_000),
      '1'.repeat(50_000),
      ' \n'.repeat(50_000),
      '('.repeat(50_000),
      'answer \n'.repeat(10_000),
      `answer${' '.repeat(50_000)}`,
      'correct option is '.repeat(5000),
      'Answer:\n'.repeat(20_000),
      `Answer: 1${' '.repeat(50_000)}`,
      '\\boxed{'.repeat(20_000),
      'Answer: ' + '1 + 1 = '.repeat(5000),
    ]) {
      for (const question of [number, four, word]) extractAnswer(text, question);
    }
    expect(performance.now() - start).toBeLessThan(60_000);
  });
});

describe('isCorrect', () => {
  it('reads a completion and compares', () => {
    expect(isCorrect({ answer: '1,234' }, 'So it is $1,234.00.\nAnswer: $1,234.00')).toBe(true);
    expect(isCorrect({ answer: '3', choices: letters('1234') }, 'Answer: C')).toBe(true);
    expect(isCorrect({ answer: 'B', choices: letters('ABC') }, 'Answer: C')).toBe(false);
    expect(isCorrect({}, 'Answer: C')).toBe(false);
  });
});

describe('symbols in words', () => {
  it.each([
    ['C++', 'Answer: C++.', true],
    ['C', 'Answer: C++', false],
    ['C#', 'Answer: `C#`', true],
    ['C', 'Answer: C#', false],
    ['x^2 + 1', 'Answer: $x^2+1$.', true],
    ['x^2 + 1', 'Answer: x^2 - 1', false],
    ['-x', 'Answer: -x', true],
    ['x', 'Answer: -x', false],
    ['2x', 'Answer: y = 2x', true],
    ['2x', 'Answer: 1 + 2x', false],
    ['a + b', 'Answer: a+b', true],
    ['a + b', 'Answer: c+b', false],
    ['2*x', 'Answer: 2 * x', true],
    ['R&D', 'The answer is R&D.', true],
    ['x < 5', 'Answer: x > 5', false],
    ['!', 'Answer: "!"', true],
    ['!', 'Answer: ?', false],
    ['cold', 'Answer: **cold**', true],
    ['cold', 'Answer: - cold', true],
    ['cold', 'Answer:\n> cold', true],
    ['cold', 'Answer: hot -> cold', true],
    ['cold', 'Answer: <b>cold</b>', true],
  ])('%j: %j: %j', (answer, text, expected) => expect(isCorrect({ answer }, text)).toBe(expected));
});

describe('an answer with a solution before ####', () => {
  const row = { answer: 'There are 2 + 3 = <<2+3=5>>5 pens.\n#### 5' };
  it('is the text after it', () => {
    expect(isCorrect(row, 'Answer: 5')).toBe(true);
    expect(isCorrect(row, 'Answer: 2')).toBe(false);
    expect(isCorrect({ answer: 'It is not warm.\n#### cold' }, 'Answer: Cold.')).toBe(true);
  });
});

describe('matchesAnswer', () => {
  it.each([
    ['18', '18', true],
    ['18.0', '18', true],
    ['1234.5', '1,234.50', true],
    ['3/4', '0.75', true],
    ['0.333', '1/3', false],
    ['17', '18', false],
    ['-18', '18', false],
    ['cold', 'Cold', true],
    ['warm', 'cold', false],
    ['cold', '18', false],
    [null, '18', false],
  ])('%j against %j: %j', (extracted, answer, expected) =>
    expect(matchesAnswer(extracted, { answer })).toBe(expected),
  );
  it('compares labels as they are', () => {
    expect(matchesAnswer('1', { answer: '1', choices: letters('1234') })).toBe(true);
    expect(matchesAnswer('A', { answer: 'B', choices: letters('AB') })).toBe(false);
  });
  it('is false without a known answer', () => expect(matchesAnswer('1', {})).toBe(false));
});

describe('numericValue', () => {
  it.each([
    ['7', 7],
    ['-7', -7],
    ['$1,000', 1000],
    ['3/4', 0.75],
    ['20%', 20],
    ['.5', 0.5],
  ])('%j is %d', (text, value) => expect(numericValue(text)).toBe(value));
  it.each(['cold', '', '7 apples', '1/0', '--7x'])('%j is no number', (text) =>
    expect(numericValue(text)).toBeNull(),
  );
});

describe('siblings of the cases above', () => {
  it.each<[string, string | null]>([
    ['<think>a <think>Answer: 3</think> Answer: 4</think> Answer: 9', '9'],
    ['<THINK>Answer: 3</THINK>Answer: 8', '8'],
    ['<thinking>Answer: 3</thinking>Answer: 8', '8'],
    ['<reasoning>The answer is 3.</reasoning>\n8', '8'],
    ['<think>I open <think> twice. 3</think>Answer: 8', '8'],
    ['Answer: 3</think>Answer: 8', '8'],
    ['<think>Answer: 3', null],
    ['#### 5\n#### 6', '5'],
    ['Answer: 1.5e3', '1500'],
    ['Answer: 2.5E-3', '0.0025'],
    ["Answer: 1'000", '1000'],
    ['Answer: 1_000', '1000'],
    ['Answer: €1.234,50', '1234.5'],
    ['Answer: 1.234', '1.234'],
    ['Answer: On 5 March 2020 he had 12 apples.', '12'],
    ['Answer: On March 5, 2020, he had 12 apples.', '12'],
    ['Answer: On 2020-03-05 there were 7.', '7'],
    ['Answer: 2021-03-05', '2021'],
    ['Answer: 100 200 300', '100'],
    ['\\boxed{-\\frac{3}{4}}', '-3/4'],
  ])('%j', (text, expected) => expect(extractAnswer(text, { answer: '1' })).toBe(expected));
});

describe('other forms of an answer', () => {
  it.each([
    ['5', '<think>9</think><answer>5</answer> of 12'],
    ['5', '<ANSWER>\nIt is 5 apples.\n</ANSWER>\nAnswer: 6'],
    ['0.01', 'Answer: 10^{-2}'],
    ['0.125', 'Answer: 2^-3'],
    ['$\\boxed{\\frac{1}{2}}$', 'Answer: 0.5'],
    ['New York', 'Answer: It is New York.'],
    ['The Beatles', '<answer>the Beatles</answer>'],
    ['10:30', 'Answer: at 10:30'],
  ])('%j is given by %j', (answer, text) => expect(isCorrect({ answer }, text)).toBe(true));

  it.each([
    ['New York', 'Answer: York'],
    ['York', 'Answer: New Jersey'],
    ['5', '<answer>6</answer> Answer: 5'],
  ])('%j is not given by %j', (answer, text) => expect(isCorrect({ answer }, text)).toBe(false));

  it('a label in the tag', () =>
    expect(extractAnswer('A? <answer>B</answer> or C', { choices: letters('ABC') })).toBe('B'));
});
