import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Draw } from '../../src/data/draw.js';
import { loadPreferences } from '../../src/data/preferences.js';
import {
  demonstrationOf,
  loadDemonstrations,
  loadPrompts,
  promptOf,
} from '../../src/data/prompts.js';
import { assistant, user } from '../support/rows.js';

const line = (value: Record<string, unknown>) => ({ number: 7, where: 'x.jsonl:7', value });
const choices = [
  { label: '1', text: 'ice' },
  { label: '2', text: 'fire' },
];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-prompts-'));
});
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
    expect(promptOf(line({ id: 5, prompt, answer: 4, task: 't' }))).toEqual({
      id: '5',
      prompt,
      answer: '4',
      task: 't',
    });
    expect(
      promptOf(
        line({
          id: 'a',
          messages: [user('Hi'), assistant('Hello'), user('And?'), assistant('No')],
        }),
      ).prompt,
    ).toEqual([user('Hi'), assistant('Hello'), user('And?')]);
  });
  it('formats multiple choice with its labels', () => {
    const record = promptOf(
      line({ id: 'q', context: 'It is winter.', question: 'What is cold?', choices, answer: '1' }),
    );
    expect(record).toMatchObject({ id: 'q', answer: '1', choices });
    expect(record.prompt[0]!.content).toBe(
      'It is winter.\nWhat is cold?\n1. ice\n2. fire\n\nThink step by step in a few short ' +
        'sentences. End with "Answer:" and the letter of the right choice.',
    );
    expect(
      promptOf(
        line({
          id: 'q',
          question_stem: 'What is cold?',
          choices: { label: ['A', 'B'], text: ['ice', 'fire'] },
          answerKey: 'B',
        }),
      ),
    ).toMatchObject({ answer: 'B' });
  });
  it('reads the choices of every set, and what it calls the answer', () => {
    const texts = ['ice', 'fire', 'fog'];
    const question = 'What is cold?';
    const answers = (row: Record<string, unknown>) => {
      const { choices, answer } = promptOf(line({ question, ...row }));
      return [choices!.map(({ label, text }) => label + text).join(' '), answer];
    };
    expect(answers({ choices: { label: ['1', '2', '3'], text: texts }, answerKey: '1' })).toEqual([
      '1ice 2fire 3fog',
      '1',
    ]); // ARC
    // MMLU: an index
    expect(answers({ choices: texts, answer: 0 })).toEqual(['Aice Bfire Cfog', 'A']);
    expect(answers({ choices: texts, answer: 'C' })).toEqual(['Aice Bfire Cfog', 'C']);
    expect(
      answers({ answerA: 'ice', answerB: 'fire', answerC: 'fog', context: 'Winter.', label: '3' }),
    ).toEqual(['Aice Bfire Cfog', 'C']); // SIQA: a number from 1
    expect(answers({ choices: { label: ['A', 'B', 'C'], text: texts }, answerKey: '' })).toEqual([
      'Aice Bfire Cfog',
      undefined,
    ]); // a test split without answers
    // labels as whole numbers, and −1 for no label
    const numbered = { label: [1, 2, 3], text: texts };
    expect(answers({ choices: numbered, answerKey: 2 })).toEqual(['1ice 2fire 3fog', '2']);
    const listed = texts.map((text, label) => ({ label, text }));
    expect(answers({ choices: listed, answer: '0', label: -1 })).toEqual(['0ice 1fire 2fog', '0']);
    expect(answers({ choices: numbered, answer: '', answerKey: '3', label: null })[1]).toBe('3');
    expect(answers({ choices: texts, answer: 1, label: 'B' })[1]).toBe('B');
    expect(
      answers({ prompt: 'Cold?', question: undefined, choices: numbered, answerKey: 2 }),
    ).toEqual(['1ice 2fire 3fog', '2']);
    for (const bad of [
      { choices: texts, answer: 0, answerKey: 'B' },
      { choices: numbered, answer: '1', label: 2 },
      { prompt: 'Cold?', question: undefined, choices: numbered, answer: '1', answerKey: '2' },
    ]) {
      expect(() => answers(bad)).toThrow(
        /^x\.jsonl:7: "answer" and "(?:answerKey|label)" contradict each other, for they name diff/,
      );
    }
    for (const bad of [
      { choices: { label: [1.5, 2, 3], text: texts }, answer: '2' },
      { choices: texts, answer: 3 },
      { answerA: 'ice', answerB: 'fire', answerC: 'fog', label: '4' },
      { choices: { label: ['A', 'B'], text: texts }, answerKey: 'C' },
      { choices: texts, answer: true },
      { answerA: 'ice', answerB: null, answerC: 'fog' },
    ]) {
      expect(() => answers(bad)).toThrow(/^x\.jsonl:7: /);
    }
  });
  it('reads ShareGPT turns, and takes the nulls of Parquet for absent', () => {
    expect(
      promptOf(
        line({
          id: null,
          conversations: [
            { from: 'system', value: 'Be kind.' },
            { from: 'human', value: 'Hi' },
            { from: 'gpt', value: 'Ho' },
          ],
        }),
      ).prompt,
    ).toEqual([{ role: 'system', content: 'Be kind.' }, user('Hi')]);
    expect(
      promptOf(
        line({ prompt: null, messages: null, instruction: 'Add.', input: null, answer: null }),
      ).prompt,
    ).toEqual([user('Add.')]);
    expect(() => promptOf(line({ conversations: [{ from: 'martian', value: 'Hi' }] }))).toThrow(
      '"conversations" turn 1 has the role "martian"',
    );
  });
  it('formats GSM8K rows, published or with `final`', () => {
    const solved = 'Add.\n2 + 3 = <<2+3=5>>5\n#### 5';
    expect(
      promptOf(line({ id: 'g', question: '2 + 3?', answer: solved, final: '5' })),
    ).toMatchObject({ answer: '5' });
    expect(promptOf(line({ id: 'g', question: '2 + 3?', answer: solved }))).toMatchObject({
      answer: '5',
    });
    expect(promptOf(line({ question: '2 + 3?' }))).not.toHaveProperty('answer');
  });
  it('formats instructions with and without input', () => {
    expect(promptOf(line({ instruction: 'Add.', input: '2, 3', output: '5' })).prompt).toEqual([
      user('Add.\n\n2, 3'),
    ]);
    expect(promptOf(line({ instruction: 'Add.', input: '' })).prompt).toEqual([user('Add.')]);
  });
  it('derives an id from the content alone', () => {
    const a = promptOf(line({ prompt: 'Hi' }));
    const b = promptOf({ ...line({ prompt: [user('Hi')], note: 1 }), where: 'y:1' });
    expect(a.id).toMatch(/^[0-9a-f]{16}$/);
    expect(b.id).toBe(a.id);
    expect(promptOf(line({ prompt: 'Ho' })).id).not.toBe(a.id);
  });
  it.each([
    [
      { text: 'Hi' },
      'x.jsonl:7: no prompt found; give "prompt" (text or messages), "messages", ' +
        '"question" or "instruction"; the row has "text"',
    ],
    [{ prompt: '' }, '"prompt" must be text or a list'],
    [{ prompt: [] }, '"prompt" must be text or a list'],
    [{ prompt: [{ role: 'robot', content: 'Hi' }] }, '"prompt" turn 1 has the role "robot"'],
    [{ prompt: [user('Hi'), assistant('Ho')] }, '"prompt" ends with an assistant turn'],
    [{ messages: [assistant('Ho')] }, '"messages" has no user turn'],
    [
      { question: 'Cold?', choices: [choices[0]], answer: '1' },
      '"choices" must be a list of at least two',
    ],
    [{ question: 'Cold?', choices: [choices[0], choices[0]] }, 'two choices have the same label'],
    [{ question: 'Cold?', choices, answer: 'C' }, 'the answer "C" is not among the labels 1, 2'],
    [{ question: 4 }, 'column "question" must be text that is not empty, but is 4'],
    [{ prompt: 'Hi', id: {} }, 'column "id" must be text'],
  ])('refuses %j', (row, message) =>
    expect(() => promptOf(line(row as Record<string, unknown>))).toThrow(message),
  );
});

