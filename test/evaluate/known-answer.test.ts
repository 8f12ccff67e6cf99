/** Known answers as data sets write them, and thoughts between other tags. */
import { expect, it } from '@jest/globals';
import { extractAnswer, isCorrect, knownAnswer } from '../../src/evaluate/answer.js';
import { numericValue } from '../../src/evaluate/number.js';

it.each([
  ['Four and one.\n#### 5 apples', '5'],
  ['#### 1,200 km', '1200'],
  ['So \n#### -3', '-3'],
  ['\\boxed{5}', '5'],
  ['$\\boxed{\\frac{1}{2}}$', '\\frac{1}{2}'],
  ['$\\frac{1}{2}$', '\\frac{1}{2}'],
  ['$5', '$5'],
  ['5 apples', '5 apples'],
  ['#### 5th place', '5th place'],
  ['#### warm water', 'warm water'],
])('%j is the answer %j', (answer, known) => expect(knownAnswer(answer)).toBe(known));

it.each([
  ['3 1/2', 3.5],
  ['-3 1/2', -3.5],
  ['½', 0.5],
  ['2^10', 1024],
  ['10⁶', 1e6],
  ['1.5e3', 1500],
  ['\\frac{3}{4}', 0.75],
  ['2.5 million', 2.5e6],
  ['−5', -5],
  ["1'000", 1000],
  ['1 000', 1000],
  ['12,000 500', 12000500],
  ['1,00,000', 1e5],
  ['12.5 %', 12.5],
])('%j has the value %d', (text, value) => expect(numericValue(text)).toBe(value));

it.each(['in 2020', '3 4/0', '10:30', '5 and 6', '2^x', '1, 2', '1 2', '10,20', '1 0000'])(
  '%j is no number',
  (text) => expect(numericValue(text)).toBeNull(),
);

it.each([
  ['2^3', 'Answer: 8'],
  ['1e3', 'Answer: 1000'],
  ['3 1/2', 'Answer: 3.5'],
  ['\\boxed{5}', 'Answer: 5'],
  ['x\n#### 5 pens', 'Answer: 5'],
  ['$\\frac{1}{2}$', 'Answer: 0.5'],
  ['(1,2)', 'So the answer is (1, 2).'],
  ['1, 2', 'Answer: 1 and 2, so 1, 2'],
  ['100000', 'Answer: 1,00,000 rupees'],
])('the known answer %j is met by %j', (answer, said) =>
  expect(isCorrect({ answer }, said)).toBe(true),
);

it.each([
  '[THINK]Answer: 3[/THINK]Answer: 8',
  '<|begin_of_thought|>Answer: 3<|end_of_thought|>Answer: 8',
  '◁think▷Answer: 3◁/think▷Answer: 8',
  'Answer: 3[/THINK]8',
])('%j answers 8', (text) => expect(extractAnswer(text, { answer: '1' })).toBe('8'));
