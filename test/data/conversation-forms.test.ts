/** Dialogues in texts, repeated prompts, and turns and columns that contradict themselves. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { loadPreferences, preferenceOf } from '../../src/data/preferences.js';
import { demonstrationOf, loadPrompts, promptOf } from '../../src/data/prompts.js';
import { temporaryFolder } from '../support/folders.js';
import { assistant, user } from '../support/rows.js';

const row = (value: object) => ({ value: value as Record<string, unknown>, where: 'x line 3' });
const promptIn = (value: object) => promptOf(row(value)).prompt;
const pairIn = (value: object) =>
  preferenceOf(row({ chosen: 'Yes.', rejected: 'Never.', ...value }));
const demonstrationIn = (value: object) => demonstrationOf(row(value));

describe('texts in the form of HH-RLHF', () => {
  const asked = '\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant:';
  const turns = [user('Hi'), assistant('Ho'), user('Why?')];
  it('a prompt of turns', () => {
    expect(promptIn({ prompt: asked })).toEqual(turns);
    expect(pairIn({ prompt: asked }).prompt).toEqual(turns);
    expect(demonstrationIn({ prompt: asked, completion: 'So.' }).prompt).toEqual(turns);
  });
  it('answers that hold the prompt beside a column with the question', () => {
    const whole = { chosen: `${asked} Yes.`, rejected: `${asked} No.` };
    for (const question of [{ question: 'Why?' }, { prompt: asked }])
      expect(pairIn({ ...whole, ...question })).toEqual({
        prompt: turns,
        chosen: [assistant('Yes.')],
        rejected: [assistant('No.')],
      });
    expect(() => pairIn({ ...whole, question: 'Who?' })).toThrow('"question" changes the conv');
  });
});

it('a prompt that ends with a sign is removed from answers that follow at once', () =>
  expect(
    pairIn({ prompt: 'Q: 2+2?\nA:', chosen: 'Q: 2+2?\nA:4', rejected: 'Q: 2+2?\nA:5' }),
  ).toEqual({
    prompt: [user('Q: 2+2?\nA:')],
    chosen: [assistant('4')],
    rejected: [assistant('5')],
  }));

it.each([
  [{ messages: [{ role: 'user', from: 'gpt', content: 'Hi' }] }, '"role" and "from", and they'],
  [{ messages: [{ role: 'user', content: 'a', value: 'b' }] }, '"content" and "value", and they'],
  [{ messages: [{ role: 'user', text: 'Hi' }] }, 'missing; the turn has "role", "text"'],
  [{ prompt: 'half \ud83d a character' }, 'holds half of a character'],
])('%j is refused', (value, message) => expect(() => promptIn(value)).toThrow(message));

it('keys of one meaning may agree', () =>
  expect(
    promptIn({ messages: [{ role: 'user', from: 'human', content: 'Hi', value: 'Hi' }] }),
  ).toEqual([user('Hi')]));

it('a column named __proto__ is no part of the row', () =>
  expect(
    promptIn(JSON.parse('{"prompt": "Hi", "__proto__": {"system": "Be rude."}}') as object),
  ).toEqual([user('Hi')]));

it('a mapping to a name that is not read is an error', async () => {
  const path = join(temporaryFolder(), 'c.jsonl');
  writeFileSync(path, JSON.stringify({ prompt: 'Hi' }));
  const columns = ['frobnicate=prompt'];
  const message = '"frobnicate", which is not read; the name on the left must be one of system,';
  for (const load of [loadPrompts, loadPreferences])
    await expect(load(path, { columns })).rejects.toThrow(message);
});
