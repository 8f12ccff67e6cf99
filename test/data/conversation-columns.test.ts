import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { loadPreferences, preferenceOf } from '../../src/data/preferences.js';
import {
  demonstrationOf,
  loadDemonstrations,
  loadPrompts,
  promptOf,
} from '../../src/data/prompts.js';
import { assistant, row, system, user } from '../support/rows.js';

const promptIn = (value: object) => promptOf(row(value)).prompt;
const pairIn = (value: object) =>
  preferenceOf(row({ chosen: 'Yes.', rejected: 'Never.', ...value }));
const demonstrationIn = (value: object) => demonstrationOf(row(value));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-columns-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(...rows: object[]): Promise<string> {
  const path = join(folder, 'c.jsonl');
  await writeFile(path, rows.map((value) => JSON.stringify(value)).join('\n'));
  return path;
}

describe('system and history become messages', () => {
  const before = { system: 'Be brief.', history: [['Is it cold?', 'A little.']] };
  const turns = [system('Be brief.'), user('Is it cold?'), assistant('A little.')];
  it.each([
    ['prompt', { prompt: 'And wet?' }, 'And wet?'],
    ['messages', { messages: [user('And wet?')] }, 'And wet?'],
    ['query', { query: 'And wet?' }, 'And wet?'],
    ['instruction and input', { instruction: 'Judge.', input: 'Rain' }, 'Judge.\n\nRain'],
    ['instruction and context', { instruction: 'Judge.', context: 'Rain' }, 'Judge.\n\nRain'],
    ['input alone', { input: 'And wet?' }, 'And wet?'],
  ])('beside %s', (_, value, question) => {
    const expected = [...turns, user(question)];
    expect(promptIn({ ...before, ...value })).toEqual(expected);
    expect(pairIn({ ...before, ...value }).prompt).toEqual(expected);
    expect(demonstrationIn({ ...before, ...value, completion: 'Yes.' }).prompt).toEqual(expected);
  });
  it('beside questions, with their context', () => {
    const value = { ...before, question: 'Who won?', context: 'Ann lost.' };
    expect(promptIn(value).slice(0, 3)).toEqual(turns);
    expect(promptIn(value)[3]!.content).toBe('Ann lost.\nWho won?');
    expect(promptIn({ ...value, choices: ['Ann', 'Bo'] }).slice(0, 3)).toEqual(turns);
    expect(pairIn(value).prompt.at(-1)).toEqual(user('Ann lost.\nWho won?'));
  });
  it('beside whole conversations, and as JSON text', () => {
    expect(
      pairIn({
        system: 'Be brief.',
        chosen: [user('Hi'), assistant('a')],
        rejected: [user('Hi'), assistant('b')],
      }).prompt,
    ).toEqual([system('Be brief.'), user('Hi')]);
    expect(
      demonstrationIn({
        system_prompt: 'Be brief.',
        conversations: [
          { from: 'human', value: 'Hi' },
          { from: 'gpt', value: 'Ho' },
        ],
      }).prompt,
    ).toEqual([system('Be brief.'), user('Hi')]);
    expect(promptIn({ prompt: 'And wet?', history: JSON.stringify(before.history) })).toEqual([
      ...turns.slice(1),
      user('And wet?'),
    ]);
    expect(promptIn({ prompt: 'Go', history: [user('Hi'), assistant('Ho')] })).toHaveLength(3);
  });
  it('empty ones count as absent', () =>
    expect(
      promptIn({ prompt: 'Hi', system: ' ', history: [], tools: '[]', input: '', context: null }),
    ).toEqual([user('Hi')]));
  it('a system message that is there already counts once', () =>
    expect(promptIn({ system: 'Be.', messages: [system('Be.'), user('Hi')] })).toHaveLength(2));
});

