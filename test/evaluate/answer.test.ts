import { describe, expect, it } from '@jest/globals';
import { extractAnswer, isCorrect, matchesAnswer } from '../../src/evaluate/answer.js';
import { numericValue } from '../../src/evaluate/number.js';

const letters = (labels: string, texts: string[] = []) =>
  [...labels].map((label, i) => ({ label, text: texts[i] ?? `option ${i}` }));
const number = { answer: '1' };
const word = { answer: 'cold' };
const four = { answer: 'A', choices: letters('ABCD') };
const three = { answer: 'A', choices: letters('ABC') };
const five = { answer: 'E', choices: letters('ABCDE') };
const digits = { answer: '1', choices: letters('1234') };
const things = {
  answer: 'B',
  choices: letters('ABCD', ['a spoon', 'a clock', 'A magnet', 'honey']),
};

/** Labelled by hand with the answer that a reader takes from the text. */
const TABLE: [
  question: { answer: string; choices?: ReturnType<typeof letters> },
  text: string,
  expected: string | null,
][] = [
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
  // the official code's rules: first number after ####, answer:, answer is; else the last number;
  // first letter after Answer:, else the last
  [number, 'Total 12. #### 12', '12'],
  [number, 'So 4 + 5 = 9\n####9', '9'],
  [number, '#### $1,200', '1200'],
  [number, 'answer: 3 and later 4', '3'],
  [number, 'The final answer is 21.', '21'],
  [number, 'the answer is 8 apples. There were 10 before.', '8'],
  [number, 'He had 7, gave 2, kept 5', '5'],
  [four, 'Answer: C. Because of B.', 'C'],
  [four, 'Both A and D look fine, but D', 'D'],
  [four, 'Answer:D', 'D'],
  // deliberately better than those: what a reader takes from the text
  [number, 'Answer: 5 x 4 = 20', '20'],
  [number, 'Answer: 3 + 4 = 7 apples', '7'],
  [number, 'Answer: 3 apples + 4 apples = 7 apples', '7'],
  [number, 'Answer: 12 / 4 = 3 + 2 = 5', '5'],
  [number, 'Answer: x = 5', '5'],
  [number, 'Answer: 7 (since 3 + 4 = 7)', '7'],
  [number, 'Answer: 15 since 20 - 5 = 15 and 3 * 2 = 6', '15'],
  [number, 'Answer: 3 + 4', '3'],
  [number, 'Answer: Mr. Hill has 6 left', '6'],
  [number, 'Answer: She pays $8. Before, it was $10.', '8'],
  [number, '#### Step 1\nWe add 2 and 3.\n#### Step 2\nAnswer: 5', '5'],
  [number, '#### Solution\nThere are 4 rows of 6.\n\nAnswer: 24', '24'],
  [number, 'End with "Answer:" and the number.\n2 + 2 is 4.\nAnswer: 4', '4'],
  [number, '1. There are 5 bags.\n2. Each has 4.\n3. So twenty in all, that is 20.', '20'],
  [number, '1. 5 bags of 4 make 20\n2. Check it', '20'],
  [number, 'We get 12.\nStep 3: done', '12'],
  [number, 'With 18 points she came 2nd', '18'],
  [number, 'On the 1st day 5, on the 2nd day 8', '8'],
  [number, 'She came 3rd', null],
  // boxed
  [number, 'Therefore $\\boxed{42}$. I used 3 steps.', '42'],
  [number, '\\boxed{1,250}', '1250'],
  [number, '\\boxed{-3.5}', '-3.5'],
  [number, '\\boxed{\\frac{3}{8}}', '3/8'],
  [number, '\\boxed{\\text{12 km}} after 2 hours', '12'],
  [number, '\\boxed{1{,}024}', '1024'],
  [number, 'Answer: 9\nso \\boxed{8}', '9'],
  [four, '\\boxed{C}', 'C'],
  [four, 'So \\boxed{\\text{B}} and not D', 'B'],
  [four, '$\\boxed{(A)}$ since D fails', 'A'],
  [digits, '\\boxed{4}', '4'],
  // money, units, groups, scales
  [number, 'Answer: £12.50', '12.5'],
  [number, 'Answer: ¥5,000', '5000'],
  [number, 'Answer: 18 dollars', '18'],
  [number, 'Answer: US$ 45', '45'],
  [number, 'Answer: $ 45', '45'],
  [number, 'Answer: 45 €', '45'],
  [number, 'Answer: \\$1,000.00', '1000'],
  [number, 'Answer: 25\\%', '25'],
  [number, 'Answer: 12.75 meters', '12.75'],
  [number, 'Answer: about 30 minutes', '30'],
  [number, 'Answer: 1\u202f234\u202f567', '1234567'],
  [number, 'Answer: 12\u00a0500 euros', '12500'],
  [number, 'Answer: 10\u00a0apples', '10'],
  [number, 'Answer: 1\\,000', '1000'],
  [number, 'Answer: 2.5 million', '2500000'],
  [number, 'Answer: 3 thousand people', '3000'],
  [number, 'Answer: $1.2 billion', '1200000000'],
  [number, 'Answer: 3 millions of ants', '3'],
  [number, 'Answer: 1,23', '1'],
  [number, 'Answer: 12,345.60', '12345.6'],
  [number, 'Answer: +7', '7'],
  [number, 'Answer: - 7', '-7'],
  [number, 'Answer: –12', '-12'],
  [number, 'It fell to -4.', '-4'],
  [number, 'Answer：８', '8'],
  [number, 'Answer = 16', '16'],
  [number, 'Answer - 16', '16'],
  [number, '__Answer__: 16', '16'],
  // fractions
  [number, 'Answer: 2 1/2', '5/2'],
  [number, 'Answer: 1½ hours', '3/2'],
  [number, 'Answer: ¾', '3/4'],
  [number, 'Answer: \\dfrac{7}{2}', '7/2'],
  [number, 'Answer: 1/2 = 0.5', '0.5'],
  [number, 'Answer: 10/2/2024', '10'],
  // letters: the ways of saying it
  [four, 'The answer is (C) a clock.', 'C'],
  [four, 'The answer is: B', 'B'],
  [four, 'The correct answer is D because it is the largest.', 'D'],
  [four, 'The correct option is B. Option A is too small.', 'B'],
  [four, 'The best choice is C. A and B fail.', 'C'],
  [four, 'The right choice would be D, not A', 'D'],
  [four, 'Answer: [C]', 'C'],
  [four, 'Answer: "C"', 'C'],
  [four, 'Answer: C)', 'C'],
  [four, 'Answer: C: option 2', 'C'],
  [four, 'Answer: option c', 'C'],
  [four, 'Answer: (b) option 1', 'B'],
  [four, 'Answer: Choice D', 'D'],
  [four, '*Answer*: D', 'D'],
  [four, 'Answer：Ｃ', 'C'],
  [four, 'End with "Answer:" and the letter.\nIt is hot, so C.\nAnswer: C', 'C'],
  [four, 'Answer: not A but C', 'C'],
  [four, 'Answer: It isn’t A. It is C.', 'C'],
  [four, 'Answer: C rather than B', 'C'],
  [four, 'C is right. A is wrong.', 'C'],
  [four, 'B fits. We can rule out D', 'B'],
  [four, 'It boils at 100 °C, so B', 'B'],
  [four, 'B, as it is 25 °C', 'B'],
  [four, 'B, as water boils at 100 C', 'B'],
  [four, 'I say B since it has vitamin C', 'B'],
  [four, 'A', 'A'],
  [four, 'a', null],
  [four, 'Answer: a', 'A'],
  [four, 'D: option 3', 'D'],
  [four, '(A) option 0', 'A'],
  [four, 'I do not know', null],
  [four, 'Answer: none of them', null],
  // a letter that the question does not have is an answer, and a wrong one
  [four, 'A is tempting.\nAnswer: E', null],
  [three, 'A or B. Answer: D', null],
  [five, 'Answer: F', null],
  // ARC's labels: 1–4 answered by letters (taken by position), letters answered by numbers (not
  // taken), five and three choices
  [digits, 'Answer: B', '2'],
  [digits, 'Answer: (D) option 3', '4'],
  [digits, 'Answer: C.', '3'],
  [digits, 'The answer is A', '1'],
  [digits, 'Answer: E', null],
  [digits, 'A dog. Answer: A dog has fur', null],
  [digits, 'I think B', null],
  [four, 'Answer: 2', null],
  [four, 'Answer: 2 of them, so B', 'B'],
  [{ answer: '5', choices: letters('12345') }, 'Answer: 5', '5'],
  [{ answer: '5', choices: letters('12345') }, 'Answer: E', '5'],
  [digits, 'There are 4 planets, so option 2', '2'],
  [digits, 'Option 3. There are 4 planets.', '3'],
  [digits, '2 + 2 = 4, hence (3)', '3'],
  [digits, 'Answer: 3 because 1 + 1 = 2', '3'],
  [digits, 'Answer: number 1', '1'],
  [five, 'So the last one, E', 'E'],
  [five, 'The answer is (E) option 4', 'E'],
  [three, 'Answer: C', 'C'],
  // by text
  [things, 'Answer: the clock', 'B'],
  [things, 'Answer: It is a clock, because it ticks.', 'B'],
  [things, 'The answer is honey', 'D'],
  [things, 'Answer: not honey', null],
  [things, 'Answer: honey or a spoon', null],
  [things, 'Answer: C. A magnet', 'C'],
  [
    { answer: 'B', choices: letters('ABC', ['ice', 'dry ice', 'steam']) },
    'Answer: It is dry ice.',
    'B',
  ],
  [{ answer: '1', choices: letters('123', ['2', '4', '8']) }, 'Answer: 2', '2'],
  [{ answer: 'A', choices: letters('ABC', ['2', '4', '8']) }, 'Answer: 8', 'C'],
  [
    { answer: 'C', choices: letters('ABC', ['3 apples', '4 apples', '5 apples']) },
    'Answer: 4 apples',
    'B',
  ],
  // thoughts are no answer
  [number, '<think>Answer: 3? No.</think>Answer: 4', '4'],
  [number, 'Maybe 3, so Answer: 3</think>\nAnswer: 4 <think>5</think>', '4'],
  [number, 'So 4. <think>Answer: 5', '4'],
  [number, '<think>Answer: 5', null],
  [four, '<think>The answer is B</think>The answer is C.', 'C'],
  [word, '<think>Answer: warm</think>\nAnswer: cold', 'cold'],
  // the first marker counts, whatever its kind
  [number, '\\boxed{8}\n\nQuestion: next?\nAnswer: 9', '8'],
  [number, 'The answer is 6.\n#### 7', '6'],
  [number, 'The answer is not obvious. We have 5 bags.\nAnswer: 20', '20'],
  [four, 'So \\boxed{B}.\n\nQuestion: next?\nAnswer: D', 'B'],
  [four, 'The answer is A.\n\nNext: Answer: D', 'A'],
  [word, 'The answer is cold.\nAnswer: warm', 'cold'],
  // powers, fractions, times, years
  [number, 'Answer: 2^5', '32'],
  [number, 'Answer: 2**5 = 32', '32'],
  [number, 'Answer: $10^{3}$', '1000'],
  [number, 'Answer: 5² = 25', '25'],
  [number, 'Answer: 3 × 10^4', '30000'],
  [number, 'Answer: 1.5 \\times 10^{-1}', '0.15'],
  [number, 'Answer: 2^3 + 1 = 9', '9'],
  [number, 'The area is 45 m^2', '45'],
  [number, 'The area is 45 m²', '45'],
  [number, 'Answer: \\frac34', '3/4'],
  [number, 'Answer: 1⁄2', '1/2'],
  [number, 'Answer: at 10:30 he has 5 apples', '5'],
  [number, 'Answer: by 6 pm she reads 12 pages', '12'],
  [number, 'Answer: 5 pm', '5'],
  [number, 'Answer: 10:30', '10'],
  [number, 'There are 15 of them at 10:30', '15'],
  [number, 'Answer: In 2020 he had 15 apples', '15'],
  [number, 'Answer: In 2020, 15 apples', '15'],
  [number, 'Answer: He was born in 1990', '1990'],
  [number, 'Answer: in 1500 steps, that is 3 rounds', '1500'],
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
    expect(performance.now() - start).toBeLessThan(5000);
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

describe('an answer with a solution before ####', () => {
  const row = { answer: 'There are 2 + 3 = <<2+3=5>>5 pens.\n#### 5' };
  it('is the text behind it', () => {
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
