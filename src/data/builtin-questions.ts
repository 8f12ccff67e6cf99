/**
 * Templates of the built-in prompts that ask for words: opposites, categories, spelling, counting
 * letters, simple logic, general knowledge.
 */
import { MONTHS, WEEK } from './calendar.js';
import { multipleChoice, NAMES, numeric, word, type Template } from './problem.js';

const OPPOSITES = [
  ['hot', 'cold'],
  ['big', 'small'],
  ['fast', 'slow'],
  ['up', 'down'],
  ['day', 'night'],
  ['wet', 'dry'],
  ['happy', 'sad'],
  ['open', 'closed'],
  ['full', 'empty'],
  ['early', 'late'],
  ['light', 'dark'],
  ['hard', 'soft'],
  ['old', 'young'],
  ['tall', 'short'],
  ['loud', 'quiet'],
  ['rich', 'poor'],
  ['strong', 'weak'],
  ['clean', 'dirty'],
  ['near', 'far'],
  ['left', 'right'],
  ['true', 'false'],
  ['first', 'last'],
  ['buy', 'sell'],
  ['push', 'pull'],
  ['win', 'lose'],
  ['begin', 'end'],
  ['above', 'below'],
  ['inside', 'outside'],
  ['summer', 'winter'],
  ['north', 'south'],
  ['love', 'hate'],
  ['always', 'never'],
  ['laugh', 'cry'],
  ['give', 'take'],
  ['wide', 'narrow'],
  ['deep', 'shallow'],
  ['sweet', 'bitter'],
  ['brave', 'afraid'],
  ['smooth', 'rough'],
  ['thick', 'thin'],
] as const;

const CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  'a fruit': ['apple', 'pear', 'grape', 'mango', 'cherry', 'plum', 'peach', 'banana', 'lemon'],
  'an animal': ['horse', 'rabbit', 'lion', 'frog', 'sheep', 'tiger', 'camel', 'whale', 'goat'],
  'a color': ['blue', 'green', 'yellow', 'purple', 'brown', 'pink', 'grey'],
  'a tool': ['hammer', 'saw', 'screwdriver', 'wrench', 'drill', 'shovel'],
  'a vehicle': ['bus', 'truck', 'bicycle', 'airplane', 'tractor', 'scooter', 'ship'],
  /* glossary-ok */ 'a piece of furniture': [
    'chair',
    'sofa',
    'desk',
    'bed',
    'wardrobe',
    'bookshelf',
  ],
  'a musical instrument': ['piano', 'violin', 'flute', 'trumpet', 'guitar', 'drum', 'harp'],
  /* glossary-ok */ 'a piece of clothing': ['shirt', 'sock', 'jacket', 'scarf', 'glove', 'sweater'],
  'a vegetable': ['carrot', 'cabbage', 'spinach', 'onion', 'broccoli', 'leek'],
  'a part of the body': ['knee', 'elbow', 'shoulder', 'thumb', 'ankle', 'nose'],
};

