/**
 * Arithmetic templates of the built-in prompts, easiest first. A small chat model solves most of
 * the first ones and few of the last, so that accuracy can rise and fall.
 */
import {
  adding,
  doubling,
  largest,
  multiplying,
  sequence,
  sharing,
  sums,
  takingAway,
} from './builtin-one-step.js';
import { count, NAMES, numeric, THINGS, type Template } from './problem.js';

const ages: Template = (d) => {
  const [a, b] = d.several(NAMES, 2);
  const age = d.int(4, 30);
  const gap = d.int(2, 12);
  const years = d.int(2, 10);
  const older = `${a} is ${age} years old. ${b} is ${gap} years older than ${a}.`;
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      `${older} How old is ${b}?`,
      age + gap,
      `${b} is ${gap} years older than ${age}.`,
      `${age} + ${gap} = ${age + gap}.`,
    );
  return numeric(
    d,
    `${older} How old will ${b} be in ${years} years?`,
    age + gap + years,
    `Now ${b} is ${age} + ${gap} = ${age + gap}.`,
    `In ${years} years that is ${age + gap} + ${years} = ${age + gap + years}.`,
  );
};

const comparing: Template = (d) => {
  const [a, b] = d.several(NAMES, 2);
  const thing = d.pick(THINGS);
  const y = d.int(3, 30);
  const x = y + d.int(2, 25);
  return numeric(
    d,
    `${a} has ${x} ${thing} and ${b} has ${y} ${thing}. How many more ${thing} does ${a} ` +
      `have than ${b}?`,
    x - y,
    `We subtract: ${x} - ${y} = ${x - y}.`,
  );
};

const shopping: Template = (d) => {
  const name = d.pick(NAMES);
  const [itemA, itemB] = d.several(
    [
      'notebook',
      'pen',
      'sandwich',
      'cup of tea',
      'ruler',
      'hat',
      'toy car',
      'banana',
      'bottle of water',
      'candle',
    ],
    2,
  );
  const n = d.int(2, 6);
  const price = d.int(2, 9);
  const other = d.int(1, 12);
  const cost = n * price;
  const question =
    `A ${itemA} costs ${price} dollars and a ${itemB} costs ${count(other, 'dollars')}. ` +
    `${name} buys ${n} of the first and one of the second. How many dollars does ${name} pay?`;
  return numeric(
    d,
    question,
    cost + other,
    `The ${n} of the first cost ${n} x ${price} = ${cost} dollars.`,
    `With the other item it is ${cost} + ${other} = ${cost + other} dollars.`,
  );
};

const change: Template = (d) => {
  const name = d.pick(NAMES);
  const thing = d.pick(THINGS);
  const n = d.int(2, 6);
  const price = d.int(1, 8);
  const cost = n * price;
  const paid = Math.ceil((cost + 1) / 10) * 10;
  return numeric(
    d,
    `${name} buys ${n} ${thing} at ${count(price, 'dollars')} each and pays with ${paid} ` +
      `dollars. How many dollars of change does ${name} get?`,
    paid - cost,
    `The cost is ${n} x ${price} = ${cost} dollars.`,
    `The change is ${paid} - ${cost} = ${paid - cost} dollars.`,
  );
};

const distance: Template = (d) => {
  const mover = d.pick(['car', 'train', 'bus', 'cyclist', 'boat', 'truck']);
  const speed = d.int(2, 12) * 5;
  const hours = d.int(2, 6);
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      `A ${mover} travels at ${speed} km per hour for ${hours} hours. How many km does it travel?`,
      speed * hours,
      `Distance is speed times time.`,
      `${speed} x ${hours} = ${speed * hours} km.`,
    );
  return numeric(
    d,
    `A ${mover} travels ${speed * hours} km in ${hours} hours at the same speed all the ` +
      'time. How many km does it travel in one hour?',
    speed,
    `We divide the distance by the time.`,
    `${speed * hours} / ${hours} = ${speed} km per hour.`,
  );
};

