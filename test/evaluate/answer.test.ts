import { describe, expect, it } from '@jest/globals';
import { extractAnswer, isCorrect, matchesAnswer } from '../../src/evaluate/answer.js';
import { numericValue } from '../../src/evaluate/number.js';

const letters = (labels: string, texts: string[] = []) => [...labels].map((label, i) => ({ label, text: texts[i] ?? `option ${i}` }));
const number = { answer: '1' }, word = { answer: 'cold' };
const four = { answer: 'A', choices: letters('ABCD') }, three = { answer: 'A', choices: letters('ABC') };
const five = { answer: 'E', choices: letters('ABCDE') }, digits = { answer: '1', choices: letters('1234') };
const things = { answer: 'B', choices: letters('ABCD', ['a spoon', 'a clock', 'A magnet', 'honey']) };

/** Labelled by hand: what a reader says this text answers. */
const TABLE: [question: { answer: string; choices?: ReturnType<typeof letters> }, text: string, expected: string | null][] = [
  // numbers after a marker
  [number, 'We add 3 and 4.\nAnswer: 7', '7'],
  [number, 'Answer: 7.', '7'],
  [number, 'ANSWER:7', '7'],
  [number, 'answer : 7 apples', '7'],
  [number, '**Answer:** 42', '42'],
  [number, '**Answer**: 42', '42'],
  [number, '2 + 3 = 5\n#### 5', '5'],
  [number, 'There are 12 of them. The answer is 12, because 3 x 4 = 12. We had 4.', '12'],
  [number, 'The answer is: 12 km and took 3 hours.', '12'],
  [number, 'Answer:\n\n15', '15'],
  [number, 'Answer: 5\n\nQuestion: What is 9 + 9?\nAnswer: 18', '5'],
  [number, 'The answer is found by adding 3 and 4.\nAnswer: 7', '7'],
  [number, 'Answer: the total cost is $18.', '18'],
  [number, 'Final answer: 6', '6'],
  [number, 'Answer: I do not know, maybe none. It was 4 of 9.', '4'],
  // signs, groups, decimals, currencies, units
  [number, 'Answer: -5', '-5'],
  [number, 'Answer: −5 degrees', '-5'],
  [number, 'Answer: -$5', '-5'],
  [number, 'Answer: $-5', '-5'],
  [number, 'Answer: $1,234.50', '1234.5'],
  [number, 'Answer: 1,234,567', '1234567'],
  [number, 'Answer: 3.0', '3'],
  [number, 'Answer: 0.25', '0.25'],
  [number, 'Answer: .5', '0.5'],
  [number, 'Answer: 20%', '20'],
  [number, 'Answer: €30', '30'],
  [number, 'Answer: 45km', '45'],
  [number, 'Answer: 007', '7'],
  [number, 'Answer: 100.', '100'],
  [number, 'Answer: 3/4', '3/4'],
  [number, 'Answer: 3 / 4 of the cake', '3/4'],
  [number, 'Answer: \\frac{3}{4}', '3/4'],
  [number, 'Answer: $\\boxed{18}$', '18'],
  [number, 'Answer: \\$18', '18'],
  // no marker: the last number
  [number, 'She has 3 + 4 = 7', '7'],
  [number, 'There are 3 boxes of 4, so 12 apples.', '12'],
  [number, '10-5', '5'],
  [number, 'From 10 - 4 we get 6, so x2 is 12', '12'],
  [number, 'It costs $3,000 in 2 shops, so $1,500 each', '1500'],
  [number, 'The list is 1,2,3', '3'],
  [number, 'I cannot tell.', null],
  [number, '', null],
  [number, 'It is version 1.2.3 or 8', '8'],
  // letters after a marker
  [four, 'Answer: B', 'B'],
  [four, 'Answer: (B)', 'B'],
  [four, 'Answer: **C**', 'C'],
  [four, 'Answer: B. option 1', 'B'],
  [four, 'Answer: b', 'B'],
  [four, 'Answer: The correct choice is D.', 'D'],
  [four, 'A is wrong and B is wrong.\nAnswer: C', 'C'],
  [four, 'Answer: A because it fits', 'A'],
  [four, 'The answer is B, since A is too small.', 'B'],
  [four, 'Answer: D\n\nQuestion: next? Answer: A', 'D'],
  [four, 'Answer:\nC', 'C'],
  // letters without a marker
  [four, 'I would pick C.', 'C'],
  [four, 'It is not B but (D).', 'D'],
  [four, 'A dog is an animal. So B', 'B'],
  [four, 'B is a good choice. A dog barks.', 'B'],
  [four, 'Vitamin-C and C-sharp are no choices', null],
  [four, 'because nothing fits', null],
  [four, "It is B's turn", null],
  // other labels
  [five, 'Answer: E', 'E'],
  [four, 'Answer: E', null],
  [three, 'I think C or D', 'C'],
  [digits, 'Answer: 3', '3'],
  [digits, 'Answer: (2) option 1', '2'],
  [digits, 'The answer is 4.', '4'],
  [digits, 'Answer: 12', null],
  [digits, 'It weighs 3.5 kg, so 2', '2'],
  // a choice by its text
  [things, 'Answer: a clock', 'B'],
  [things, 'Answer: Honey.', 'D'],
  [things, 'Answer: A magnet', 'C'],
  [things, 'Answer: A', 'A'],
  // words
  [word, 'The opposite of hot is cold.\nAnswer: cold', 'cold'],
  [word, 'Answer: Cold.', 'cold'],
  [word, 'Answer: "cold"', 'cold'],
  [word, 'Answer: **Cold** (not warm)', 'cold'],
  [word, 'Answer: The opposite of hot is cold.', 'cold'],
  [word, 'The answer is "cold".', 'cold'],
  [word, 'The opposite of "hot" is "cold".', 'cold'],
  [word, 'Answer:', null],
  [word, 'It must be cold.\n\nAnswer: ', 'cold'],
  [word, '...', null],
];

