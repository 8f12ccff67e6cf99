import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Draw } from '../../src/data/draw.js';
import { readObjects, readRows } from '../../src/data/rows.js';

const golden = (name: string) => new URL(`../golden/parquet/${name}`, import.meta.url).pathname;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-rows-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(name: string, data: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, data);
  return path;
}
const values = async (path: string) => (await readRows(path)).map(({ value }) => value);

describe('JSON Lines and JSON', () => {
  const rows = [
    { a: 'ü\u2028\u2029\u0085🙂', b: [1, null, { c: 'x\r\ny' }] },
    { a: '' },
    { __proto__x: 1, 'a.b': false },
  ];
  const lines = rows.map((row) => JSON.stringify(row));
  it.each([
    ['unix.jsonl', lines.join('\n')],
    ['windows.jsonl', `${lines.join('\r\n')}\r\n`],
    ['bom.jsonl', `\uFEFF${lines.join('\n\n')}\n \n`],
    ['no-ending', lines.join('\n')],
    ['list.json', JSON.stringify(rows)],
    ['pretty.json', `\uFEFF${JSON.stringify(rows, null, 2)}\r\n`],
    ['data.json', JSON.stringify({ version: 1, data: rows })],
    ['lines.json', lines.join('\n')],
    ['packed.jsonl.gz', gzipSync(lines.join('\n'))],
    ['packed.json.gz', gzipSync(JSON.stringify(rows))],
  ])('%s', async (name, data) => expect(await values(await file(name, data))).toEqual(rows));

  it('say where a row stands', async () => {
    expect(
      (await readRows(await file('x.jsonl', '\n1\n\n"a"'))).map(({ value, where }) => [
        value,
        where.replace(folder, ''),
      ]),
    ).toEqual([
      [1, '/x.jsonl line 2'],
      ['a', '/x.jsonl line 4'],
    ]);
    expect(
      (await readRows(await file('x.json', '[1, "a"]'))).map(({ where }) =>
        where.replace(folder, ''),
      ),
    ).toEqual(['/x.json row 1', '/x.json row 2']);
    await expect(readObjects(await file('x.jsonl', '{}\n[1]'))).rejects.toThrow(
      /x\.jsonl line 2: the row is \[1\]; each row must be an object/,
    );
  });

  it('one row of one object, in a .json file', async () =>
    expect(await values(await file('one.json', '{"prompt": "Hi"}'))).toEqual([{ prompt: 'Hi' }]));

  it.each([
    ['cut.jsonl', '{"a":1}\n{"a":', /cut\.jsonl line 2: not JSON/],
    ['cut.json', '[{"a":1},', /cut\.json is not JSON .*it may be damaged or cut off/],
    ['latin.jsonl', Buffer.from('{"a":"\xff"}', 'latin1'), /line 1: the line is not valid UTF-8/],
    ['latin.json', Buffer.from('["\xff"]', 'latin1'), /latin\.json is not valid UTF-8/],
    ['none.jsonl', '', /is empty; it needs at least one row/],
    ['none.json', ' \n', /is empty/],
    ['empty.json', '[]', /is empty/],
    ['keyed.json', '{"a": {"prompt": []}}', /holds \{"a":\{"prompt":\[\]\}\}; give a list of rows/],
    ['number.json', '5', /holds 5; give a list of rows/],
    [
      'cut.jsonl.gz',
      gzipSync('{"a":1}\n'.repeat(1000)).subarray(0, 40),
      /cut\.jsonl\.gz is damaged: it cannot be unpacked/,
    ],
    ['p.jsonl.bz2', Buffer.from('BZh91AY&SY'), /p\.jsonl\.bz2 is compressed with bzip2/],
    ['p.jsonl.xz', Buffer.from('\xfd7zXZ\0\0', 'latin1'), /is compressed with xz.*unxz/],
    ['p.zip', Buffer.from('PK\x03\x04\x14\0'), /p\.zip is a zip archive/],
    ['p.jsonl.zst', Buffer.from('\x28\xb5\x2f\xfd', 'latin1'), /is compressed with zstd/],
    ['inside.json.gz', gzipSync('BZh91AY&SY'), /is compressed with bzip2/],
    ['wide.jsonl', Buffer.from('\uFEFF{"a": 1}', 'utf16le'), /is UTF-16 text/],
    ['one.jsonl', '[{"a": 1}, {"a": 2}]', /is one JSON list .* ends in \.json$/],
    ['pretty.jsonl', '[\n  {\n "a": 1\n }\n]\n', /is one JSON list/],
    [
      'table.jsonl',
      'prompt,answer\n"a","b"\n',
      /looks like CSV: give it a name that ends in \.csv/,
    ],
    ['mac.jsonl', '{"a": 1}\r{"a": 2}\r', /ends its lines with a carriage return alone/],
    ['page.jsonl', '<!DOCTYPE html>\n<html>', /is a web page/],
    ['cut.csv', 'a,b\n1,"2', /cut\.csv line 2: not CSV as RFC 4180 defines it/],
    ['short.csv', 'a,b\n1,2\n3\n', /short\.csv line 3: not CSV/],
    ['twice.csv', 'a,a\n1,2\n', /two columns are called "a"/],
    ['latin.csv', Buffer.from('a\n\xff\n', 'latin1'), /latin\.csv is not valid UTF-8/],
    ['heads.csv', 'a,b\n', /is empty/],
    ['marks.csv', 'prompt;answer\n"a";"b"\n', /has ";" between its columns, not commas/],
    ['tabs.csv', 'prompt\tanswer\na\tb\n', /not commas; give it a name that ends in \.tsv/],
    ['commas.tsv', 'prompt,answer\na,b\n', /has "," between its columns, not tabs/],
    [
      'list.txt',
      'Name a river\nName a lake\n',
      /does not hold JSON: its first line is "Name a riv/,
    ],
    [
      'python.jsonl',
      "{'prompt': 'a'}\n",
      /Python's notation and not in JSON; write it with json\.d/,
    ],
    ['list.py.json', "[{'prompt': 'a'}]", /Python's notation/],
    ['commas.jsonl', '{"a": 1},\n{"a": 2}\n', /has commas between its rows/],
    ['line.jsonl', '{"a": 1} {"a": 2}\n', /has several rows in one line/],
    ['page.json', '<html>', /is a web page/],
    ['pointer.json', 'version https://git-lfs.github.com/spec/v1\n', /is a Git LFS pointer/],
    ['pointer.parquet', 'version https://git-lfs.github.com/spec/v1\n', /is a Git LFS pointer/],
    ['table.arrow', Buffer.from('ARROW1\0\0'), /is an Arrow \(Feather\) file.*write it as Parquet/],
    ['table.db', Buffer.from('SQLite format 3\0'), /is an SQLite database/],
    ['rows.pkl', Buffer.from('\x80\x04\x95\x0f\0', 'latin1'), /is a Python pickle/],
    ['rows.jsonl.br', Buffer.from('\x8b\x08\x80', 'latin1'), /is compressed with brotli/],
    ['rows.jsonl.lz4', Buffer.from('\x04"M\x18', 'latin1'), /is compressed with LZ4/],
    ['rows.tar', 'rows.jsonl', /is a tar archive/],
    ['wide.jsonl', Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), /is UTF-32 text/],
    ['odd.jsonl', Buffer.from('\x01\x02\0\x03'), /is a binary file/],
    ['pointer.jsonl', 'version https://git-lfs.github.com/spec/v1\n', /is a Git LFS pointer/],
    ['huge.jsonl', Buffer.alloc(17 * 2 ** 20, 0x20), /line 1: the line is 17 MiB long/],
  ])('%s is refused in one sentence', async (name, data, message) =>
    expect(readRows(await file(name, data))).rejects.toMatchObject({
      name: 'DataError',
      message: expect.stringMatching(message),
    }),
  );

  it.each([
    [
      'numbers.jsonl',
      '{"id": 9007199254740995, "a": NaN, "b": [-Infinity, 1e30, 0.1234567890123456789]}',
    ],
    [
      'numbers.json',
      '[{"id": 9007199254740995, "a": NaN, "b": [-Infinity, 1e30, 0.1234567890123456789]}]',
    ],
  ])('%s: numbers that JSON or JavaScript does not have', async (name, data) =>
    expect(await values(await file(name, data))).toEqual([
      { id: '9007199254740995', a: NaN, b: [-Infinity, 1e30, 0.12345678901234568] },
    ]),
  );
  it('leaves strings that look like such numbers alone', async () => {
    const row = { a: 'NaN, -Infinity "NaN', 'b\\"': '12345678901234567890', c: 1234567890123456 };
    expect(await values(await file('x.jsonl', JSON.stringify(row)))).toEqual([row]);
    const spoilt = `${JSON.stringify(row).slice(0, -1)}, "d": NaN}`;
    expect(await values(await file('x.jsonl', spoilt))).toEqual([{ ...row, d: NaN }]);
    await expect(readRows(await file('x.jsonl', '{"a": NaNa}'))).rejects.toThrow(/not JSON/);
  });

  it.each([
    ['x.csv', 5, '\uFEFFprompt,note,reward\r\n"Say ""hi"",\r\nthen go",,0.5\r\n\r\nHi,"",NaN\r\n'],
    ['x.csv.gz', 4, gzipSync('prompt,note,reward\n"Say ""hi"",\r\nthen go",,0.5\nHi,"",NaN')],
    ['x.tsv', 4, 'prompt\tnote\treward\n"Say ""hi"",\r\nthen go"\t\t0.5\nHi\t""\tNaN\n'],
  ])('%s', async (name, line, data) => {
    const rows = await readRows(await file(name, data));
    expect(rows.map(({ value }) => value)).toEqual([
      { prompt: 'Say "hi",\r\nthen go', note: null, reward: 0.5 },
      { prompt: 'Hi', note: '', reward: 'NaN' },
    ]);
    expect(rows.map(({ where }) => where.split(' line ')[1])).toEqual(['2', String(line)]);
  });

  it('a file that is not there, a folder', async () => {
    await expect(readRows(join(folder, 'nowhere.parquet'))).rejects.toThrow(
      /cannot read .*nowhere\.parquet: there is no such file/,
    );
    await expect(readRows(folder)).rejects.toThrow(/it is a folder/);
  });
});

