import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { PAIR_COLUMNS } from '../../src/data/columns.js';
import { readRecords, serialize } from '../../src/data/jsonl.js';
import { extractPrompt, loadPreferences, preferenceOf } from '../../src/data/preferences.js';
import { toTrl } from '../../src/data/trl.js';
import type { Message, PairRecord } from '../../src/data/records.js';
import { ChatTemplate } from '../../src/text/chat-template.js';
import { assistant, user } from '../support/rows.js';

type Columns = {
  prompt: string | Message[];
  chosen: string | Message[];
  rejected: string | Message[];
};
interface View {
  row: Record<string, unknown>;
  conversational: boolean;
  extracted: Columns;
  texts: Record<string, string>;
}
interface Golden {
  template: string;
  extract: { row: Columns; extracted: Columns }[];
  rows: View[];
  pairs: View[];
}

const at = (name: string) => new URL(`../golden/${name}`, import.meta.url).pathname;
let golden: Golden;
let folder: string;
beforeAll(async () => {
  golden = JSON.parse(await readFile(at('trl_data.json'), 'utf8')) as Golden;
  folder = await mkdtemp(join(tmpdir(), 'cream-preferences-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(...rows: object[]): Promise<string> {
  const path = join(folder, 'p.jsonl');
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\r\n'));
  return path;
}
const row = (value: Record<string, unknown>) => ({ value, where: 'p.jsonl line 7' });
const messages = (value: string | Message[], role: Message['role']): Message[] =>
  typeof value === 'string' ? [{ role, content: value }] : value;

describe('as TRL reads it', () => {
  it('the implicit prompt is split off where TRL splits it', () => {
    for (const {
      row: { chosen, rejected },
      extracted,
    } of golden.extract) {
      const split =
        typeof chosen === 'string'
          ? Object.fromEntries(
              Object.entries(
                extractPrompt([...chosen], [...(rejected as string)], (a, b) => a === b, ' '),
              ).map(([key, chars]) => [key, chars.join('')]),
            )
          : extractPrompt(
              chosen,
              rejected as Message[],
              (a, b) => a.role === b.role && a.content === b.content,
            );
      expect(split).toEqual(extracted);
    }
  });

  it('rows have the same prompt and answers, and through the template the same texts', () => {
    const template = new ChatTemplate(golden.template);
    for (const { row: value, conversational, extracted, texts } of golden.rows) {
      if (value.prompt === undefined && !conversational) {
        // TRL cuts at any character; here such a cut must be at a turn or a line end.
        expect(() => preferenceOf(row(value))).toThrow(/neither at a turn nor at a line end/);
        continue;
      }
      const pair = preferenceOf(row(value));
      expect(pair).toEqual({
        prompt: messages(extracted.prompt, 'user'),
        chosen: messages(extracted.chosen, 'assistant'),
        rejected: messages(extracted.rejected, 'assistant'),
      });
      if (!conversational) continue;
      const prompt = template.render(pair.prompt, { addGenerationPrompt: true });
      expect(prompt).toBe(texts['prompt']);
      for (const side of ['chosen', 'rejected'] as const)
        expect(
          template.render([...pair.prompt, ...pair[side]], { addGenerationPrompt: false }),
        ).toBe(prompt + texts[side]);
    }
  });

  it('our pairs.jsonl is conversational as it is, and loads back', async () => {
    const pairs = await readRecords<PairRecord>(at('trl_pairs.jsonl'), PAIR_COLUMNS);
    // what TRL was given is what we write
    expect(pairs.map(serialize).join('')).toBe(await readFile(at('trl_pairs.jsonl'), 'utf8'));
    expect(
      golden.pairs.map(({ conversational, extracted }) => ({ conversational, extracted })),
    ).toEqual(
      pairs.map(({ prompt, chosen, rejected }) => ({
        conversational: true,
        extracted: { prompt, chosen, rejected },
      })),
    );
    const { records } = await loadPreferences(at('trl_pairs.jsonl'));
    expect(records).toEqual(
      pairs.map(({ prompt_id, prompt, chosen, rejected, consistency }) => ({
        id: prompt_id,
        prompt,
        chosen,
        rejected,
        consistency,
      })),
    );
    expect(toTrl(pairs)).toEqual(records);
  });

  it('our pairs.jsonl is written in both of its formats', async () => {
    const given = { id: 'a', prompt: 'Hi', chosen: 'ü\u2028', rejected: ' no' };
    const { records } = await loadPreferences(await file(given));
    expect(toTrl(records, 'standard')).toEqual([given]);
    expect(toTrl(records)).toEqual([
      {
        id: 'a',
        prompt: [user('Hi')],
        chosen: [assistant('ü\u2028')],
        rejected: [assistant(' no')],
      },
    ]);
    expect(() =>
      toTrl(
        [{ ...records[0]!, prompt: [{ role: 'system', content: 'Kind.' }, user('Hi')] }],
        'standard',
      ),
    ).toThrow(/the pair "a" is a conversation of several turns or has a system message/);
  });
});

describe('other shapes', () => {
  it.each([
    [
      'HH-RLHF',
      {
        chosen: '\n\nHuman: Hi\nthere\n\nAssistant: Yes?\n\nHuman: Go\n\nAssistant: Away: now',
        rejected: '\n\nHuman: Hi\nthere\n\nAssistant: Yes?\n\nHuman: Go\n\nAssistant: ',
      },
      {
        prompt: [user('Hi\nthere'), assistant('Yes?'), user('Go')],
        chosen: [assistant('Away: now')],
        rejected: [assistant('')],
      },
    ],
    [
      'Alpaca',
      { instruction: 'Add.', input: '2, 3', chosen: '5', rejected: '6' },
      { prompt: [user('Add.\n\n2, 3')], chosen: [assistant('5')], rejected: [assistant('6')] },
    ],
    [
      'a system column',
      { system: 'Kind.', question: 'Hi', chosen: 'a', rejected: 'b' },
      {
        prompt: [{ role: 'system', content: 'Kind.' }, user('Hi')],
        chosen: [assistant('a')],
        rejected: [assistant('b')],
      },
    ],
    [
      'a text prompt beside answers as messages',
      { prompt: 'Hi', chosen: [assistant('a')], rejected: [assistant('b')] },
      { prompt: [user('Hi')], chosen: [assistant('a')], rejected: [assistant('b')] },
    ],
    [
      'a question beside whole conversations',
      {
        question: 'Hi',
        chosen: [user('Hi'), assistant('a')],
        rejected: [user('Hi'), assistant('b')],
      },
      { prompt: [user('Hi')], chosen: [assistant('a')], rejected: [assistant('b')] },
    ],
    [
      'nulls of Parquet',
      { prompt: null, instruction: 'Hi', chosen: 'a', rejected: 'b', consistency: null },
      { prompt: [user('Hi')], chosen: [assistant('a')], rejected: [assistant('b')] },
    ],
  ])('%s', (_, value, expected) => expect(preferenceOf(row(value))).toEqual(expected));
});

describe('what is wrong has its place', () => {
  it.each([
    [
      { prompt: 'Hi', chosen: 'a' },
      'p.jsonl line 7: no preference pair found: column "rejected" is missing; give ' +
        '"prompt", "chosen" and "rejected"; the row has "prompt", "chosen"',
    ],
    [{ chosen: null, rejected: 'a' }, 'column "chosen" is missing'],
    [
      { prompt: 'Hi', chosen: 5, rejected: 'a' },
      'column "chosen" must be text or a list of messages, but is 5',
    ],
    [
      { prompt: 'Hi', chosen: [assistant('a')], rejected: 'a' },
      '"chosen" is a list of messages and "rejected" is not',
    ],
    [
      { prompt: 'Hi', chosen: [{ role: 'bot', content: 'a' }], rejected: [assistant('b')] },
      '"chosen" turn 1 has the role "bot"',
    ],
    [
      { prompt: 7, chosen: [assistant('a')], rejected: [assistant('b')] },
      '"prompt" must be text or a list',
    ],
    [{ prompt: 7, chosen: 'a', rejected: 'b' }, '"prompt" must be text or a list'],
    [
      {
        prompt: [user('Hi'), assistant('Ho')],
        chosen: [assistant('a')],
        rejected: [assistant('b')],
      },
      'the prompt ends with an assistant turn',
    ],
    [
      { chosen: [user('A'), assistant('a')], rejected: [user('B'), assistant('a')] },
      'share no beginning',
    ],
    [{ chosen: 'Yes ', rejected: 'No' }, 'share no beginning'],
    [
      { prompt: 'Hi', chosen: 'a', rejected: 'b', consistency: NaN },
      'column "consistency" must be a number from 0 to 1',
    ],
    [{ prompt: 'Hi', chosen: 'a', rejected: 'b', consistency: 1.5 }, 'but is 1.5'],
  ])('%j', (value, message) => expect(() => preferenceOf(row(value))).toThrow(message));

  it('leaves out pairs of equal completions, with reasons, and counts repeated rows', async () => {
    const kept = await loadPreferences(
      await file(
        { prompt: 'Hi', chosen: 'a', rejected: 'b' },
        { prompt: 'Hi', chosen: 'a', rejected: 'a' },
        { prompt: 'Hi', chosen: ' \n', rejected: 'b' },
        { prompt: [user('Hi')], chosen: [assistant('a')], rejected: [] },
        { prompt: [user('Hi')], chosen: [assistant('a')], rejected: [assistant('b')] },
      ),
      { onBadRow: 'skip' },
    );
    expect(kept.records).toHaveLength(1);
    expect(kept.duplicates).toBe(1);
    expect(kept.skipped.map(({ reason }) => reason.replace(folder, ''))).toEqual([
      '/p.jsonl line 3: "chosen" is empty; remove the row',
      '/p.jsonl line 4: "rejected" is empty; remove the row',
      '/p.jsonl line 2: "chosen" and "rejected" are equal',
    ]);
    await expect(
      loadPreferences(await file({ prompt: 'Hi', chosen: 'a', rejected: 'a' })),
    ).rejects.toThrow(/has no usable pair: .*line 1: "chosen" and "rejected" are equal/);
  });

  it(
    'ids: an id names one row, a prompt_id may have several pairs, none is the hash of the ' +
      'content',
    async () => {
      await expect(
        loadPreferences(
          await file(
            { id: 1, prompt: 'Hi', chosen: 'a', rejected: 'b' },
            { id: 1, prompt: 'Hi', chosen: 'a', rejected: 'c' },
          ),
        ),
      ).rejects.toThrow(/line 2: the id "1" is also that of .*line 1/);
      const { records } = await loadPreferences(
        await file(
          { prompt_id: 'x', prompt: 'Hi', chosen: 'a', rejected: 'b' },
          { prompt_id: 'x', prompt: 'Hi', chosen: 'a', rejected: 'c' },
          { prompt: 'Hi', chosen: 'a', rejected: 'd' },
        ),
      );
      expect(records.map(({ id }) => id)).toEqual([
        'x',
        expect.stringMatching(/^[0-9a-f]{16}$/),
        expect.stringMatching(/^[0-9a-f]{16}$/),
      ]);
      expect(new Set(records.map(({ id }) => id)).size).toBe(3);
    },
  );
});