describe('extractAnswer', () => {
  it.each(TABLE)('%j: %j → %j', (question, text, expected) => expect(extractAnswer(text, question)).toBe(expected));
  it('has enough cases', () => expect(TABLE.length).toBeGreaterThanOrEqual(60));

  it('ends in time on hostile text', () => {
    const start = performance.now();
    for (const text of ['1,'.repeat(20_000), '-'.repeat(50_000), 'Answer '.repeat(20_000), '((((A'.repeat(10_000), '1/'.repeat(20_000), '1'.repeat(50_000), ' \n'.repeat(50_000), '('.repeat(50_000), 'answer \n'.repeat(10_000)]) {
      for (const question of [number, four, word]) extractAnswer(text, question);
    }
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('matchesAnswer', () => {
  it.each([
    ['18', '18', true], ['18.0', '18', true], ['1234.5', '1,234.50', true], ['3/4', '0.75', true], ['0.333', '1/3', false], ['17', '18', false],
    ['-18', '18', false], ['cold', 'Cold', true], ['warm', 'cold', false], ['cold', '18', false], [null, '18', false],
  ])('%j against %j: %j', (extracted, answer, expected) => expect(matchesAnswer(extracted, { answer })).toBe(expected));
  it('compares labels as they are', () => {
    expect(matchesAnswer('1', { answer: '1', choices: letters('1234') })).toBe(true);
    expect(matchesAnswer('A', { answer: 'B', choices: letters('AB') })).toBe(false);
  });
  it('is false without a known answer', () => expect(matchesAnswer('1', {})).toBe(false));
});

describe('numericValue', () => {
  it.each([['7', 7], ['-7', -7], ['$1,000', 1000], ['3/4', 0.75], ['20%', 20], ['.5', 0.5]])('%j is %d', (text, value) => expect(numericValue(text)).toBe(value));
  it.each(['cold', '', '7 apples', '1/0', '--7x'])('%j is no number', (text) => expect(numericValue(text)).toBeNull());
});
