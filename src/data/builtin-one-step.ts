/** The easiest arithmetic templates of the built-in prompts. */
import { count, NAMES, numeric, THINGS, type Template } from './problem.js';

export const adding: Template = (d) => {
  const [name, friend] = d.several(NAMES, 2);
  const thing = d.pick(THINGS);
  const a = d.int(2, 40);
  const b = d.int(2, 30);
  const question = d.pick([
    `${name} has ${a} ${thing}. ${friend} gives ${name} ${b} more ${thing}. How many ` +
      `${thing} does ${name} have now?`,
    `There are ${a} ${thing} in one box and ${b} ${thing} in another box. How many ` +
      `${thing} are there in both boxes together?`,
    `${name} found ${a} ${thing} in the morning and ${b} ${thing} in the afternoon. How ` +
      `many ${thing} did ${name} find that day?`,
  ]);
  return numeric(
    d,
    question,
    a + b,
    `We add the two amounts: ${a} + ${b} = ${a + b}.`,
    `The total is ${a + b} ${thing}.`,
  );
};

export const takingAway: Template = (d) => {
  const name = d.pick(NAMES);
  const thing = d.pick(THINGS);
  const b = d.int(2, 25);
  const a = b + d.int(1, 40);
  const left = a - b;
  const question = d.pick([
    `${name} had ${a} ${thing} and gave away ${b} of them. How many ${thing} are left?`,
    `A shop has ${a} ${thing}. It sells ${b} of them in one day. How many ${thing} does ` +
      'the shop still have?',
    `There were ${a} ${thing} on the table. ${name} took ${b}. How many ${thing} remain on ` +
      'the table?',
  ]);
  return numeric(
    d,
    question,
    left,
    `We take ${b} away from ${a}: ${a} - ${b} = ${left}.`,
    `So ${count(left, thing)} ${left === 1 ? 'is' : 'are'} left.`,
  );
};

export const multiplying: Template = (d) => {
  const thing = d.pick(THINGS);
  const n = d.int(2, 10);
  const each = d.int(2, 12);
  const box = d.pick(['box', 'bag', 'basket', 'jar', 'packet']);
  const boxes = box === 'box' ? 'boxes' : `${box}s`;
  const question = d.pick([
    `There are ${n} ${boxes}. Each ${box} holds ${each} ${thing}. How many ${thing} are ` +
      'there in total?',
    `One ${box} has ${each} ${thing} in it. How many ${thing} are in ${n} ${boxes}?`,
  ]);
  return numeric(
    d,
    question,
    n * each,
    `Each of the ${n} ${boxes} has ${each} ${thing}.`,
    `${n} x ${each} = ${n * each}.`,
  );
};

export const sharing: Template = (d) => {
  const name = d.pick(NAMES);
  const thing = d.pick(THINGS);
  const people = d.int(2, 9);
  const each = d.int(2, 12);
  const total = people * each;
  const question = d.pick([
    `${name} shares ${total} ${thing} equally among ${people} children. How many ${thing} ` +
      'does each child get?',
    `${total} ${thing} are put into ${people} equal groups. How many ${thing} are in each group?`,
  ]);
  return numeric(
    d,
    question,
    each,
    `We divide ${total} by ${people}.`,
    `${total} / ${people} = ${each}, because ${people} x ${each} = ${total}.`,
  );
};

export const sums: Template = (d) => {
  const a = d.int(5, 60);
  const b = d.int(3, 40);
  const [high, low] = [Math.max(a, b), Math.min(a, b)];
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      d.pick([`What is ${a} plus ${b}?`, `What is the sum of ${a} and ${b}?`]),
      a + b,
      `${a} + ${b} = ${a + b}.`,
    );
  return numeric(
    d,
    d.pick([`What is ${high} minus ${low}?`, `What is the difference between ${high} and ${low}?`]),
    high - low,
    `${high} - ${low} = ${high - low}.`,
  );
};

export const largest: Template = (d) => {
  const numbers = d.several(
    Array.from({ length: 90 }, (_, i) => i + 5),
    d.int(3, 5),
  );
  const wantsLargest = d.int(0, 1) === 0;
  const answer = wantsLargest ? Math.max(...numbers) : Math.min(...numbers);
  const which = wantsLargest ? 'largest' : 'smallest';
  return numeric(
    d,
    `Which of these numbers is the ${which}: ${numbers.join(', ')}?`,
    answer,
    `We compare the numbers one by one.`,
    `The ${which} of them is ${answer}.`,
  );
};

export const sequence: Template = (d) => {
  const start = d.int(1, 20);
  const step = d.int(2, 9);
  const down = d.int(0, 3) === 0;
  const terms = Array.from({ length: 5 }, (_, i) =>
    down ? start + 4 * step - i * step : start + i * step,
  );
  const answer = terms[4]!;
  const change = down
    ? `smaller than the one before it, so we subtract ${step}`
    : `larger than the one before it, so we add ${step}`;
  return numeric(
    d,
    d.pick([
      `What number comes next: ${terms.slice(0, 4).join(', ')}, ...?`,
      `The list ${terms.slice(0, 4).join(', ')} follows a rule. What is the next number?`,
    ]),
    answer,
    `Each number is ${step} ${change}.`,
    `${terms[3]} ${down ? '-' : '+'} ${step} = ${answer}.`,
  );
};

export const doubling: Template = (d) => {
  const [a, b] = d.several(NAMES, 2);
  const thing = d.pick(THINGS);
  const n = d.int(3, 20);
  const [times, factor] = d.pick([
    ['twice', 2],
    ['three times', 3],
    ['four times', 4],
  ] as const);
  const asked = d.int(0, 1) ? `does ${b} have?` : 'do they have together?';
  const question = `${a} has ${n} ${thing}. ${b} has ${times} as many. How many ${thing} ${asked}`;
  const together = question.endsWith('together?');
  const product = n * factor;
  if (!together)
    return numeric(
      d,
      question,
      product,
      `${times[0]!.toUpperCase()}${times.slice(1)} ${n} is ${factor} x ${n} = ${product}.`,
    );
  return numeric(
    d,
    question,
    product + n,
    `${b} has ${factor} x ${n} = ${product} ${thing}.`,
    `Together they have ${n} + ${product} = ${product + n}.`,
  );
};
