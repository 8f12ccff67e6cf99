/**
 * Tasks in the published columns of their data sets, compared item by item with
 * lm-evaluation-harness 0.4.13 itself (scripts/golden/loglikelihood.py), and their prompts for
 * generation.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { answerByLikelihood } from '../../src/evaluate/loglikelihood.js';
import { grade, type Question } from '../../src/evaluate/task.js';
import { TASKS } from '../../src/evaluate/tasks.js';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { temporaryFolder } from '../support/tiny-model.js';

const FILES = {
  boolq: 'boolq',
  piqa: 'piqa',
  hellaswag: 'hellaswag',
  winogrande: 'winogrande',
  truthfulqa_mc1: 'truthfulqa',
  truthfulqa_mc2: 'truthfulqa',
} as const;
type Name = keyof typeof FILES;
const NAMES = Object.keys(FILES) as Name[];
interface Item {
  task: Name;
  choice_logps: number[];
  acc: number;
  acc_norm?: number;
}
const FOLDER = fileURLToPath(new URL('../golden/lm-eval-published/', import.meta.url));
const golden = JSON.parse(readFileSync(`${FOLDER}expected.json`, 'utf8')) as Record<
  'plain' | 'chat',
  Item[]
>;
const work = temporaryFolder('cream-published-');
const fileOf = (name: Name) => `${FOLDER}${FILES[name]}.jsonl`;
const rowsOf = (name: Name) =>
  readFileSync(fileOf(name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const questionsOf = async (name: Name, ...rows: object[]): Promise<Question[]> => {
  const source = join(work, `${name}.jsonl`);
  writeFileSync(source, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return TASKS[name].questions({ source });
};

let language: LanguageModel;
beforeAll(async () => {
  language = await loadModel(FOLDER, { dtype: 'float32' });
});
afterAll(() => language.dispose());

describe.each(['plain', 'chat'] as const)('%s', (kind) => {
  it.each(NAMES)('%s: every log-likelihood and measure is the harness’s', async (name) => {
    const expected = golden[kind].filter(({ task }) => task === name);
    const questions = await TASKS[name].questions({ source: fileOf(name) });
    expect(questions).toHaveLength(expected.length);
    const answers = await answerByLikelihood(
      questions,
      language,
      { chat: kind === 'chat', max_num_batched_tokens: 1024 },
      { signal: new AbortController().signal, progress: () => {} },
    );
    answers.forEach((answer, i) => {
      const { choice_logps, acc, acc_norm } = expected[i]!;
      // TruthfulQA shows its choices in an order of its own.
      const sorted = (values: readonly number[]) => [...values].sort((a, b) => a - b);
      const ours = name.startsWith('truthfulqa')
        ? [sorted(answer.choice_logps!), sorted(choice_logps)]
        : [answer.choice_logps!, choice_logps];
      expect(ours[0]).toHaveLength(ours[1]!.length);
      ours[0]!.forEach((logp, c) => expect(Math.abs(logp - ours[1]![c]!)).toBeLessThan(1e-3));
      if (name === 'truthfulqa_mc2') {
        expect(answer.score).toBeCloseTo(acc, 5);
        expect(answer.correct).toBe(acc > 0.5);
      } else expect([i, Number(answer.correct)]).toEqual([i, acc]);
      const norm = answer.correct_norm;
      expect([i, norm === undefined ? undefined : Number(norm)]).toEqual([i, acc_norm]);
    });
  });

  it('covers right and wrong answers of every task', () => {
    for (const name of NAMES) {
      const items = golden[kind].filter(({ task }) => task === name);
      expect(items).toHaveLength(12);
      expect(new Set(items.map(({ acc }) => acc > 0.5)).size).toBe(2);
    }
  });
});

describe('generation', () => {
  it.each([
    ['boolq', 0, 'B'],
    ['piqa', 0, 'A'],
    ['hellaswag', 1, 'B'],
    ['winogrande', 1, 'B'],
  ] as const)('%s shows its choices by letter, and grades the letter', async (name, at, right) => {
    const question = (await TASKS[name].questions({ source: fileOf(name) }))[at]!;
    expect(question.answer).toBe(right);
    for (const { label, text } of question.choices!)
      expect(question.prompt[0]!.content).toContain(`\n${label}. ${text}`);
    expect(grade(question, { text: `Answer: ${right}`, tokens: 3 }).correct).toBe(true);
    expect(
      grade(question, { text: `Answer: ${right === 'A' ? 'B' : 'A'}`, tokens: 3 }).correct,
    ).toBe(false);
  });

  it('shows TruthfulQA’s true choice at different places', async () => {
    const questions = await TASKS.truthfulqa_mc1.questions({ source: fileOf('truthfulqa_mc1') });
    expect(new Set(questions.map(({ answer }) => answer)).size).toBeGreaterThan(1);
    const rows = rowsOf('truthfulqa_mc1') as { mc1_targets: { choices: string[] } }[];
    questions.forEach(({ choices, answer }, i) => {
      const right = choices!.find(({ label }) => label === answer)!;
      expect(right.text).toBe(rows[i]!.mc1_targets.choices[0]);
    });
  });
});

describe('published forms', () => {
  it.each(NAMES)('%s is read from Parquet, as the hub has it, as from JSON Lines', async (name) => {
    const source = fileOf(name).replace('.jsonl', '.parquet');
    expect(await TASKS[name].questions({ source })).toEqual(
      await TASKS[name].questions({ source: fileOf(name) }),
    );
  });
  it('HellaSwag’s texts are cleaned as in the harness', async () => {
    const [question] = await questionsOf('hellaswag', {
      activity_label: 'Tea',
      ctx_a: '[header] How to make tea [title] Boil water. [step] Use a  kettle.',
      ctx_b: 'THEN pour',
      endings: ['[substeps] it out.', 'stop [title] there', 'a', 'b'],
      label: 3,
    });
    expect(question!.stem).toBe('Tea: How to make tea. Boil water. Use a kettle. Then pour');
    expect(question!.choices!.map(({ text }) => text)).toEqual([
      'it out.'.padStart(8),
      'stop. there',
      'a',
      'b',
    ]);
    expect(question!.answer).toBe('D');
  });
  it('WinoGrande scores what follows the blank behind either option', async () => {
    const [question] = await questionsOf('winogrande', {
      sentence: 'The cup fell off the shelf because the _ was wet.',
      option1: 'cup',
      option2: 'shelf',
      answer: '2',
    });
    expect(question).toMatchObject({
      answer: 'B',
      stem: [
        'The cup fell off the shelf because the cup',
        'The cup fell off the shelf because the shelf',
      ],
      continuation: 'was wet.',
    });
    await expect(
      questionsOf('winogrande', { sentence: 'No blank.', option1: 'a', option2: 'b', answer: '1' }),
    ).rejects.toThrow('winogrande.jsonl line 1: "sentence" must have a blank "_"');
  });
  it('reads BoolQ’s answers as numbers and as booleans', async () => {
    const row = { passage: 'Tin melts.', question: 'does tin melt' };
    const questions = await questionsOf(
      'boolq',
      { ...row, label: 1, idx: 0 },
      { ...row, answer: true, title: 'Tin' },
      { ...row, label: false },
    );
    expect(questions.map(({ answer }) => answer)).toEqual(['B', 'B', 'A']);
    expect(new Set(questions.map(({ id }) => id)).size).toBe(3);
  });
  it('reads TruthfulQA’s file of the authors like that of the hub', async () => {
    const [row] = rowsOf('truthfulqa_mc2') as {
      question: string;
      mc2_targets: { choices: string[]; labels: number[] };
    }[];
    const { choices, labels } = row!.mc2_targets;
    const objects = Object.fromEntries(choices.map((choice, i) => [choice, labels[i]]));
    const [a] = await questionsOf('truthfulqa_mc2', row!);
    const [b] = await questionsOf('truthfulqa_mc2', { ...row, mc2_targets: objects });
    expect(b).toEqual(a);
    expect(a!.right).toHaveLength(labels.filter(Boolean).length);
  });
  it.each([
    [{ label: null, answer: true }, 'B'],
    [{ label: -1, answer: false }, 'A'],
    [{ label: 1, answer: true }, 'B'],
    [{ label: false }, 'A'],
    [{ label: '1', answer: '' }, 'B'],
  ])('BoolQ takes the answer of %j', async (given, answer) => {
    const [question] = await questionsOf('boolq', { passage: 'p', question: 'q', ...given });
    expect(question!.answer).toBe(answer);
  });
  it.each([
    ['piqa', { goal: 'g', sol1: 'a', sol2: 'b', label: -1 }, 'the row has no answer, and the task'],
    ['piqa', { goal: 'g', sol1: 'a', sol2: 'b', label: 'x' }, '"label" must be the number of the'],
    ['piqa', { goal: 'g', sol1: 'a', sol2: 'b', label: 2 }, 'number 2 from 0, and the row has 2'],
    ['piqa', { question: 'g', answer: 'A' }, 'reads the columns goal, sol1, sol2, label, as hub:'],
    ['boolq', { passage: 'p', question: 'q' }, 'the row has no answer, and the task boolq grades'],
    ['boolq', { passage: 'p', question: 'q', label: 'yes' }, '"label" must be the number of the'],
    [
      'winogrande',
      { sentence: 'A _ b.', option1: 'a', option2: 'b', answer: true },
      '"answer" must be the number of the right choice, from 1, but is true',
    ],
    ['piqa', { goal: 'g', sol1: 'a', sol2: 'b', label: false }, 'from 0, but is false'],
    [
      'hellaswag',
      { activity_label: 'a', ctx_a: 'a', ctx_b: '', endings: ['x', 'y'], label: true },
      'from 0, but is true',
    ],
    [
      'hellaswag',
      { activity_label: 'a', ctx_a: 'a', ctx_b: '', endings: 'x', label: '0' },
      '"endings" must be a list of texts',
    ],
    [
      'truthfulqa_mc1',
      { question: 'q', mc1_targets: { choices: ['a'], labels: [1, 0] } },
      '"mc1_targets" must be {"choices", "labels"} of the same length',
    ],
    [
      'boolq',
      { passage: 'p', question: 'q', label: 1, answer: false },
      '"label" and "answer" contradict each other',
    ],
    [
      'truthfulqa_mc1',
      { question: 'q', mc1_targets: { choices: ['a', 'b'], labels: [1, 1] } },
      '2 of 2 choices are right, and the task truthfulqa_mc1 grades by one',
    ],
    [
      'truthfulqa_mc2',
      { question: 'q', mc2_targets: { choices: ['a', 'b'], labels: [1, 1] } },
      '2 of 2 choices are right, and the task truthfulqa_mc2 compares right choices with wrong',
    ],
  ] as const)(
    '%s: names file, line and column of a row it cannot use',
    async (name, row, reason) => {
      await expect(questionsOf(name, row)).rejects.toThrow(reason);
      await expect(questionsOf(name, row)).rejects.toThrow(`${name}.jsonl line 1: `);
    },
  );
});