describe('a column that changes the conversation is never dropped', () => {
  it.each([
    [{ prompt: 'Hi', question: 'Why?' }, '"prompt" and "question" could both be the prompt'],
    [{ question: 'Hi', query: 'Why?' }, '"question" and "query" could both be the prompt'],
    [{ prompt: 'Hi', messages: [user('Ho')] }, '"prompt" and "messages" could both'],
    [
      { prompt: 'Hi', messages: [system('Be.'), user('Hi')] },
      '"prompt" and "messages" could both be the prompt, and they differ; name the right one ' +
        'with columns, such as messages=messages, or remove the other',
    ],
    [{ prompt: 'Translate.', input: 'Hund' }, 'column "input" changes the conversation'],
    [{ prompt: 'Who won?', context: 'Ann lost.' }, 'column "context" changes the conversation'],
    [{ prompt: 'Hi', tools: [{ name: 'w' }] }, 'the columns "tools" and "functions" are not read'],
    [
      { prompt: 'Hi', functions: '[{"name": "w"}]' },
      'the columns "tools" and "functions" are not read',
    ],
    [{ prompt: 'Hi', history: 'earlier' }, 'column "history" must be a list'],
    [{ prompt: 'Hi', history: [['one']] }, '"history" entry 1 must be [user, assistant]'],
    [{ messages: [user('a'), assistant('b'), user('c')], history: [['d', 'e']] }, '"history"'],
    [{ system: 'A.', messages: [system('B.'), user('Hi')] }, 'two system messages, in "system"'],
    [{ system: 'A.', system_prompt: 'B.', prompt: 'Hi' }, 'are both read as "system", and they'],
  ])('%j', (value, message) => {
    for (const read of [promptIn, pairIn, (v: object) => demonstrationIn({ ...v, output: 'x' })])
      expect(() => read(value)).toThrow(message);
    expect(() => promptIn(value)).toThrow(/^x\.jsonl line 3: /);
  });

  it('a column that repeats what was read does no harm', () => {
    const whole = [user('Name a tree.'), assistant('Oak.'), user('Another?'), assistant('Elm.')];
    // UltraChat, UltraFeedback
    expect(promptIn({ prompt: 'Name a tree.', messages: whole })).toEqual([user('Name a tree.')]);
    expect(demonstrationIn({ prompt: 'Name a tree.', messages: whole }).prompt).toHaveLength(3);
    expect(
      pairIn({
        prompt: 'Name a tree.',
        messages: whole.slice(0, 2),
        chosen: whole.slice(0, 2),
        rejected: [whole[0], assistant('Cat.')],
      }),
    ).toEqual({
      prompt: [user('Name a tree.')],
      chosen: [assistant('Oak.')],
      rejected: [assistant('Cat.')],
    });
    expect(promptIn({ prompt: 'Answer: is 7 prime?', question: 'is 7 prime?' })).toHaveLength(1);
    expect(() => promptIn({ prompt: 'Answer: is 71 prime?', question: '7' })).toThrow('"question"');
  });

  it('columns names the one that counts, for prompts, pairs and demonstrations', async () => {
    const value = { prompt: 'p', query: 'Hi', messages: [user('m')], good: 'a', bad: 'b' };
    const at = await file(value);
    const columns = ['prompt=query', 'chosen=good', 'rejected=bad', 'completion=good'];
    expect((await loadPrompts(at, { columns })).records[0]!.prompt).toEqual([user('Hi')]);
    expect((await loadDemonstrations(at, { columns })).records[0]).toMatchObject({
      prompt: [user('Hi')],
      completion: [assistant('a')],
    });
    expect((await loadPreferences(at, { columns })).records[0]).toMatchObject({
      prompt: [user('Hi')],
      chosen: [assistant('a')],
      rejected: [assistant('b')],
    });
    await expect(loadPreferences(at, { columns: ['chosen=best'] })).rejects.toThrow(
      /there is no column "best" to read as "chosen"; the row has "prompt"/,
    );
  });
});

