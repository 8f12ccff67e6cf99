import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { grade } from '../../src/evaluate/task.js';
import { TASKS, type TaskName } from '../../src/evaluate/tasks.js';

const choices = (labels: string) => [...labels].map((label) => ({ label, text: `thing ${label}` }));
const official = (labels: string) => ({
  text: [...labels].map((label) => `thing ${label}`),
  label: [...labels],
});

interface Case {
  /** In the columns of ../shared/data, and in those of the hub. */
  rows: object[];
  hub: object[];
  right: string;
  wrong: string;
  bad?: object;
  stem?: string;
}

const ARC: Case = {
  rows: [
    { id: 'a', question: 'Which?', choices: choices('1234'), answer: '3' },
    { id: 'b', question: 'Which one?', choices: choices('ABCDE'), answer: 'E' },
  ],
  hub: [
    { id: 'a', question: 'Which?', choices: official('1234'), answerKey: '3' },
    { id: 'b', question: 'Which one?', choices: official('ABCDE'), answerKey: 'E' },
  ],
  right: 'Answer: 3',
  wrong: 'Answer: 1',
  bad: { id: 'c', question: 'Which?', answer: '2' },
  stem: 'Question: Which?\nAnswer:',
};

/** Rows of each task's kind, and completions that answer the first of them right and wrong. */
const CASES = {
  builtin: { rows: [], hub: [], right: '', wrong: 'I cannot tell, sorry!' },
  arc: ARC,
  arc_easy: ARC,
  arc_challenge: ARC,
  openbookqa: {
    rows: [{ id: 'a', question: 'The sun is', choices: choices('ABCD'), answer: 'B' }],
    hub: [{ id: 'a', question_stem: 'The sun is', choices: official('ABCD'), answerKey: 'B' }],
    right: 'So it is B.',
    wrong: 'Answer: A',
    bad: { id: 'c', question: 'Which?', answer: '4' },
    stem: 'The sun is',
  },
  siqa: {
    rows: [
      { id: 'a', context: 'Kim ran.', question: 'Why?', choices: choices('ABC'), answer: 'C' },
    ],
    hub: [
      {
        context: 'Kim ran.',
        question: 'Why?',
        answerA: 'thing A',
        answerB: 'thing B',
        answerC: 'thing C',
        label: '3',
      },
    ],
    right: 'Answer: (C)',
    wrong: 'D',
    bad: { id: 'c', prompt: 'Hi', answer: 'A' },
    stem: 'Q: Kim ran. Why?\nA:',
  },
  gsm8k: {
    rows: [{ id: 'a', question: '2 + 3?', answer: 'Add.\n#### 5', final: '5' }],
    hub: [{ question: '2 + 3?', answer: 'Add <<2+3=5>>5.\n#### 5' }],
    right: 'Answer: $5.00',
    wrong: '4',
    bad: { id: 'c', question: 'Who?', answer: 'Kim' },
  },
} satisfies Partial<Record<TaskName, Case>>;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-task-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(rows: object[], name = 'task.jsonl'): Promise<string> {
  const path = join(folder, name);
  await writeFile(
    path,
    name.endsWith('.json')
      ? JSON.stringify(rows)
      : rows.map((row) => JSON.stringify(row)).join('\n'),
  );
  return path;
}

