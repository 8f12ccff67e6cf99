import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { demonstrationOf, loadDemonstrations, loadPrompts, promptOf } from '../../src/data/prompts.js';

const line = (value: Record<string, unknown>) => ({ number: 7, where: 'x.jsonl:7', value });
const user = (content: string) => ({ role: 'user' as const, content });
const assistant = (content: string) => ({ role: 'assistant' as const, content });
const choices = [{ label: '1', text: 'ice' }, { label: '2', text: 'fire' }];

let folder: string;
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'cream-prompts-')); });
afterAll(() => rm(folder, { recursive: true }));
async function file(...rows: object[]): Promise<string> {
  const path = join(folder, 'p.jsonl');
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'));
  return path;
}

describe('promptOf', () => {
  it('takes text or messages as they are', () => {
    expect(promptOf(line({ id: 'a', prompt: 'Hi' }))).toEqual({ id: 'a', prompt: [user('Hi')] });
    const prompt = [{ role: 'system' as const, content: 'Be kind.' }, user('Hi')];
    expect(promptOf(line({ id: 5, prompt, answer: 4, task: 't' }))).toEqual({ id: '5', prompt, answer: '4', task: 't' });
    expect(promptOf(line({ id: 'a', messages: [user('Hi'), assistant('Hello'), user('And?'), assistant('No')] })).prompt).toEqual([user('Hi'), assistant('Hello'), user('And?')]);
  });
  it('formats multiple choice with its labels', () => {
    const record = promptOf(line({ id: 'q', context: 'It is winter.', question: 'What is cold?', choices, answer: '1' }));
    expect(record).toMatchObject({ id: 'q', answer: '1', choices });
    expect(record.prompt[0]!.content).toBe(
      'It is winter.\nWhat is cold?\n1. ice\n2. fire\n\nThink step by step in a few short sentences. End with "Answer:" and the letter of the right choice.');
    expect(promptOf(line({ id: 'q', question_stem: 'What is cold?', choices: { label: ['A', 'B'], text: ['ice', 'fire'] }, answerKey: 'B' }))).toMatchObject({ answer: 'B' });
  });
  it('formats GSM8K rows, published or with `final`', () => {
    const solved = 'Add.\n2 + 3 = <<2+3=5>>5\n#### 5';
    expect(promptOf(line({ id: 'g', question: '2 + 3?', answer: solved, final: '5' }))).toMatchObject({ answer: '5' });
    expect(promptOf(line({ id: 'g', question: '2 + 3?', answer: solved }))).toMatchObject({ answer: '5' });
    expect(promptOf(line({ question: '2 + 3?' }))).not.toHaveProperty('answer');
  });
  it('formats instructions with and without input', () => {
    expect(promptOf(line({ instruction: 'Add.', input: '2, 3', output: '5' })).prompt).toEqual([user('Add.\n\n2, 3')]);
    expect(promptOf(line({ instruction: 'Add.', input: '' })).prompt).toEqual([user('Add.')]);
  });
  it('derives an id from the content alone', () => {
    const a = promptOf(line({ prompt: 'Hi' })), b = promptOf({ ...line({ prompt: [user('Hi')], note: 1 }), where: 'y:1' });
    expect(a.id).toMatch(/^[0-9a-f]{16}$/);
    expect(b.id).toBe(a.id);
    expect(promptOf(line({ prompt: 'Ho' })).id).not.toBe(a.id);
  });
  it.each([
    [{ text: 'Hi' }, 'x.jsonl:7: no prompt found; give "prompt" (text or messages), "messages", "question" or "instruction"; the row has "text"'],
    [{ prompt: '' }, '"prompt" must be text or a list'],
    [{ prompt: [] }, '"prompt" must be text or a list'],
    [{ prompt: [{ role: 'robot', content: 'Hi' }] }, '"prompt" must be text or a list'],
    [{ prompt: [user('Hi'), assistant('Ho')] }, '"prompt" ends with an assistant turn'],
    [{ messages: [assistant('Ho')] }, '"messages" has no user turn'],
    [{ question: 'Cold?', choices: [choices[0]], answer: '1' }, '"choices" must be a list of at least two'],
    [{ question: 'Cold?', choices: [choices[0], choices[0]] }, 'two choices have the same label'],
    [{ question: 'Cold?', choices, answer: 'C' }, 'the answer "C" is not among the labels 1, 2'],
    [{ question: 4 }, 'column "question" must be text that is not empty, but is 4'],
    [{ prompt: 'Hi', id: {} }, 'column "id" must be text'],
  ])('refuses %j', (row, message) => expect(() => promptOf(line(row as Record<string, unknown>))).toThrow(message));
});

describe('demonstrationOf', () => {
  it('takes messages, prompt + completion, instruction + output', () => {
    const expected = { id: 'd', prompt: [user('Hi')], completion: [assistant('Ho')] };
    expect(demonstrationOf(line({ id: 'd', messages: [user('Hi'), assistant('Ho')] }))).toEqual(expected);
    expect(demonstrationOf(line({ id: 'd', prompt: 'Hi', completion: 'Ho' }))).toEqual(expected);
    expect(demonstrationOf(line({ id: 'd', prompt: [user('Hi')], completion: [assistant('Ho')] }))).toEqual(expected);
    expect(demonstrationOf(line({ id: 'd', instruction: 'Hi', input: '', output: 'Ho' }))).toEqual(expected);
  });
  it.each([
    [{ messages: [user('Hi')] }, '"messages" must end with an assistant turn'],
    [{ prompt: 'Hi', completion: [user('Ho')] }, 'must be one assistant turn'],
    [{ prompt: 'Hi', completion: ' ' }, '"completion" must be text or a list'],
    [{ instruction: 'Hi', output: '' }, 'column "output" must be text that is not empty'],
    [{ prompt: 'Hi' }, 'no demonstration found'],
  ])('refuses %j', (row, message) => expect(() => demonstrationOf(line(row as Record<string, unknown>))).toThrow(message));
});

describe('files', () => {
  it('leave repeated rows out and count them', async () => {
    const loaded = await loadPrompts(await file({ id: 'a', prompt: 'Hi' }, { id: 'b', prompt: 'Ho' }, { id: 'c', prompt: 'Hi' }, { id: 'a', prompt: 'Hi' }));
    expect(loaded.records.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(loaded.duplicates).toBe(2);
  });
  it('refuse one id for two prompts, with both lines', async () => {
    await expect(loadPrompts(await file({ id: 'a', prompt: 'Hi' }, { id: 'a', prompt: 'Ho' }))).rejects.toThrow(/p\.jsonl line 2: the id "a" is also that of .*p\.jsonl line 1/);
  });
  it('keep demonstrations of one prompt with different completions', async () => {
    const loaded = await loadDemonstrations(await file({ prompt: 'Hi', completion: 'Ho' }, { prompt: 'Hi', completion: 'Hello' }, { prompt: 'Hi', completion: 'Ho' }));
    expect(loaded.records).toHaveLength(2);
    expect(loaded.duplicates).toBe(1);
  });
});