/** Question, right answer, three wrong ones. */
const KNOWLEDGE = [
  ['What do bees make?', 'honey', 'milk', 'silk', 'bread'],
  ['Which season comes after winter?', 'spring', 'summer', 'autumn', 'the rainy season'],
  ['What is frozen water called?', 'ice', 'steam', 'sand', 'oil'],
  ['Which of these do people use to tell the time?', 'a clock', 'a spoon', 'a pillow', 'a ladder'],
  ['Where do fish live?', 'in water', 'in trees', 'in clouds', 'in ovens'],
  ['What does a plant need to grow?', 'sunlight', 'music', 'paint', 'sugar candy'],
  ['Which day comes right after Monday?', 'Tuesday', 'Sunday', 'Friday', 'Wednesday'],
  ['Which month comes right after June?', 'July', 'May', 'August', 'April'],
  ['Which planet do we live on?', 'Earth', 'Mars', 'Venus', 'Jupiter'],
  ['What gives us light during the day?', 'the sun', 'the moon', 'the sea', 'the wind'],
  [
    'Which of these is a liquid at room temperature?', // glossary-ok
    'water',
    'iron',
    'wood',
    'stone',
  ],
  ['What do you use to cut paper?', 'scissors', 'a towel', 'a cup', 'a rope'],
  ['Which animal is the largest?', 'elephant', 'mouse', 'cat', 'dog'],
  ['Which of these can fly?', 'an eagle', 'a cow', 'a turtle', 'a shark'],
  ['What shape has three sides?', 'a triangle', 'a square', 'a circle', 'a pentagon'],
  ['Which of these is the heaviest?', 'a truck', 'a feather', 'a book', 'an apple'],
  ['What do we breathe in to live?', 'oxygen', 'gold', 'smoke', 'salt'],
  ['Where do birds usually lay their eggs?', 'in a nest', 'in a river', 'in a car', 'in a cloud'],
  ['Who treats sick people?', 'a doctor', 'a baker', 'a pilot', 'a painter'],
  ['What do you wear on your feet?', 'shoes', 'gloves', 'a hat', 'a belt'],
  ['Which of these is used for writing?', 'a pencil', 'a fork', 'a bucket', 'a pillow'],
  ['What do cows give us to drink?', 'milk', 'juice', 'coffee', 'tea'],
  ['Which sense do we use with our ears?', 'hearing', 'sight', 'taste', 'smell'],
  ['Which material comes from trees?', 'wood', 'glass', 'iron', 'wool'],
  ['What melts when it gets warm?', 'snow', 'a rock', 'a brick', 'a nail'],
  ['Which of these keeps food cold?', 'a refrigerator', 'an oven', 'a toaster', 'a lamp'],
  ['Which of these is a metal?', 'copper', 'cotton', 'paper', 'rubber'],
  ['What is the young of a cat called?', 'a kitten', 'a puppy', 'a calf', 'a chick'],
  ['Which of these do you need in the rain?', 'an umbrella', 'sunglasses', 'a fan', 'a candle'],
  ['What pulls things down to the ground?', 'gravity', 'light', 'sound', 'color'],
] as const;

const SPELLING = [
  'cat',
  'dog',
  'sun',
  'tree',
  'book',
  'fish',
  'house',
  'water',
  'green',
  'bread',
  'table',
  'music',
  'river',
  'cloud',
  'apple',
  'train',
  'stone',
  'night',
  'horse',
  'paper',
  'chair',
  'garden',
  'winter',
  'yellow',
  'school',
  'orange',
  'window',
  'bottle',
  'banana',
  'pencil',
  'summer',
  'flower',
  'kitchen',
  'morning',
  'picture',
  'letter',
  'mirror',
  'carrot',
] as const;

const opposite: Template = (d) => {
  const pair = d.pick(OPPOSITES);
  const [from, to] = d.int(0, 1) ? pair : [pair[1], pair[0]];
  const fact = `opposite ${pair.join(' ')}`;
  const sentence = d.pick([
    `The opposite of ${from} is ${to}.`,
    `If something is not ${from} but the very reverse, it is ${to}.`,
  ]);
  if (d.int(0, 1) === 0)
    return word(
      d,
      d.pick([
        `What is the opposite of "${from}"?`,
        `Give one word that means the opposite of "${from}".`,
      ]),
      to,
      fact,
      sentence,
    );
  const wrong = d.several(
    OPPOSITES.filter((other) => other !== pair).map((other) => other[d.int(0, 1)]!),
    3,
  );
  return multipleChoice(d, {
    question: `Which word is the opposite of "${from}"?`,
    right: to,
    wrong,
    fact,
    step: sentence,
  });
};

const category: Template = (d) => {
  const [group, ...others] = d.several(Object.keys(CATEGORIES), 4);
  const right = d.pick(CATEGORIES[group!]!);
  const wrong = others.map((other) => d.pick(CATEGORIES[other]!));
  return multipleChoice(d, {
    question: d.pick([`Which of these is ${group}?`, `Which word names ${group}?`]),
    right,
    wrong,
    fact: `category ${right}`,
    step: `A ${right} is ${group}; the others are not.`
      .replace('A a', 'An a')
      .replace('A e', 'An e')
      .replace('A o', 'An o'),
  });
};

