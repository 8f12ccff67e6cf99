/** Rows that cannot be used: named by file and line, or left out and counted. */
import { afterAll, describe, expect, it } from '@jest/globals';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describeLeftOut } from '../../src/data/bad-rows.js';
import { describe as describeValue } from '../../src/data/jsonl.js';
import { loadPreferences } from '../../src/data/preferences.js';
import { loadDemonstrations, loadPrompts } from '../../src/data/prompts.js';
import { readRows } from '../../src/data/rows.js';
import { temporaryFolder } from '../support/tiny-model.js';

const folder = temporaryFolder('cream-bad-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const shown = ({ reason }: { reason: string }) => reason.replace(`${folder}/`, '');

const PROMPTS = [
  '{"id": 1, "prompt": "Good"}',
  '{"id": 2, "prompt": "cut',
  '{"prompt": "  "}',
  '[1, 2]',
  '{"prompt": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}',
  '{"id": 1, "prompt": "another of this id"}',
  '{"prompt": "Good"}',
  '{"prompt": "Also good"}',
].join('\n');

describe('prompts', () => {
  it('name the first bad row and count the others', async () => {
    await expect(loadPrompts(file('p.jsonl', PROMPTS))).rejects.toThrow(
      /p\.jsonl line 2: not JSON .* \(4 more rows cannot be used either\)$/,
    );
  });

  it('leave them out with skip, each with its reason', async () => {
    const { records, duplicates, duplicate, skipped } = await loadPrompts(
      file('p.jsonl', PROMPTS),
      {
        onBadRow: 'skip',
      },
    );
    expect(records.map(({ prompt }) => prompt[0]!.content)).toEqual(['Good', 'Also good']);
    expect(duplicates).toBe(1);
    expect(duplicate).toMatch(/line 7 repeats .*line 1$/);
    expect(skipped.map(shown).map((reason) => reason.slice(0, 40))).toEqual([
      expect.stringMatching(/^p\.jsonl line 2: not JSON/),
      expect.stringMatching(/^p\.jsonl line 4: the row is \[1,2\]/),
      expect.stringMatching(/^p\.jsonl line 3: column "prompt"|^p\.jsonl line 3: "prompt" must be/),
      expect.stringMatching(/^p\.jsonl line 5: "prompt" ends with an/),
      expect.stringMatching(/^p\.jsonl line 6: the id "1" is also/),
    ]);
    expect(describeLeftOut('p.jsonl', { duplicates, duplicate, skipped })).toMatch(
      /^p\.jsonl: 6 rows were left out: 5 cannot be used \(.*line 2: .*, and 4 more\), 1 repeats/,
    );
  });

  it('are an error where no row is left', async () => {
    await expect(
      loadPrompts(file('none.jsonl', '{"a": 1}\n{"b": 2}\n'), { onBadRow: 'skip' }),
    ).rejects.toThrow(/none\.jsonl has no row that can be used: .*line 1: .*\(1 more row cannot/);
  });

  it('of CSV are named by line', async () => {
    const path = file('p.csv', 'prompt,answer\nOne,1\n"Two\nlines",2\nthree,3,too many\nFour,4\n');
    await expect(loadPrompts(path)).rejects.toThrow(/p\.csv line 5: not CSV/);
    const { records, skipped } = await loadPrompts(path, { onBadRow: 'skip' });
    expect(records).toHaveLength(3);
    expect(skipped.map(shown)).toEqual([expect.stringMatching(/^p\.csv line 5/)]);
  });
});

it('demonstrations that are empty or end with the user', async () => {
  const path = file(
    'd.jsonl',
    [
      '{"prompt": "Hi", "completion": "Hello"}',
      '{"prompt": "Hi", "completion": " "}',
      '{"messages": [{"role": "user", "content": "Hi"}]}',
    ].join('\n'),
  );
  await expect(loadDemonstrations(path)).rejects.toThrow(/d\.jsonl line 2: .*\(1 more row cannot/);
  const { records, skipped } = await loadDemonstrations(path, { onBadRow: 'skip' });
  expect([records.length, skipped.length]).toEqual([1, 2]);
});

it('pairs with an empty answer or one of another role; equal answers', async () => {
  const good = '{"prompt": "Hi", "chosen": "a", "rejected": "b"}';
  const equal = '{"prompt": "Hi", "chosen": "a", "rejected": "a"}';
  const bad = [
    '{"prompt": "Hi", "chosen": " ", "rejected": "b"}',
    JSON.stringify({
      prompt: 'Hi',
      chosen: [{ role: 'user', content: 'x' }],
      rejected: [{ role: 'assistant', content: 'y' }],
    }),
    JSON.stringify({
      prompt: [{ role: 'user', content: 'Q' }],
      ...Object.fromEntries(
        ['chosen', 'rejected'].map((column) => [
          column,
          [
            { role: 'user', content: 'Another' },
            { role: 'assistant', content: column },
          ],
        ]),
      ),
    }),
  ];
  const clean = await loadPreferences(file('c.jsonl', `${good}\n${equal}\n`));
  expect(clean.skipped.map(shown)).toEqual(['c.jsonl line 2: "chosen" and "rejected" are equal']);
  const path = file('pairs.jsonl', [good, ...bad, equal].join('\n'));
  await expect(loadPreferences(path)).rejects.toThrow(
    /pairs\.jsonl line 2: "chosen" is empty; remove the row \(2 more rows cannot be used either\)/,
  );
  const { records, skipped } = await loadPreferences(path, { onBadRow: 'skip' });
  expect(records).toHaveLength(1);
  expect(skipped.map(shown)).toEqual([
    'pairs.jsonl line 2: "chosen" is empty; remove the row',
    expect.stringMatching(/^pairs\.jsonl line 3: "chosen" ends with a user turn/),
    expect.stringMatching(/^pairs\.jsonl line 4: "chosen" begins with a user turn/),
    'pairs.jsonl line 5: "chosen" and "rejected" are equal',
  ]);
});

describe('hostile files end in a sentence', () => {
  it('a small file that unpacks to far more than text does', async () => {
    const path = file('bomb.jsonl.gz', '');
    writeFileSync(path, gzipSync(Buffer.alloc(80 * 2 ** 20, '\n')));
    await expect(readRows(path)).rejects.toThrow(/unpacks to more than 64 MiB, 200 times its size/);
  });

  it('millions of rows that hold nothing', async () => {
    const path = file('many.jsonl.gz', '');
    writeFileSync(path, gzipSync(Buffer.from('1\n'.repeat(4_000_002)), { level: 1 }));
    await expect(readRows(path)).rejects.toThrow(/more than 4000000 rows/);
  });

  it('a value that is nested too deeply to be shown', async () => {
    const deep = '['.repeat(40_000) + ']'.repeat(40_000);
    await expect(loadPrompts(file('deep.jsonl', `{"prompt": ${deep}}`))).rejects.toThrow(
      /deep\.jsonl line 1: .*nested too deeply/,
    );
    expect(describeValue(1n)).toBe('1');
  });
});

it('the row that is named is the first of the file, whatever is wrong with it', async () => {
  const path = join(temporaryFolder(), 'order.jsonl');
  writeFileSync(path, '{"prompt":"ok"}\n{"prompt":""}\nno json\n{"prompt":""}\n');
  await expect(loadPrompts(path)).rejects.toThrow(
    /order\.jsonl line 2: "prompt" must be .* \(2 more rows cannot be used either\)$/,
  );
});