describe('the prompt of pairs', () => {
  it.each([
    [
      'Q: Why?\nA: Since it rains.',
      'Q: Why?\nA: Since.',
      ['Q: Why?\nA:', ' Since it rains.', ' Since.'],
    ],
    [
      '### Instruction:\nAdd.\n\n### Response:\nThe sum is 5',
      '### Instruction:\nAdd.\n\n### Response:\nThe sum is 6',
      ['### Instruction:\nAdd.\n\n### Response:', '\nThe sum is 5', '\nThe sum is 6'],
    ],
    ['Name a tree.\nOak', 'Name a tree.\nCat', ['Name a tree.\n', 'Oak', 'Cat']],
  ])('is cut at a turn or a line end: %j', (chosen, rejected, [prompt, one, other]) =>
    expect(preferenceOf(row({ chosen, rejected, source: 'a set', score: 1 }))).toEqual({
      prompt: [user(prompt!)],
      chosen: [assistant(one!)],
      rejected: [assistant(other!)],
    }),
  );
  it('is not guessed from half a line or an unknown column', () => {
    expect(() => preferenceOf(row({ chosen: 'The oak.', rejected: 'The cat.' }))).toThrow(
      'the prompt is missing: "chosen" and "rejected" both begin with "The", which ends neither',
    );
    expect(() =>
      preferenceOf(row({ chosen: 'A\nb', rejected: 'A\nc', utterance: 'Name a letter.' })),
    ).toThrow('a column "utterance" of text that could be it; name it with columns');
  });

  it('is taken off once where the answers repeat it', () => {
    const asked = [user('Name a tree.')];
    const expected = { prompt: asked, chosen: [assistant('Oak.')], rejected: [assistant('Cat.')] };
    const chosen = [...asked, ...expected.chosen];
    const rejected = [...asked, ...expected.rejected];
    expect(pairIn({ prompt: asked, chosen, rejected })).toEqual(expected);
    expect(pairIn({ messages: asked, chosen, rejected })).toEqual(expected);
    expect(pairIn({ system: 'Be.', prompt: asked, chosen, rejected }).chosen).toEqual(
      expected.chosen,
    );
    expect(
      pairIn({
        prompt: 'Name a tree.',
        chosen: 'Name a tree.\nOak.',
        rejected: 'Name a tree. Cat.',
      }),
    ).toEqual(expected);
    expect(pairIn({ prompt: 'Yes', chosen: 'Yes I do', rejected: 'Yes he' }).chosen).toEqual([
      assistant('Yes I do'),
    ]);
    expect(demonstrationIn({ prompt: asked, completion: chosen }).completion).toEqual(
      expected.chosen,
    );
    expect(() => pairIn({ prompt: asked, chosen, rejected: expected.rejected })).toThrow(
      'only one of "chosen" and "rejected" begins with the prompt',
    );
  });
  it('is a conversation that ends with the chosen answer, without it', () =>
    expect(pairIn({ messages: [user('Go?'), assistant('Yes.')] }).prompt).toEqual([user('Go?')]));
});

describe('messages in other forms', () => {
  const expected = [system('Be.'), user('Hi')];
  it.each([
    ['developer', [{ role: 'developer', content: 'Be.' }, user('Hi')]],
    [
      'ShareGPT',
      [
        { from: 'system', value: 'Be.' },
        { from: 'human', value: 'Hi' },
      ],
    ],
    [
      'content parts',
      [system('Be.'), { role: 'user', content: [{ type: 'text', text: 'H' }, 'i'] }],
    ],
    ['JSON text', JSON.stringify(expected)],
    ['absent calls', [system('Be.'), { ...user('Hi'), tool_calls: null, function_call: '' }]],
  ])('%s', (_, turns) => {
    for (const column of ['prompt', 'messages', 'conversations', 'conversation'])
      expect(promptIn({ [column]: turns })).toEqual(expected);
  });
  it('answers as one turn or as text in an object', () => {
    for (const answer of [
      (content: string) => ({ from: 'gpt', value: content }),
      (content: string) => ({ role: 'assistant', content: [{ type: 'text', text: content }] }),
      (content: string) => ({ content }),
    ])
      expect(pairIn({ prompt: 'Hi', chosen: answer('a'), rejected: answer('b') })).toMatchObject({
        chosen: [assistant('a')],
        rejected: [assistant('b')],
      });
  });
  it('JSON that is no message is a text', () => {
    for (const prompt of ['[{"value": 3}]', '[["a", "b"]]', '[{"role": "x"}, 4]', '[1, 2'])
      expect(promptIn({ prompt })).toEqual([user(prompt)]);
  });
  const call = { role: 'assistant', content: null, tool_calls: [{ name: 'w' }] };
  it.each([
    [
      { messages: [user('Hi'), { role: 'tool', content: '3' }] },
      '"messages" turn 2 has the role "tool"',
    ],
    [{ messages: [user('Hi'), call, user('So?')] }, '"messages" turn 2 has "tool_calls"'],
    [
      { messages: [user('Hi'), { role: 'assistant', content: null }] },
      'turn 2: its content must be',
    ],
    [
      { prompt: [{ role: 'user', content: [{ type: 'image', url: 'x' }] }] },
      '"prompt" turn 1: part 1 of its content must be text, but is {"type":"image"',
    ],
    [{ prompt: ['Hi'] }, '"prompt" turn 1 must be {"role", "content"}, but is "Hi"'],
    [{ messages: 'Hi' }, '"messages" must be a list of {"role"'],
    [{ messages: "[{'role': 'user', 'content': 'Hi'}]" }, 'write it with json.dumps'],
    [{ prompt: '[{"role": "user", "con' }, 'begins like messages written as text, and is not JSON'],
  ])('refuses %j', (value, message) => expect(() => promptIn(value)).toThrow(message));
});

