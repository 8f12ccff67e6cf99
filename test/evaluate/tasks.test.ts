import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { grade } from '../../src/evaluate/task.js';
import { TASKS, type TaskName } from '../../src/evaluate/tasks.js';

const choices = (labels: string) => [...labels].map((label) => ({ label, text: `thing ${label}` }));

/** Rows of each task's kind, and completions that answer the first two right and wrong. */
const CASES: Record<TaskName, { rows: object[]; right: string; wrong: string; bad?: object }> = {
  builtin: { rows: [], right: '', wrong: 'I cannot tell, sorry!' },
  arc: {
    rows: [{ id: 'a', question: 'Which?', choices: choices('1234'), answer: '3' }, { id: 'b', question: 'Which one?', choices: choices('ABCDE'), answer: 'E' }],
    right: 'Answer: 3', wrong: 'Answer: 1', bad: { id: 'c', question: 'Which?' },
  },
  openbookqa: { rows: [{ id: 'a', question: 'The sun is', choices: choices('ABCD'), answer: 'B' }], right: 'So it is B.', wrong: 'Answer: A', bad: { id: 'c', question: 'Which?', answer: '4' } },
  siqa: { rows: [{ id: 'a', context: 'Kim ran.', question: 'Why?', choices: choices('ABC'), answer: 'C' }], right: 'Answer: (C)', wrong: 'D', bad: { id: 'c', prompt: 'Hi', answer: 'A' } },
  gsm8k: { rows: [{ id: 'a', question: '2 + 3?', answer: 'Add.\n#### 5', final: '5' }], right: 'Answer: $5.00', wrong: '4', bad: { id: 'c', question: 'Who?', answer: 'Kim' } },
};

let folder: string;
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'cream-task-')); });
afterAll(() => rm(folder, { recursive: true }));
async function file(rows: object[]): Promise<string> {
  const path = join(folder, 'task.jsonl');
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  return path;
}

describe.each(Object.keys(CASES) as TaskName[])('task %s', (name) => {
  const { rows, right, wrong, bad } = CASES[name];
  const source = async () => (name === 'builtin' ? { seed: 0, count: 3 } : { path: await file(rows) });

  it('gives questions with ids, answers, the instruction, and its name', async () => {
    const questions = await TASKS[name].questions(await source());
    expect(questions.length).toBeGreaterThan(0);
    for (const question of questions) {
      expect(question).toMatchObject({ id: expect.any(String), answer: expect.any(String), task: name });
      expect(question.prompt[0]!.content).toContain('step by step');
      expect(question.prompt[0]!.content).toContain('Answer:');
    }
  });
  it('grades a right and a wrong completion', async () => {
    const [question] = await TASKS[name].questions(await source());
    expect(grade(question!, { text: right || `Answer: ${question!.answer}`, tokens: 5 })).toMatchObject({ prompt_id: question!.id, task: name, correct: true, tokens: 5 });
    expect(grade(question!, { text: wrong, tokens: 5 }).correct).toBe(false);
  });
  it('takes the first questions when told how many', async () => {
    expect(await TASKS[name].questions({ ...(await source()), count: 1 })).toHaveLength(1);
  });
  if (bad) {
    it('names the question that it cannot grade, and wants a path', async () => {
      await expect(TASKS[name].questions({ path: await file([...rows, bad]) })).rejects.toThrow(`the task ${name} cannot grade it`);
      await expect(TASKS[name].questions({})).rejects.toThrow('give its path');
    });
  }
});

describe('grade', () => {
  it('names a prompt without an answer', () => {
    expect(() => grade({ id: 'p', prompt: [{ role: 'user', content: 'Hi' }] }, { text: '', tokens: 1 })).toThrow('prompt "p" has no answer');
  });
});