describe('demonstrationOf', () => {
  it('takes messages, prompt + completion, instruction + output', () => {
    const expected = { id: 'd', prompt: [user('Hi')], completion: [assistant('Ho')] };
    expect(demonstrationOf(line({ id: 'd', messages: [user('Hi'), assistant('Ho')] }))).toEqual(
      expected,
    );
    expect(demonstrationOf(line({ id: 'd', prompt: 'Hi', completion: 'Ho' }))).toEqual(expected);
    expect(
      demonstrationOf(line({ id: 'd', prompt: [user('Hi')], completion: [assistant('Ho')] })),
    ).toEqual(expected);
    expect(demonstrationOf(line({ id: 'd', instruction: 'Hi', input: '', output: 'Ho' }))).toEqual(
      expected,
    );
  });
  it.each([
    [{ messages: [user('Hi')] }, '"messages" must end with an assistant turn'],
    [{ prompt: 'Hi', completion: [user('Ho')] }, 'must be one assistant turn'],
    [{ prompt: 'Hi', completion: ' ' }, '"completion" must be text or a list'],
    [{ instruction: 'Hi', output: '' }, 'column "output" must be text that is not empty'],
    [{ prompt: 'Hi' }, 'no demonstration found'],
  ])('refuses %j', (row, message) =>
    expect(() => demonstrationOf(line(row as Record<string, unknown>))).toThrow(message),
  );
});