describe('Parquet', () => {
  const codecs = ['none', 'snappy', 'gzip', 'brotli', 'zstd', 'lz4'].flatMap((codec) => [
    `${codec}-1.parquet`,
    `${codec}-2.parquet`,
  ]);
  let expected: unknown[];
  beforeAll(async () => {
    expected = JSON.parse(await readFile(golden('rows.json'), 'utf8')) as unknown[];
  });

  it.each([...codecs, 'encodings.parquet'])('%s has the rows that pyarrow wrote', async (name) => {
    const rows = await readRows(golden(name));
    expect(rows.map(({ value }) => value)).toEqual(expected);
    expect(rows[17]!.where).toBe(`${golden(name)} row 18`);
  });
  it('is known by its first bytes, whatever its name', async () =>
    expect(
      await values(await file('misnamed.jsonl', await readFile(golden('zstd-1.parquet')))),
    ).toEqual(expected));
  it('reads the columns asked for', async () =>
    expect(
      (await readRows(golden('none-1.parquet'), { columns: ['id', 'absent'] }))[3]!.value,
    ).toEqual({ id: 'row-3' }));
  it('keeps an int64 that no number holds as its digits', async () =>
    expect(await values(golden('int64.parquet'))).toEqual([
      { id: 1, text: 'a' },
      { id: '9007199254740993', text: 'b' },
    ]));
  it('keeps bytes that are no text as bytes', async () =>
    expect(await values(golden('bytes.parquet'))).toEqual([
      { text: 'a', image: new Uint8Array([0xff, 0xfe]) },
    ]));
  it('says that a file has no rows', async () =>
    expect(readRows(golden('empty.parquet'))).rejects.toThrow('is empty'));

  it('a file that is cut anywhere is one sentence', async () => {
    const whole = await readFile(golden('snappy-1.parquet'));
    for (let at = 0; at < whole.length; at += 97)
      await expect(
        readRows(await file('cut.parquet', whole.subarray(0, at))),
      ).rejects.toMatchObject({
        name: 'DataError',
        message: expect.stringContaining('cut.parquet'),
      });
  });

  it.each([...codecs, 'encodings.parquet'])(
    '%s with damaged bytes gives rows or one sentence, soon and in little memory',
    async (name) => {
      const whole = await readFile(golden(name));
      const draw = new Draw(`damage ${name}`);
      let refused = 0;
      for (let round = 0; round < 150; round++) {
        const bytes = Uint8Array.from(whole);
        for (let i = draw.int(1, 4); i > 0; i--)
          bytes[draw.int(4, bytes.length - 5)] = draw.pick([0, 0xff, 0x7f, 0x80, draw.int(0, 255)]);
        const began = performance.now();
        try {
          await readRows(await file('damaged.parquet', bytes));
        } catch (error) {
          refused++;
          expect([(error as Error).name, (error as Error).message]).toEqual([
            'DataError',
            expect.stringMatching(/damaged\.parquet/),
          ]);
        }
        expect(performance.now() - began).toBeLessThan(20_000);
      }
      expect(refused).toBeGreaterThan(30);
      expect(process.memoryUsage().rss).toBeLessThan(3 * 2 ** 30);
    },
  );
});

