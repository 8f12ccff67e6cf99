/**
 * Built-in prompts: generated word problems and short questions with known answers, free to use. A
 * run needs no download for them. Training sees only the prompts, evaluation also the answers.
 *
 * Splits are disjoint by construction: the text of a problem (normalised, without people's names)
 * is hashed, and the hash alone decides whether it belongs to train, test or sft, whatever the
 * seed. Item `index` of (seed, split) is always the same problem, so a longer list starts with the
 * shorter one.
 */
import { createHash } from 'node:crypto';
import type { DemonstrationRecord, PromptRecord } from './records.js';
import { PROBLEMS } from './builtin-problems.js';
import { QUESTIONS } from './builtin-questions.js';
import { Draw } from './draw.js';
import { NAMES, type Problem } from './problem.js';
import { askChoices, askQuestion } from './question.js';

export const SPLITS = ['train', 'test', 'sft'] as const;
export type Split = (typeof SPLITS)[number];

/** Of ten hash values, those below 5 are train, 5 to 7 test, the rest sft. */
const SPLIT_OF_TEN: readonly Split[] = [
  'train',
  'train',
  'train',
  'train',
  'train',
  'test',
  'test',
  'test',
  'sft',
  'sft',
];
/**
 * Attempts for one item before giving up; the arithmetic templates alone have millions of problems.
 */
const MAX_ATTEMPTS = 10_000;
/** Most items of one list. */
const MAX_BUILTIN = 100_000;

const TEMPLATES = [...PROBLEMS, ...QUESTIONS];

/**
 * The first `count` prompts of (seed, split), with answers. @throws RangeError unless count and
 * seed are whole numbers ≥ 0
 */
export function builtinPrompts({
  seed,
  split,
  count,
}: {
  seed: number;
  split: Split;
  count: number;
}): PromptRecord[] {
  return problems(seed, split, count).map(({ question, answer, kind, choices }, index) => ({
    id: builtinId(seed, split, index),
    prompt: choices ? askChoices(question, choices) : askQuestion(question, kind),
    answer,
    task: 'builtin',
    ...(choices && { choices }),
  }));
}

/**
 * The first `count` demonstrations of (seed, 'sft'): short worked solutions that end with `Answer:
 * …`.
 */
export function builtinDemonstrations({
  seed,
  count,
}: {
  seed: number;
  count: number;
}): DemonstrationRecord[] {
  return problems(seed, 'sft', count).map(({ question, kind, choices, solution }, index) => ({
    id: builtinId(seed, 'sft', index),
    prompt: choices ? askChoices(question, choices) : askQuestion(question, kind),
    completion: [{ role: 'assistant', content: solution }],
  }));
}

/** Most items that are generated again to look up an id. */
const MOST_LOOKED_UP = 5000;

/**
 * The built-in prompts with these ids, generated again; unknown ids, and those far down a list, are
 * left out.
 */
export function builtinById(ids: readonly string[]): Map<string, PromptRecord> {
  const lists = new Map<string, { seed: number; split: Split; count: number }>();
  for (const id of ids) {
    const match = /^builtin-(train|test|sft)-(\d{1,15})-(\d{5,6})$/.exec(id);
    if (!match) continue;
    const key = `${match[1]} ${match[2]}`;
    const list = lists.get(key) ?? { seed: Number(match[2]), split: match[1] as Split, count: 0 };
    const count = Number(match[3]) + 1;
    if (count <= MOST_LOOKED_UP) lists.set(key, { ...list, count: Math.max(list.count, count) });
  }
  const wanted = new Set(ids);
  return new Map(
    [...lists.values()].flatMap((list) =>
      builtinPrompts(list)
        .filter(({ id }) => wanted.has(id))
        .map((prompt) => [prompt.id, prompt] as const),
    ),
  );
}

/** The split that a problem belongs to, by its text. */
function splitOf(problem: Problem): Split {
  const digest = createHash('sha256')
    .update(`split ${problem.fact ?? normalise(problem.question)}`)
    .digest();
  return SPLIT_OF_TEN[digest.readUInt32LE(0) % SPLIT_OF_TEN.length]!;
}

/**
 * Lower case, single spaces, and one name for all people: problems that differ only in these are
 * the same problem.
 */
export function normalise(question: string): string {
  return question.toLowerCase().replace(NAME, 'x').replace(/\s+/g, ' ').trim();
}

const NAME = new RegExp(`\\b(?:${NAMES.map((name) => name.toLowerCase()).join('|')})\\b`, 'g');
const builtinId = (seed: number, split: Split, index: number) =>
  `builtin-${split}-${seed}-${String(index).padStart(5, '0')}`;

function problems(seed: number, split: Split, count: number): Problem[] {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new RangeError(
      `the seed of the built-in prompts is ${seed}; give a whole number of at least 0`,
    );
  if (!Number.isSafeInteger(count) || count < 0 || count > MAX_BUILTIN)
    throw new RangeError(
      `${count} built-in prompts were asked for; give a whole number from 0 to ${MAX_BUILTIN}`,
    );
  const seen = new Set<string>();
  return Array.from({ length: count }, (_, index) =>
    nextProblem(new Draw(`${seed} ${split} ${index}`), split, seen),
  );
}

function nextProblem(draw: Draw, split: Split, seen: Set<string>): Problem {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const problem = draw.pick(TEMPLATES)(draw);
    if (splitOf(problem) !== split) continue;
    // A fact may be asked in several forms, but each form only once; numeric problems may not
    // repeat.
    const said =
      problem.fact === undefined ? normalise(problem.question) : `${problem.kind} ${problem.fact}`;
    if (seen.has(said)) continue;
    seen.add(said);
    return problem;
  }
  throw new RangeError(
    `no new built-in problem after ${MAX_ATTEMPTS} draws; ask for fewer than ${seen.size}`,
  );
}
