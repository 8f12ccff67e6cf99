/** Column names of other data sets, and rows that only appear usable. */
import { describe, expect, it } from '@jest/globals';
import { isUnread, ourName } from '../../src/data/column-names.js';
import { rename } from '../../src/data/prompt-columns.js';
import { preferenceOf } from '../../src/data/preferences.js';
import { demonstrationOf, promptOf } from '../../src/data/prompts.js';
import { assistant, row, system, user } from '../support/rows.js';

const promptIn = (value: object) => promptOf(row(value));
const pairIn = (value: object) => preferenceOf(row(value));
const demonstrationIn = (value: object) => demonstrationOf(row(value));

describe('names', () => {
  it.each([
    ['System', 'system'],
    ['systemPrompt', 'system'],
    ['system-message', 'system'],
    ['system instruction', 'system'],
    ['chat_history', 'history'],
    ['ChatHistory', 'history'],
    ['Prompt', 'prompt'],
    ['Question', 'question'],
    ['functionDefinitions', 'tools'],
    ['score', undefined],
  ])('%s is %s', (name, ours) => expect(ourName(name)).toBe(ours));

  it('a row is read under our names, whatever its own are', () => {
    expect(
      promptIn({ Prompt: 'Hi', SystemMessage: 'Be.', chat_history: [['a', 'b']] }).prompt,
    ).toEqual([system('Be.'), user('a'), assistant('b'), user('Hi')]);
    expect(pairIn({ Question: 'Why?', Chosen: 'x', Rejected: 'y' }).prompt).toEqual([user('Why?')]);
  });

  it('two columns of one meaning must be equal', () => {
    expect(promptIn({ prompt: 'Hi', system: 'Be.', System: 'Be.', sys: '' }).prompt).toHaveLength(
      2,
    );
    expect(() => promptIn({ prompt: 'Hi', system: 'A', sys_prompt: 'B' })).toThrow(
      'line 3: the columns "system" and "sys_prompt" are both read as "system", and they differ',
    );
    expect(() => promptIn({ prompt: 'Hi', Prompt: 'Ho' })).toThrow('both read as "prompt"');
  });
});

describe('what a prompt speaks of is never dropped', () => {
  it.each(['documents', 'passage', 'images', 'inputs', 'userPrompt', 'dialogue'])(
    '%s',
    (column) => {
      expect(isUnread(column)).toBe(true);
      const told = `column "${column}" changes the conversation, and beside`;
      for (const held of ['text', ['text'], { url: 'x' }]) {
        expect(() => promptIn({ prompt: 'Hi', [column]: held })).toThrow(told);
        expect(() => demonstrationIn({ instruction: 'Do.', output: 'x', [column]: held })).toThrow(
          told,
        );
        expect(() => pairIn({ prompt: 'Hi', chosen: 'x', rejected: 'y', [column]: held })).toThrow(
          told,
        );
      }
      for (const nothing of [null, '', [], 3])
        expect(promptIn({ prompt: 'Hi', [column]: nothing }).prompt).toEqual([user('Hi')]);
      const value = { prompt: 'Hi', [column]: 'text' };
      expect(() => promptOf(rename(row(value), ['prompt=prompt']))).toThrow(
        `${told} "prompt" it is not read; write it into the prompt, or ignore it with columns: ` +
          `[ignore=${column}]`,
      );
      const ignored = rename(row(value), [`ignore=${column}`]);
      expect(promptOf(ignored).prompt).toEqual([user('Hi')]);
    },
  );
});

describe('a prompt that answers repeat', () => {
  it('with a system message that the prompt lacks', () =>
    expect(
      pairIn({
        prompt: [user('Q')],
        chosen: [system('s'), user(' Q\n'), assistant('x')],
        rejected: [system('s'), user('Q'), assistant('y')],
      }),
    ).toEqual({
      prompt: [system('s'), user('Q')],
      chosen: [assistant('x')],
      rejected: [assistant('y')],
    }));
  it('in a demonstration, as text', () =>
    expect(
      demonstrationIn({ prompt: 'How hot is lava?', completion: 'How hot is lava? 1000.' }),
    ).toMatchObject({ completion: [assistant('1000.')] }));
  it('in texts of turns on single lines', () =>
    expect(
      pairIn({ chosen: 'Human: Hi\nAssistant: Yes', rejected: 'Human: Hi\nAssistant: No' }),
    ).toEqual({
      prompt: [user('Human: Hi\nAssistant:')],
      chosen: [assistant(' Yes')],
      rejected: [assistant(' No')],
    }));
});

it.each([
  [{ messages: [user(' '), assistant('b')] }, "the prompt's last turn is empty"],
  [{ messages: [user('a'), assistant('b'), assistant('c')] }, 'two assistant turns'],
  [
    { messages: [user('a'), { ...assistant('b'), weight: 0 }] },
    'is not to be learnt ("weight" is 0)',
  ],
  [{ messages: [user('a'), { ...assistant('b'), reasoning: 'hm' }] }, 'turn 2 has "reasoning"'],
  [{ messages: [{ ...user('a'), images: ['a.png'] }, assistant('b')] }, 'turn 1 has "images"'],
])('%j is no demonstration', (value, message) =>
  expect(() => demonstrationIn(value)).toThrow(message),
);

it('a known answer is read beside every kind of prompt', () => {
  for (const asked of [
    { prompt: 'a' },
    { query: 'a' },
    { instruction: 'a' },
    { messages: [user('a')] },
    { Question: 'a' },
  ])
    expect(promptIn({ ...asked, Answer: '5' }).answer).toBe('5');
});
