/**
 * Reading a large file lets the event loop run: between two of its turns at most one slice is
 * parsed. The tests count characters and rows, so a busy machine changes nothing.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, jest } from '@jest/globals';
import { parseCsv } from '../../src/data/formats.js';
import { listedRows } from '../../src/data/json-list.js';
import { readJsonl, SLICE_BYTES } from '../../src/data/jsonl.js';
import { COMPRESSORS } from '../../src/data/parquet-codecs.js';
import { slicesOf } from '../../src/data/parquet-thread.js';
import { loadPreferences } from '../../src/data/preferences.js';
import { loadPrompts } from '../../src/data/prompts.js';
import { inSlices, SLICE_ROWS } from '../../src/data/row-slices.js';
import { readRows } from '../../src/data/rows.js';
import { temporaryFolder } from '../support/folders.js';
import { held } from '../support/held.js';

const folder = temporaryFolder('cream-slices-');
function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const row = JSON.stringify({ prompt: 'x'.repeat(1000) });
const COUNT = Math.ceil((3 * SLICE_BYTES) / row.length);
const rows = Array.from({ length: COUNT }, () => row);

describe('the event loop runs while a file is parsed', () => {
  it.each([
    ['large.jsonl', rows.join('\n'), readRows],
    ['large.jsonl', rows.join('\n'), readJsonl],
    ['large.json', `[${rows.join(',')}]`, readRows],
    ['data.json', `{"version": 1, "data": [${rows.join(',')}], "license": "mit"}`, readRows],
    ['lines.json', rows.join('\n'), readRows],
  ])('%s, case %#', async (name, text, read) => {
    const path = file(name, text);
    const { longest, total } = await held(async (count) => {
      const parse: (text: string) => unknown = JSON.parse.bind(JSON);
      const spy = jest.spyOn(JSON, 'parse').mockImplementation((said: string) => {
        count(said.length);
        return parse(said);
      });
      expect(await read(path)).toHaveLength(COUNT);
      spy.mockRestore();
    });
    expect(total - COUNT * row.length).toBeLessThan(100);
    expect(longest).toBeLessThanOrEqual(SLICE_BYTES + row.length);
  });

  it('pairs.json of the official code', async () => {
    const messages = (content: string) => [
      { role: 'user', content: 'q' },
      { role: 'assistant', content },
    ];
    const pair = (i: number) => ({
      prompt: [{ role: 'user', content: 'q' }],
      selected: messages(`${i} ${'x'.repeat(1000)}`),
      rejected: messages('y'),
      consistency: 0.5,
    });
    const pairs = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`id${i}`, pair(i)]));
    const path = file('pairs.json', JSON.stringify(pairs));
    const { longest } = await held(async (count) => {
      const parse: (text: string) => unknown = JSON.parse.bind(JSON);
      const spy = jest.spyOn(JSON, 'parse').mockImplementation((said: string) => {
        count(said.length);
        return parse(said);
      });
      expect((await loadPreferences(path)).records).toHaveLength(2000);
      spy.mockRestore();
    });
    expect(longest).toBeLessThanOrEqual(SLICE_BYTES + 2000);
  });

  it('large.csv', async () => {
    const bad = 'x'.repeat(50); // one field too few
    const path = file('large.csv', ['a,b', ...Array<string>(40_000).fill(bad), 'c,d'].join('\n'));
    const { longest, total } = await held((count) =>
      readRows(path, { onBadRow: () => count(bad.length) }),
    );
    expect(total).toBe(40_000 * bad.length);
    expect(longest).toBeLessThan(total / 2);
  });

  it('large.parquet, in a thread of its own', async () => {
    const path = new URL('../golden/parquet/large.parquet', import.meta.url).pathname;
    const unpack = jest.spyOn(COMPRESSORS as { ZSTD: (bytes: Uint8Array) => Uint8Array }, 'ZSTD');
    const read = await readRows(path);
    expect(unpack).not.toHaveBeenCalled();
    unpack.mockRestore();
    expect(read).toHaveLength(3000);
    expect(read[2999]).toEqual({
      where: `${path} row 3000`,
      value: {
        prompt: `2999 ${'words '.repeat(300)}`,
        messages: [{ role: 'user', content: `2999 ${'x'.repeat(900)}` }],
      },
    });
  });

  it('rows become records in slices', async () => {
    const seen = Array.from({ length: 3 * SLICE_ROWS }, (_, i) => i);
    const { longest, total } = await held(async (count) => {
      for await (const one of inSlices(seen)) count(one >= 0 ? 1 : 0);
    });
    expect([longest, total]).toEqual([SLICE_ROWS, 3 * SLICE_ROWS]);
    const path = file('many.jsonl', seen.map((i) => `{"prompt":"p ${i}"}`).join('\n'));
    expect((await loadPrompts(path)).records).toHaveLength(seen.length);
  });
});

describe('a large Parquet file', () => {
  const path = new URL('../golden/parquet/large.parquet', import.meta.url).pathname;
  it('comes in slices of rows', () => {
    const values = Array.from({ length: 1200 }, (_, i) => ({ i }));
    const sizes = (bytes: number) => [...slicesOf({ values, bytes })].map(({ length }) => length);
    expect(sizes(1000)).toEqual([500, 500, 200]);
    expect(sizes(1200 * 2 ** 18)).toEqual(Array(300).fill(4));
    expect(sizes(1200 * 2 ** 24)).toEqual(Array(1200).fill(1));
  });
  it('is refused by the sentence of the thread where it is damaged', async () => {
    const bytes = readFileSync(path);
    bytes.fill(0x55, 200, 400);
    const bad = join(folder, 'bad.parquet');
    writeFileSync(bad, bytes);
    await expect(readRows(bad)).rejects.toThrow(
      new RegExp(`^${bad}, column "prompt" of rows 1 to 2000: damaged or not readable`),
    );
  });
  it('is given up when the signal says so', async () => {
    const controller = new AbortController();
    const reading = readRows(path, { signal: controller.signal });
    const reason = new Error('enough');
    setTimeout(() => controller.abort(reason));
    await expect(reading).rejects.toBe(reason);
  });
});

describe('a JSON list, entry by entry', () => {
  const list = async (text: string) => {
    const bytes = Buffer.from(text);
    const from = bytes.findIndex((byte) => byte === 0x5b || byte === 0x7b);
    const found = await listedRows(bytes, from, 'f.json');
    return found && 'rows' in found ? found.rows : found;
  };
  it.each([
    ['[]', []],
    [' [ ] ', []],
    [
      '\ufeff[1, "a,]\\"[{", {"b": [1, {"c": "}"}]}, null]\n',
      [1, 'a,]"[{', { b: [1, { c: '}' }] }, null],
    ],
    ['[NaN, 9007199254740993]', [NaN, '9007199254740993']],
    [
      '{"a": {"data": [1]}, "b": "data", "data": [[2], {"data": [3]}], "c": []}',
      [[2], { data: [3] }],
    ],
    ['{"data":[]}', []],
  ])('%j', async (text, values) => expect(await list(text)).toEqual(values));
  it('is not looked for where several values follow each other', async () => {
    for (const text of ['{"data": [1]}\n{"data": [2]}', '{"a": 1}\n{"data": [2]}'])
      expect(await list(text)).toEqual({ lines: true });
  });
  it.each([
    ...['[1, 2', '[1,]', '[,1]', '[1] 2', '[1}', '["a]', '[{"a": 1]', '[1][2]'],
    ...['{"data": [1}', '{"data": [1]', '{"data": [1],}', '{"data" [1]}', '{"data": 1}', '{}'],
  ])('%j is left to the parser of the whole text', async (text) =>
    expect(await list(text)).toBeUndefined(),
  );
});

describe('a small file with too much in it', () => {
  it('of millions of rows is refused', () =>
    expect(listedRows(Buffer.from(`[${'1,'.repeat(4_000_000)}1]`), 0, 'f.json')).rejects.toThrow(
      'f.json has more than 4000000 rows, the limit of one file',
    ));
  const keys = (count: number) =>
    Array.from({ length: count }, (_, i) => `"k${i}": "some text"`).join(', ');
  const nested = (count: number) => `"x": [${Array<string>(count).fill('{}').join(',')}]`;
  const row = (more: string) => `{"prompt": "Why?", ${more}}`;
  it.each([
    ['thousands of columns', keys(10_000), 'it has more than 10000 columns'],
    ['thousands of keys', `"x": {${keys(50_000)}}`, 'it has more than 50000 keys, lists and obj'],
    ['thousands of objects', nested(50_000), 'it has more than 50000 keys, lists and objects'],
  ])('a row of %s is refused before it is parsed', async (_, more, message) => {
    const advice = ', the limit of one row; leave out the columns that are not read';
    const parse = jest.spyOn(JSON, 'parse');
    const bad = row(more);
    const lines = file('wide.jsonl', `${row('"a": 1')}\n${bad}`);
    await expect(readRows(lines)).rejects.toThrow(`${lines} line 2: ${message}`);
    await expect(readJsonl(lines)).rejects.toThrow(`${lines}:2: ${message}`);
    const list = file('wide.json', `[${row('"a": 1')}, ${bad}]`);
    await expect(readRows(list)).rejects.toThrow(`${list} row 2: ${message}`);
    await expect(readRows(list)).rejects.toThrow(advice);
    const whole = file('one.json', bad);
    await expect(readRows(whole)).rejects.toThrow(/ is one object, and it has more than \d+ /);
    expect(parse.mock.calls.some(([text]) => text.length > 1000)).toBe(false);
    parse.mockRestore();
    const skipped: string[] = [];
    const left = await readRows(lines, { onBadRow: ({ message: said }) => skipped.push(said) });
    expect([left.length, skipped.length]).toEqual([1, 1]);
  });
  it('a row of as many columns as a table has is read', async () => {
    const wide = file('wide.jsonl', row(`${keys(9_999)}`));
    expect(Object.keys((await readRows(wide))[0]!.value as object)).toHaveLength(10_000);
  });
  it('of thousands of columns is refused', () =>
    expect(parseCsv(`${'a,'.repeat(10_000)}b\n1`, 'f.csv')).rejects.toThrow(
      'f.csv has more than 10000 columns; its first line must name the columns',
    ));
});