const rate: Template = (d) => {
  const [maker, product] = d.pick([
    ['baker', 'loaves'],
    ['printer', 'pages'],
    ['machine', 'parts'],
    ['painter', 'fences'],
    ['gardener', 'trees'],
  ] as const);
  const each = d.int(2, 15);
  const hours = d.int(2, 8);
  return numeric(
    d,
    `A ${maker} finishes ${each} ${product} every hour. How many ${product} are finished ` +
      `after ${hours} hours?`,
    each * hours,
    `In one hour there are ${each}, so in ${hours} hours there are ${hours} x ${each} = ` +
      `${each * hours}.`,
  );
};

const wages: Template = (d) => {
  const name = d.pick(NAMES);
  const wage = d.int(6, 20);
  const hours = d.int(2, 8);
  const spent = d.int(3, wage * hours - 1);
  const earned = wage * hours;
  return numeric(
    d,
    `${name} earns ${wage} dollars per hour and works for ${hours} hours. Then ${name} ` +
      `spends ${spent} dollars. How many dollars are left?`,
    earned - spent,
    `${name} earns ${wage} x ${hours} = ${earned} dollars.`,
    `After spending, ${earned} - ${spent} = ${earned - spent} dollars are left.`,
  );
};

const fractionOf: Template = (d) => {
  const thing = d.pick(THINGS);
  const name = d.pick(NAMES);
  const [part, by] = d.pick([
    ['half', 2],
    ['a third', 3],
    ['a quarter', 4],
    ['a fifth', 5],
  ] as const);
  const each = d.int(2, 12);
  const total = by * each;
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      `What is ${part} of ${total}?`,
      each,
      `${part[0]!.toUpperCase()}${part.slice(1)} means dividing by ${by}.`,
      `${total} / ${by} = ${each}.`,
    );
  return numeric(
    d,
    `${name} has ${total} ${thing} and gives ${part} of them to a friend. How many ` +
      `${thing} does ${name} keep?`,
    total - each,
    `${name} gives away ${total} / ${by} = ${each}.`,
    `${total} - ${each} = ${total - each} are kept.`,
  );
};

const percentage: Template = (d) => {
  const percent = d.pick([10, 20, 25, 50]);
  const base = d.int(1, 15) * (percent === 25 ? 4 : 10);
  const part = (percent * base) / 100;
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      `What is ${percent} percent of ${base}?`,
      part,
      `${percent} percent is ${percent} / 100.`,
      `${base} x ${percent} / 100 = ${part}.`,
    );
  return numeric(
    d,
    `A jacket costs ${base} dollars. In a sale its price is ${percent} percent lower. How ` +
      'many dollars does it cost in the sale?',
    base - part,
    `${percent} percent of ${base} is ${part}.`,
    `The new price is ${base} - ${part} = ${base - part} dollars.`,
  );
};

const time: Template = (d) => {
  const start = d.int(1, 8);
  const hours = d.int(1, 4);
  const minutes = d.int(1, 11) * 5;
  if (d.int(0, 1) === 0) {
    const what = d.pick(['film', 'meeting', 'lesson', 'concert', 'match']);
    return numeric(
      d,
      `A ${what} starts at ${start} o'clock and lasts ${count(hours, 'hours')}. At what ` +
        'hour does it end?',
      start + hours,
      `We add ${count(hours, 'hours')} to ${start} o'clock: ${start} + ${hours} = ` +
        `${start + hours}.`,
    );
  }
  const total = hours * 60 + minutes;
  return numeric(
    d,
    `How many minutes are ${count(hours, 'hours')} and ${minutes} minutes?`,
    total,
    `One hour has 60 minutes, so ${count(hours, 'hours')} ${hours === 1 ? 'is' : 'are'} ` +
      `${hours * 60} minutes.`,
    `${hours * 60} + ${minutes} = ${total}.`,
  );
};

