import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { RANKING_COLUMNS, SCORE_COLUMNS } from '../../src/data/columns.js';
import {
  MAX_LINE_BYTES,
  parseJsonl,
  readJsonl,
  readRecords,
  serialize,
} from '../../src/data/jsonl.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const parse = (text: string) => parseJsonl(bytes(text), 'x.jsonl').map(({ value }) => value);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-data-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(text: string | Uint8Array): Promise<string> {
  const path = join(folder, 'x.jsonl');
  await writeFile(path, text);
  return path;
}

describe('parseJsonl', () => {
  it(
    'reads objects, blank lines, Windows line ends, a byte order mark, a last line without ' +
      'an end',
    () => {
      expect(parse('\uFEFF{"a":1}\r\n\n  \n{"a":"ü\\u2028"}')).toEqual([
        { a: 1 },
        { a: 'ü\u2028' },
      ]);
      expect(parse('')).toEqual([]);
    },
  );
  it('counts lines as an editor does', () => {
    expect(
      parseJsonl(bytes('\n{"a":1}\n\n{"b":2}\n'), 'x.jsonl').map(({ number, where }) => [
        number,
        where,
      ]),
    ).toEqual([
      [2, 'x.jsonl:2'],
      [4, 'x.jsonl:4'],
    ]);
  });
  it.each([
    ['{"a":1}\n{"a":', 'x.jsonl:2: not JSON'],
    ['{"a":1}\n[1]', 'x.jsonl:2: the line is [1]; each line must be one JSON object'],
    ['null', 'x.jsonl:1: the line is null'],
    ['{"a":NaN}', 'x.jsonl:1: not JSON'],
  ])('refuses %j', (text, message) => expect(() => parse(text)).toThrow(message));
  it('refuses bytes that are not UTF-8, with the line', () => {
    expect(() =>
      parseJsonl(new Uint8Array([...bytes('{"a":1}\n{"a":"'), 0xff, 0x22, 0x7d]), 'x.jsonl'),
    ).toThrow('x.jsonl:2: the line is not valid UTF-8');
  });
  it('refuses a line beyond the cap without parsing it', () => {
    expect(() => parseJsonl(new Uint8Array(MAX_LINE_BYTES + 1).fill(0x20), 'x.jsonl')).toThrow(
      'the limit is 16 MiB',
    );
  });
});

describe('readJsonl', () => {
  it('says what is wrong with a missing file, a folder, an empty file', async () => {
    await expect(readJsonl(join(folder, 'none.jsonl'))).rejects.toThrow(
      /cannot read .*none.jsonl: there is no such file/,
    );
    await expect(readJsonl(folder)).rejects.toThrow('it is a folder');
    await expect(readJsonl(await file('\n'))).rejects.toThrow(
      'is empty; it needs at least one row',
    );
    await expect(readJsonl(await file(''), { allowEmpty: true })).resolves.toEqual([]);
  });
});

describe('readRecords', () => {
  const score = {
    prompt_id: 'a',
    sample: 0,
    tokens: 3,
    logp_current: -1.5,
    logp_previous: -2,
    logp_base: -2.5,
  };
  const rows = async (...records: object[]) => file(records.map(serialize).join(''));

  it('returns what serialize wrote, further columns kept', async () => {
    const records = [score, { ...score, sample: 1, note: 'a\u2028b\n' }];
    await expect(readRecords(await rows(...records), SCORE_COLUMNS)).resolves.toEqual(records);
  });
  it.each([
    [
      { ...score, tokens: undefined },
      'x.jsonl:2: column "tokens" is missing; it has "prompt_id", "sample"',
    ],
    [{ ...score, sample: '0' }, 'x.jsonl:2: column "sample" must be a whole number, but is "0"'],
    [{ ...score, sample: 0.5 }, 'must be a whole number, but is 0.5'],
    [{ ...score, logp_base: NaN }, 'column "logp_base" must be a number, but is null'],
    [{ ...score, prompt_id: 7 }, 'column "prompt_id" must be a string, but is 7'],
  ])('names line and column: %j', async (bad, message) => {
    await expect(readRecords(await rows(score, bad), SCORE_COLUMNS)).rejects.toThrow(message);
  });
  it('checks lists and optional columns', async () => {
    const ranking = {
      prompt_id: 'a',
      samples: [0, 1],
      reward_current: [1, 2],
      reward_previous: [1, 2],
      rank_current: [2, 1],
      rank_previous: [2, 1],
      kendall_tau: 1,
      spearman: 1,
      top_order: 1,
      consistency: 1,
    };
    await expect(
      readRecords(await rows(ranking, { ...ranking, skipped: 'all_equal' }), RANKING_COLUMNS),
    ).resolves.toHaveLength(2);
    await expect(
      readRecords(await rows({ ...ranking, samples: [0, '1'] }), RANKING_COLUMNS),
    ).rejects.toThrow('must be a list of whole numbers');
    await expect(
      readRecords(await rows({ ...ranking, skipped: 4 }), RANKING_COLUMNS),
    ).rejects.toThrow('column "skipped" must be a string, but is 4');
  });
});

describe('serialize', () => {
  it('is one line that any line reader keeps whole', () => {
    const text = serialize({ a: 'x\u2028y\u2029z\n\u0085' });
    expect(text).not.toMatch(/[\u2028\u2029]/);
    expect(text.split('\n')).toHaveLength(2);
    expect(JSON.parse(text)).toEqual({ a: 'x\u2028y\u2029z\n\u0085' });
  });
});