describe('files', () => {
  it('leave repeated rows out and count them', async () => {
    const loaded = await loadPrompts(
      await file(
        { id: 'a', prompt: 'Hi' },
        { id: 'b', prompt: 'Ho' },
        { id: 'c', prompt: 'Hi' },
        { id: 'a', prompt: 'Hi' },
      ),
    );
    expect(loaded.records.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(loaded.duplicates).toBe(2);
  });
  it('refuse one id for two prompts, with both lines', async () => {
    await expect(
      loadPrompts(await file({ id: 'a', prompt: 'Hi' }, { id: 'a', prompt: 'Ho' })),
    ).rejects.toThrow(/p\.jsonl line 2: the id "a" is also that of .*p\.jsonl line 1/);
  });
  it('keep demonstrations of one prompt with different completions', async () => {
    const loaded = await loadDemonstrations(
      await file(
        { prompt: 'Hi', completion: 'Ho' },
        { prompt: 'Hi', completion: 'Hello' },
        { prompt: 'Hi', completion: 'Ho' },
      ),
    );
    expect(loaded.records).toHaveLength(2);
    expect(loaded.duplicates).toBe(1);
  });

  it(
    "several sources are one: repeated rows count once, a repeated id gets its content's " +
      'hash added',
    async () => {
      const one = await file({ id: '1', prompt: 'Hi' }, { id: '2', prompt: 'Ho' });
      const two = join(folder, 'q.json');
      await writeFile(
        two,
        JSON.stringify([
          { id: '1', prompt: 'Hey' },
          { id: '9', prompt: [user('Ho')] },
        ]),
      );
      const { records, duplicates } = await loadPrompts([one, two]);
      expect(records.map(({ id, prompt }) => [id, prompt[0]!.content])).toEqual([
        ['1', 'Hi'],
        ['2', 'Ho'],
        [expect.stringMatching(/^1-[0-9a-f]{16}$/), 'Hey'],
      ]);
      expect(duplicates).toBe(1);
      await expect(loadPrompts([one, 'builtin'])).rejects.toThrow(
        'the built-in prompts cannot be mixed with other sources',
      );
    },
  );
  it('columns by other names', async () => {
    const path = await file({ query: 'Hi', key: 'a' }, { query: 'Ho', key: 'b' });
    expect((await loadPrompts(path, { columns: ['prompt=query', 'id=key'] })).records).toEqual([
      { id: 'a', prompt: [user('Hi')] },
      { id: 'b', prompt: [user('Ho')] },
    ]);
    await expect(loadPrompts(path, { columns: ['prompt=question'] })).rejects.toThrow(
      'p.jsonl line 1: there is no column "question" to read as "prompt"; ' +
        'the row has "query", "key"',
    );
    await expect(loadPrompts(path, { columns: ['prompt'] })).rejects.toThrow(
      'is not of the form ours=theirs',
    );
  });
  it('ids follow the content through shuffling, formats and awkward text', async () => {
    const draw = new Draw('awkward');
    const alphabet = [
      'a',
      ' ',
      '\n',
      '\r\n',
      '\u2028',
      '\u2029',
      '\u0085',
      '\uFEFF',
      '🙂',
      'é',
      'e\u0301',
      '"',
      '\\',
      '\t',
      '\u0000',
      '漢',
    ];
    const texts = [
      ...new Set(
        Array.from(
          { length: 200 },
          () => `x${Array.from({ length: draw.int(0, 30) }, () => draw.pick(alphabet)).join('')}`,
        ),
      ),
    ];
    const load = async (name: string, data: string) => {
      await writeFile(join(folder, name), data);
      return (await loadPrompts(join(folder, name))).records;
    };
    const lines = await load(
      'a.jsonl',
      texts.map((prompt) => JSON.stringify({ prompt })).join('\n'),
    );
    expect(lines.map(({ prompt }) => prompt[0]!.content)).toEqual(texts);
    const shuffled = await load(
      'b.json',
      `\uFEFF${JSON.stringify(
        draw.several(texts, texts.length).map((prompt) => ({ note: 1, prompt: [user(prompt)] })),
        null,
        1,
      )}`,
    );
    expect(new Map(shuffled.map(({ id, prompt }) => [id, prompt]))).toEqual(
      new Map(lines.map(({ id, prompt }) => [id, prompt])),
    );
  });
});

describe('the data sets of ../shared/data', () => {
  const shared = new URL('../../../shared/data/', import.meta.url).pathname;
  const there = existsSync(shared) ? it : it.skip;
  there.each([
    'arc_easy/train',
    'arc_challenge/test',
    'openbookqa/validation',
    'siqa/validation',
    'gsm8k/test',
    'openassistant/prompts',
    'openassistant/train',
    'alpaca_subset/train',
    'self_instruct/seed_tasks',
  ])('%s', async (name) => {
    const path = join(shared, `${name}.jsonl`);
    const rows = (await readFile(path, 'utf8'))
      .trim()
      .split('\n')
      .map((row) => JSON.parse(row) as Record<string, string>);
    const { records, duplicates } = await loadPrompts(path);
    expect(records.length + duplicates).toBe(rows.length);
    const known = new Map(rows.map((row) => [row['id'], row['final'] ?? row['answer']]));
    for (const { id, answer } of records) expect([id, answer]).toEqual([id, known.get(id)]);
  });
  there.each([
    ['openassistant/pairs', 686],
    ['instruction_preference/pairs', 1067],
  ])('%s', async (name, count) => {
    const { records, duplicates, skipped } = await loadPreferences(join(shared, `${name}.jsonl`));
    expect(records.length + duplicates + skipped.length).toBe(count);
    expect(records.length).toBeGreaterThan(count * 0.98);
  });
  there('all of the multiple choice at once', async () => {
    const sets = ['arc_easy', 'arc_challenge', 'openbookqa', 'siqa', 'gsm8k'].map((name) =>
      join(shared, name, 'train.jsonl'),
    );
    const { records } = await loadPrompts(sets);
    expect(new Set(records.map(({ id }) => id)).size).toBe(records.length);
    expect(records.length).toBeGreaterThan(23_000);
  });
});