describe.each(Object.keys(CASES) as (keyof typeof CASES)[])('task %s', (name) => {
  const { rows, hub, right, wrong, bad, stem }: Case = CASES[name];
  const source = async () =>
    name === 'builtin' ? { seed: 0, count: 3 } : { source: await file(rows) };

  it('gives questions with ids, answers, the instruction, and its name', async () => {
    const questions = await TASKS[name].questions(await source());
    expect(questions.length).toBeGreaterThan(0);
    for (const question of questions) {
      expect(question).toMatchObject({
        id: expect.any(String),
        answer: expect.any(String),
        task: name,
      });
      expect(question.prompt[0]!.content).toContain('step by step');
      expect(question.prompt[0]!.content).toContain('Answer:');
    }
    expect(questions[0]!.stem).toBe(stem);
  });
  it('grades a right and a wrong completion', async () => {
    const [question] = await TASKS[name].questions(await source());
    expect(
      grade(question!, { text: right || `Answer: ${question!.answer}`, tokens: 5 }),
    ).toMatchObject({ prompt_id: question!.id, task: name, correct: true, tokens: 5 });
    expect(grade(question!, { text: wrong, tokens: 5 }).correct).toBe(false);
  });
  it('takes the given number of questions from the start', async () => {
    expect(await TASKS[name].questions({ ...(await source()), count: 1 })).toHaveLength(1);
  });
  if (name === 'builtin') return;

  it('reads the hub’s columns as the same questions, from JSON Lines and from JSON', async () => {
    const uniform = await TASKS[name].questions(await source());
    for (const at of ['hub.jsonl', 'hub.json']) {
      const read = await TASKS[name].questions({ source: await file(hub, at) });
      expect(read.map(({ id: _, ...question }) => question)).toEqual(
        uniform.map(({ id: _, ...question }) => question),
      );
    }
  });
  it('names file and row of a question that it cannot grade', async () => {
    const path = await file([...rows, bad!]);
    await expect(TASKS[name].questions({ source: path })).rejects.toThrow(
      `the task ${name} cannot grade it`,
    );
    await expect(TASKS[name].questions({ source: path })).rejects.toThrow(
      `${path} line ${rows.length + 1}: question "c"`,
    );
  });
  it('refuses a set without answers in one sentence', async () => {
    const path = await file(rows.map((row) => ({ ...row, answer: undefined, final: undefined })));
    await expect(TASKS[name].questions({ source: path })).rejects.toThrow(
      new RegExp(
        `task.jsonl line 1: the row has no answer \\(text or a number\\), and the task ` +
          `${name} grades ` +
          'by one; its columns are "id"',
      ),
    );
  });
  it('keeps a repeated row under an id of its own', async () => {
    const { id: _, ...row } = rows[0] as { id: string };
    const questions = await TASKS[name].questions({ source: await file([row, row, row]) });
    expect(questions.map(({ id }) => id)).toEqual([
      questions[0]!.id,
      `${questions[0]!.id}-2`,
      `${questions[0]!.id}-3`,
    ]);
    await expect(
      TASKS[name].questions({ source: await file([rows[0]!, rows[0]!]) }),
    ).rejects.toThrow('task.jsonl line 2: the id "a" is also that of');
  });
});

describe('rows with more than the data set has', () => {
  const arc = { id: 'a', question: 'Which?', choices: choices('ABC'), answer: 'B' };
  const siqa = { ...arc, context: 'Kim ran.' };

  it.each([
    ['arc', arc, 'Question: Which?\nAnswer:'],
    ['arc', { ...arc, context: ' ' }, 'Question: Which?\nAnswer:'],
    ['arc', { ...arc, context: ' Kim ran.\n' }, 'Kim ran.\nQuestion: Which?\nAnswer:'],
    ['arc_easy', { ...arc, Context: 'Kim ran.' }, 'Kim ran.\nQuestion: Which?\nAnswer:'],
    ['arc', { ...arc, question: null, question_stem: 'The' }, 'Question: The\nAnswer:'],
    ['openbookqa', { ...arc, context: null }, 'Which?'],
    ['openbookqa', { ...arc, context: 'Kim ran.' }, 'Kim ran.\nWhich?'],
    ['siqa', siqa, 'Q: Kim ran. Which?\nA:'],
    ['siqa', { ...siqa, context: null }, 'Q: Which?\nA:'],
    ['siqa', { ...siqa, system: 'Be brief.' }, 'Q: Kim ran. Which?\nA:'],
    ['siqa', { ...siqa, history: [['Hi', 'Hello']] }, undefined],
  ] as const)('%s: %j has all of the question in its stem', async (name, row, stem) => {
    const [question] = await TASKS[name].questions({ source: await file([row]) });
    expect(question!.stem).toBe(stem);
    for (const part of ['Kim ran.', 'Hello'].filter((text) => JSON.stringify(row).includes(text)))
      expect(question!.prompt.map(({ content }) => content).join()).toContain(part);
  });

  it.each([
    ['arc', { ...arc, answerKey: 'A' }, '"answer" and "answerKey" contradict each other'],
    ['openbookqa', { ...arc, label: 'C' }, '"answer" and "label" contradict each other'],
    ['siqa', { ...siqa, answerKey: 'C' }, '"answer" and "answerKey" contradict each other'],
    [
      'gsm8k',
      { question: '2 + 3?', answer: 'Add.\n#### 6', final: '5' },
      'has the answer 5 in "final" and 6 behind "####" in "answer"; the task gsm8k cannot grade it',
    ],
  ] as const)('%s: answers that contradict each other are refused', async (name, row, message) => {
    const source = await file([row]);
    await expect(TASKS[name].questions({ source })).rejects.toThrow(message);
    await expect(TASKS[name].questions({ source })).rejects.toThrow(`${source} line 1: `);
  });
});