describe('files of other kinds under a name that is read', () => {
  const line = '{"prompt":"a"}\n';
  const tar = Buffer.alloc(1024);
  tar.write('a.jsonl');
  tar.write('ustar', 257);
  it.each<[string, string | Uint8Array, string]>([
    ['x.csv', line, 'holds JSON and not CSV; give it a name that ends in .jsonl'],
    ['x.csv', '[{"prompt":"a"}]', 'holds JSON and not CSV'],
    ['x.jsonl.gz', gzipSync(gzipSync(line)), 'is compressed twice with gzip'],
    ['x.jsonl', deflateSync(line), 'is compressed with zlib'],
    ['x.jsonl', Buffer.from(line, 'utf16le'), 'is UTF-16 text'],
    ['x.jsonl', Buffer.from(line, 'utf16le').swap16(), 'is UTF-16 text'],
    ['x.jsonl', tar, 'is a tar archive'],
    ['x.jsonl', '{\n "prompt": "a"\n}\n{\n "prompt": "b"\n}\n', 'run over several lines'],
  ])('%s, case %#', async (name, data, message) =>
    expect(readRows(await file(name, data))).rejects.toThrow(message),
  );

  it("pandas' absent values of CSV are absent without quotes and texts with them", async () =>
    expect(await values(await file('x.csv', 'a,b\nNaN,"NaN"\nnan,None\n<NA>,x'))).toEqual([
      { a: null, b: 'NaN' },
      { a: null, b: null },
      { a: null, b: 'x' },
    ]));
});