const knowledge: Template = (d) => {
  const [question, right, ...wrong] = d.pick(KNOWLEDGE);
  return multipleChoice(d, {
    question,
    right,
    wrong,
    fact: `knowledge ${question}`,
    step: d.pick([`The right answer is ${right}.`, `Of the choices, only ${right} fits.`]),
  });
};

const spelling: Template = (d) => {
  const text = d.pick(SPELLING);
  const first = d.int(0, 1) === 0;
  const answer = first ? text[0]! : text.at(-1)!;
  return word(
    d,
    `What is the ${first ? 'first' : 'last'} letter of the word "${text}"?`,
    answer,
    `spelling ${first} ${text}`,
    `The word is spelled ${[...text].join('-')}.`,
    `Its ${first ? 'first' : 'last'} letter is ${answer}.`,
  );
};

const letters: Template = (d) => {
  const text = d.pick(SPELLING);
  return {
    ...numeric(
      d,
      `How many letters are in the word "${text}"?`,
      text.length,
      `The letters are ${[...text].join(', ')}.`,
      `That makes ${text.length}.`,
    ),
    fact: `letters ${text}`,
  };
};

const countingWords: Template = (d) => {
  const [what, ...others] = d.several(SPELLING, 3);
  const times = d.int(2, 5);
  const list = d.several([...Array<string>(times).fill(what!), ...others, others[0]!], times + 3);
  return numeric(
    d,
    `How many times does the word "${what}" occur in this list: ${list.join(', ')}?`,
    times,
    `Going through the list, "${what}" occurs ${times} times.`,
  );
};

const calendar: Template = (d) => {
  const [list, unit] = d.pick([
    [WEEK, 'day'],
    [MONTHS, 'month'],
  ] as const);
  const at = d.int(0, list.length - 1);
  const step = d.int(1, 3);
  const answer = list[(at + step) % list.length]!;
  const after =
    step === 1 ? `comes right after ${list[at]}` : `is ${step} ${unit}s after ${list[at]}`;
  const path = Array.from({ length: step + 1 }, (_, i) => list[(at + i) % list.length]).join(', ');
  return word(
    d,
    `Which ${unit} ${after}?`,
    answer,
    `calendar ${list[at]} ${step}`,
    `We count on from ${list[at]}: ${path}.`,
  );
};

const ordering: Template = (d) => {
  const [a, b, c] = d.several(NAMES, 3) as [string, string, string];
  const [more, most, least] = d.pick([
    ['taller', 'tallest', 'shortest'],
    ['older', 'oldest', 'youngest'],
    ['faster', 'fastest', 'slowest'],
    ['stronger', 'strongest', 'weakest'],
  ] as const);
  const wantsMost = d.int(0, 1) === 0;
  const clues = [`${a} is ${more} than ${b}.`, `${b} is ${more} than ${c}.`];
  const swapped = d.int(0, 1) === 0;
  const told = (swapped ? clues.reverse() : clues).join(' ');
  const question = `${told} Who is the ${wantsMost ? most : least}?`;
  const answer = wantsMost ? a : c;
  return word(
    d,
    question,
    answer,
    `ordering ${[a, b, c].sort().join(' ')} ${most}`,
    `From ${most} to ${least} the order is ${a}, ${b}, ${c}.`,
    `So it is ${answer}.`,
  );
};

const parity: Template = (d) => {
  const n = d.int(2, 199);
  const answer = n % 2 === 0 ? 'even' : 'odd';
  return word(
    d,
    d.pick([`Is the number ${n} even or odd?`, `Is ${n} an odd or an even number?`]),
    answer,
    `parity ${n}`,
    `The last digit of ${n} is ${n % 10}, which is ${answer}.`,
  );
};

export const QUESTIONS: readonly Template[] = [
  opposite,
  opposite,
  category,
  category,
  knowledge,
  spelling,
  letters,
  countingWords,
  calendar,
  ordering,
  parity,
];