describe('sources', () => {
  it('are the hub’s official sets where none is named', () => {
    expect(Object.entries(TASKS).map(([name, { hub }]) => [name, hub])).toEqual([
      ['builtin', null],
      ['arc_easy', 'hub:allenai/ai2_arc/ARC-Easy:test'],
      ['arc_challenge', 'hub:allenai/ai2_arc/ARC-Challenge:test'],
      ['arc', null],
      ['openbookqa', 'hub:allenai/openbookqa/main:test'],
      ['siqa', 'hub:lighteval/siqa:validation'],
      ['boolq', 'hub:aps/super_glue/boolq:validation'],
      ['piqa', 'hub:baber/piqa:validation'],
      ['hellaswag', 'hub:Rowan/hellaswag:validation'],
      ['winogrande', 'hub:allenai/winogrande/winogrande_xl:validation'],
      ['truthfulqa_mc1', 'hub:truthfulqa/truthful_qa/multiple_choice:validation'],
      ['truthfulqa_mc2', 'hub:truthfulqa/truthful_qa/multiple_choice:validation'],
      ['gsm8k', 'hub:openai/gsm8k/main:test'],
    ]);
  });
  it('must be named for the old name arc', async () => {
    await expect(TASKS.arc.questions({})).rejects.toThrow('write arc:path/to/questions.jsonl');
  });
  it('may hide SIQA’s labels, or have a wrong one', async () => {
    const row = CASES.siqa.hub[0]!;
    await expect(
      TASKS.siqa.questions({ source: await file([{ ...row, label: '' }]) }),
    ).rejects.toThrow('has no answer');
    await expect(
      TASKS.siqa.questions({ source: await file([{ ...row, label: '4' }]) }),
    ).rejects.toThrow('line 1: the answer "4" is not among the labels A, B, C');
  });
});

const SHARED = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
(existsSync(SHARED) ? describe : describe.skip)('the real sets in ../shared/data', () => {
  it.each([
    ['arc_easy', 'arc_easy/test', 1188],
    ['arc_challenge', 'arc_challenge/test', 586],
    ['openbookqa', 'openbookqa/test', 250],
    ['siqa', 'siqa/validation', 960],
    ['gsm8k', 'gsm8k/test', 660],
  ] as const)('%s: every row of %s is a question', async (name, path, rows) => {
    const questions = await TASKS[name].questions({ source: `${SHARED}${path}.jsonl` });
    expect(questions).toHaveLength(rows);
    expect(new Set(questions.map(({ id }) => id)).size).toBe(rows);
    expect(
      questions.every(
        ({ answer, stem }) => answer !== '' && (name === 'gsm8k' || stem !== undefined),
      ),
    ).toBe(true);
  });
});

describe('grade', () => {
  it('names a prompt without an answer', () => {
    expect(() =>
      grade({ id: 'p', prompt: [{ role: 'user', content: 'Hi' }] }, { text: '', tokens: 1 }),
    ).toThrow('prompt "p" has no answer');
  });
});