describe('text that is templated already', () => {
  it.each([
    '<|im_start|>user\nHi<|im_end|>',
    'Hi<|eot_id|>',
    '<s>[INST] Hi [/INST]',
    '[INST] Hi',
    '<<SYS>>Be.<</SYS>> Hi',
    '<start_of_turn>user\nHi',
    'Hi</s>',
    '<bos>Hi',
    '<｜User｜>Hi',
    'Hi<|end|>',
    '<|turn>user\nHi<turn|>',
    '[SYSTEM_PROMPT]Be.[/SYSTEM_PROMPT]Hi',
    '[gMASK]<sop>Hi',
    'Hi</s> there',
  ])('%j is refused', (content) => {
    for (const read of [
      () => promptIn({ prompt: content }),
      () => demonstrationIn({ prompt: 'Hi', completion: content }),
      () => pairIn({ prompt: 'Hi', chosen: content }),
      () => pairIn({ prompt: 'Hi', rejected: content }),
    ])
      expect(read).toThrow(/^x\.jsonl line 3: the \w+ turn .* holds the control token "[<[]/);
    expect(promptOf(row({ prompt: content }), { controlTokens: true }).prompt).toEqual([
      user(content),
    ]);
  });
  it.each([
    'a <| b |> c',
    'if x<s>y',
    '<|',
    'see [1] and [INSTALL]',
    '<b>bold</b>',
    'f <| g',
    'an <s>old</s> one',
  ])('%j is text', (prompt) => expect(promptIn({ prompt })).toEqual([user(prompt)]));
});

describe('rows of a file', () => {
  it.each<[object, string]>([
    [{ promt: 'a', note: 'b' }, 'prompt=promt'],
    [{ body: 'a', n: 1 }, 'prompt=body'],
    [{ body: 'a', note: 'b' }, 'prompt=text'],
  ])('without a prompt are told a mapping: %j', async (value, mapping) => {
    await expect(loadPrompts(await file(value))).rejects.toThrow(
      `columns give it another name, such as ${mapping}`,
    );
  });

  it('are not blamed for a mapping that fits none of them', async () => {
    const rows = [{ query: 'Hi' }, { query: 'Ho' }];
    const read = async (...all: object[]) =>
      loadPrompts(await file(...all), { columns: ['prompt=qery'] });
    await expect(read(...rows)).rejects.toThrow(
      /no column "qery" to read as "prompt"; the row has "query"$/,
    );
    await expect(read(...rows, { qery: 'He' })).rejects.toThrow(/\(1 more row cannot be used/);
  });

  it('the first bad one is named, with how many more there are', async () => {
    const rows = [{ prompt: 'Hi' }, { text: 'a' }, { text: 'b' }, { prompt: 'Ho' }, { text: 'c' }];
    await expect(loadPrompts(await file(...rows))).rejects.toThrow(
      /c\.jsonl line 2: no prompt found.* \(2 more rows cannot be used either\)$/,
    );
  });
  it('several demonstrations may have one prompt_id, not one id', async () => {
    const rows = [
      { prompt: 'Hi', completion: 'a' },
      { prompt: 'Hi', completion: 'b' },
    ];
    const at = await file(...rows.map((value) => ({ ...value, prompt_id: 'p' })));
    const { records, places } = await loadDemonstrations(at);
    expect(records.map(({ id }) => id)).toEqual(['p', expect.stringMatching(/^p-[0-9a-f]{16}$/)]);
    expect(places?.get(records[1]!.id)).toMatch(/c\.jsonl line 2$/);
    await expect(
      loadDemonstrations(await file(...rows.map((value) => ({ ...value, id: 'p' })))),
    ).rejects.toThrow(/line 2: the id "p" is also that of/);
  });
  it('keep long ids distinct, count NaN as absent, and are checked only where read', async () => {
    const path = join(folder, 'n.jsonl');
    await writeFile(
      path,
      '{"id": 9007199254740992, "prompt": "a", "answer": NaN, "score": -Infinity}\n' +
        '{"id": 9007199254740993, "prompt": "b", "input": NaN, "hash": 123456789012345678901}\n',
    );
    expect((await loadPrompts(path)).records).toEqual([
      { id: '9007199254740992', prompt: [user('a')] },
      { id: '9007199254740993', prompt: [user('b')] },
    ]);
  });
  it('CSV with messages as JSON text', async () => {
    const path = join(folder, 'm.csv');
    const turns = JSON.stringify([user('Hi'), assistant('Ho')]).replaceAll('"', '""');
    await writeFile(path, `id,messages,system\n1,"${turns}",\n`);
    expect((await loadDemonstrations(path)).records).toEqual([
      { id: '1', prompt: [user('Hi')], completion: [assistant('Ho')] },
    ]);
  });
});