const units: Template = (d) => {
  const [many, few, factor] = d.pick([
    ['cm', 'm', 100],
    ['mm', 'cm', 10],
    ['grams', 'kg', 1000],
    ['minutes', 'hours', 60],
    ['days', 'weeks', 7],
    ['months', 'years', 12],
    ['cents', 'dollars', 100],
    ['seconds', 'minutes', 60],
    ['hours', 'days', 24],
    ['eggs', 'dozens', 12],
  ] as const);
  const n = d.int(2, 30);
  if (d.int(0, 3) > 0)
    return numeric(
      d,
      `How many ${many} are there in ${n} ${few}?`,
      n * factor,
      `There are ${factor} ${many} for each of the ${few}.`,
      `${n} x ${factor} = ${n * factor}.`,
    );
  return numeric(
    d,
    `${n * factor} ${many} are how many ${few}?`,
    n,
    `There are ${factor} ${many} for each of the ${few}.`,
    `${n * factor} / ${factor} = ${n}.`,
  );
};

const area: Template = (d) => {
  const what = d.pick(['garden', 'room', 'field', 'carpet', 'wall', 'yard']); // glossary-ok
  const w = d.int(2, 15);
  const l = w + d.int(1, 10);
  if (d.int(0, 1) === 0)
    return numeric(
      d,
      `A ${what} is ${l} meters long and ${w} meters wide. What is its area in square meters?`,
      l * w,
      `Area is length times width.`,
      `${l} x ${w} = ${l * w}.`,
    );
  return numeric(
    d,
    `A ${what} is ${l} meters long and ${w} meters wide. How many meters is it all the way around?`,
    2 * (l + w),
    `The way around has each side twice.`,
    `2 x (${l} + ${w}) = 2 x ${l + w} = ${2 * (l + w)}.`,
  );
};

const passengers: Template = (d) => {
  const vehicle = d.pick(['bus', 'train', 'ferry', 'tram']);
  const on = d.int(10, 40);
  const off = d.int(2, 9);
  const more = d.int(2, 15);
  return numeric(
    d,
    `A ${vehicle} has ${on} passengers. At a stop ${off} people get off and ${more} people ` +
      'get on. How many passengers are there now?',
    on - off + more,
    `After ${off} get off there are ${on} - ${off} = ${on - off}.`,
    `After ${more} get on there are ${on - off} + ${more} = ${on - off + more}.`,
  );
};

const saving: Template = (d) => {
  const name = d.pick(NAMES);
  const weekly = d.int(2, 15);
  const weeks = d.int(3, 10);
  const what = d.pick(['bicycle', 'game', 'coat', 'guitar', 'camera']);
  return numeric(
    d,
    `${name} saves ${weekly} dollars every week to buy a ${what} that costs ` +
      `${weekly * weeks} dollars. After how many weeks can ${name} buy it?`,
    weeks,
    `We divide the price by what is saved in a week.`,
    `${weekly * weeks} / ${weekly} = ${weeks} weeks.`,
  );
};

const legs: Template = (d) => {
  const [[animalA, legsA], [animalB, legsB]] = d.several(
    [
      ['cows', 4],
      ['chickens', 2],
      ['spiders', 8],
      ['ants', 6],
      ['dogs', 4],
      ['ducks', 2],
      ['goats', 4],
    ] as const,
    2,
  ) as [readonly [string, number], readonly [string, number]];
  const a = d.int(1, 9);
  const b = d.int(1, 9);
  const total = a * legsA + b * legsB;
  return numeric(
    d,
    `On a farm there are ${count(a, animalA)} and ${count(b, animalB)}. How many legs do ` +
      'they have in total?',
    total,
    `The ${animalA} have ${a} x ${legsA} = ${a * legsA} legs and the ${animalB} have ${b} ` +
      `x ${legsB} = ${b * legsB} legs.`,
    `${a * legsA} + ${b * legsB} = ${total}.`,
  );
};

/** One-step templates are listed twice, so they are drawn twice as often. */
export const PROBLEMS: readonly Template[] = [
  adding,
  adding,
  takingAway,
  takingAway,
  multiplying,
  multiplying,
  sharing,
  sharing,
  sums,
  sums,
  largest,
  largest,
  sequence,
  doubling,
  ages,
  comparing,
  shopping,
  change,
  distance,
  rate,
  wages,
  fractionOf,
  percentage,
  time,
  units,
  area,
  passengers,
  saving,
  legs,
];
