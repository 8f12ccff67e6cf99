/**
 * Malicious pages and footers: each claim that a decoder would trust is refused before decoding.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { ColumnMetaData, SchemaElement } from 'hyparquet';
import { checkPages, type Leaf } from '../../src/data/parquet-pages.js';
import { COMPRESSORS } from '../../src/data/parquet-codecs.js';
import { readStruct } from '../../src/data/parquet-thrift.js';
import { readRows } from '../../src/data/rows.js';
import { temporaryFolder } from '../support/folders.js';

const root = new URL('../..', import.meta.url).pathname;
const folder = temporaryFolder('cream-hostile-');

const varint = (n: number): number[] =>
  n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))];
const zigzag = (n: number): number[] => varint(n >= 0 ? 2 * n : -2 * n - 1);
/** A struct of i32 fields 1, 2, …; a list stands for a struct in that field. */
const struct = (...fields: (number | number[] | null)[]): number[] => {
  let last = 0;
  return [
    ...fields.flatMap((field, i) => {
      if (field === null) return [];
      const step = i + 1 - last;
      last = i + 1;
      return Array.isArray(field)
        ? [(step << 4) | 12, ...field]
        : [(step << 4) | 5, ...zigzag(field)];
    }),
    0,
  ];
};
const uint32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
/** A data page of format 1 and its bytes. */
const page = (values: number, encoding: number, body: number[], size = body.length): number[] => [
  ...struct(0, size, body.length, null, struct(values, encoding, 3, 3)),
  ...body,
];
const dictionary = (count: number, body: number[]): number[] => [
  ...struct(2, body.length, body.length, null, null, null, struct(count, 0)),
  ...body,
];
const leaf = (
  values: number,
  over: Partial<SchemaElement> = {},
  column: Partial<ColumnMetaData> = {},
): Leaf => ({
  column: {
    type: 'INT32',
    codec: 'UNCOMPRESSED',
    num_values: BigInt(values),
    encodings: ['PLAIN'],
    ...column,
  } as ColumnMetaData,
  path: [{ name: 'x', type: 'INT32', repetition_type: 'REQUIRED', ...over }],
  rows: values,
});
const check = (bytes: number[], of: Leaf) => () => checkPages(Uint8Array.from(bytes), of);
const optional = { repetition_type: 'OPTIONAL' as const };

describe('pages', () => {
  it('that add up are let through', () => {
    expect(check(page(2, 0, [...uint32(1), ...uint32(2)]), leaf(2))).not.toThrow();
    expect(
      check([...dictionary(1, uint32(7)), ...page(9, 8, [1, ...varint(18), 0])], leaf(9)),
    ).not.toThrow();
    expect(
      check(
        page(3, 0, [...uint32(2), ...varint(3), 0b101, ...uint32(1), ...uint32(2)]),
        leaf(3, optional),
      ),
    ).not.toThrow();
  });
  it.each<[string, number[], Leaf, RegExp]>([
    [
      'a run of 2^30 values',
      page(3, 0, [...uint32(6), ...varint(2 ** 31 - 2), 1, ...uint32(1)]),
      leaf(3, optional),
      /a run of 1073741823 where 3 values are left/,
    ],
    [
      'packed groups that overflow an int32',
      page(3, 0, [...uint32(6), ...varint(2 ** 31 - 1), 1]),
      leaf(3, optional),
      /its levels are cut off|packed values where 3 are left/,
    ],
    ['a run of nothing', page(3, 0, [...uint32(2), 0, 1]), leaf(3, optional), /a run of 0/],
    [
      'a level that the schema has not',
      page(3, 0, [...uint32(2), ...varint(6), 3]),
      leaf(3, optional),
      /a level is 3, the schema has 1/,
    ],
    [
      'an index beyond the dictionary',
      [...dictionary(1, uint32(7)), ...page(3, 8, [2, ...varint(6), 1])],
      leaf(3),
      /it names entry 1 of a dictionary of 1/,
    ],
    [
      'indices without a dictionary',
      page(3, 8, [0, ...varint(6)]),
      leaf(3),
      /entry 0 of a dictionary of 0/,
    ],
    ['indices of 200 bits', page(3, 8, [200, ...varint(6)]), leaf(3), /200 bits wide/],
    ['a page of 2^31 values', page(2 ** 31 - 1, 0, []), leaf(3), /a page claims 2147483647 values/],
    [
      'fewer values than promised',
      page(1, 0, uint32(1)),
      leaf(3),
      /its pages hold 1 values of 1 rows, not 3 of 3/,
    ],
    ['more values than bytes', page(3, 0, uint32(1)), leaf(3), /3 values do not fit the 4 bytes/],
    [
      'a page that claims to unpack to 2 GiB',
      [...struct(0, 2 ** 31 - 1, 1, null, struct(1, 0)), 0],
      leaf(1),
      /a page claims 1 bytes, 2147483647 unpacked/,
    ],
    [
      'a page longer than its column',
      [...struct(0, 4, 400, null, struct(1, 0)), 0],
      leaf(1),
      /a page claims 400 bytes/,
    ],
    ['a negative size', [...struct(0, -4, 4, null, struct(1, 0)), 0], leaf(1), /does not add up/],
    [
      'delta blocks of no parts',
      page(3, 5, [...varint(128), 0, 3, 0]),
      leaf(3),
      /delta blocks of 128 values in 0 parts/,
    ],
    [
      'front-coded texts, each as long as all before',
      page(3, 7, [1]),
      leaf(3),
      /its encoding .* is not read/,
    ],
    [
      'a compression that nobody knows',
      page(1, 0, uint32(1)),
      leaf(1, {}, { codec: 'LZO' }),
      /its compression LZO is not read/,
    ],
  ])('%s', (_, bytes, of, message) => expect(check(bytes, of)).toThrow(message));
});

describe('packed bytes that unpack to more than they say', () => {
  it('snappy', () =>
    expect(() => COMPRESSORS.SNAPPY!(Uint8Array.from([...varint(2 ** 31), 0, 0]), 16)).toThrow(
      /another length/,
    ));
  it('zstd: 1,000 blocks of 128 KiB in 4 bytes each', () => {
    const block = (last: number) => {
      const header = (((128 * 1024) << 3) | (1 << 1) | last) >>> 0;
      return [header & 255, (header >> 8) & 255, (header >> 16) & 255, 65];
    };
    const bomb = Uint8Array.from([
      ...uint32(0xfd2fb528),
      0x20,
      16,
      ...Array.from({ length: 999 }, () => block(0)).flat(),
      ...block(1),
    ]);
    expect(() => COMPRESSORS.ZSTD!(bomb, 16)).toThrow();
  });
  it('LZ4', () => {
    expect(() =>
      COMPRESSORS.LZ4_RAW!(
        Uint8Array.from([0x1f, 65, 1, 0, ...Array<number>(5000).fill(255), 0]),
        16,
      ),
    ).toThrow(/LZ4 page is damaged/);
    expect(() => COMPRESSORS.LZ4_RAW!(Uint8Array.from([0x10, 65, 9, 0]), 16)).toThrow(
      /LZ4 page is damaged/,
    );
    expect(
      Buffer.from(
        COMPRESSORS.LZ4_RAW!(Uint8Array.from([0x2f, 65, 66, 2, 0, 1, 0x10, 67]), 23),
      ).toString(),
    ).toBe(`${'AB'.repeat(11)}C`);
  });
});

describe('headers', () => {
  it.each<[string, number[], RegExp]>([
    [
      'a list of 2^28 entries',
      [0x19, 0xf5, ...varint(2 ** 28), 0],
      /claims a list of 268435456 entries/,
    ],
    ['a million structs in each other', Array<number>(1_000_000).fill(0x1c), /nested too deeply/],
    ['a number without an end', [0x15, ...Array<number>(100).fill(0xff)], /more than 64 bits/],
    ['a text beyond the end', [0x18, ...varint(2 ** 30), 1], /cut off/],
    ['no end', [0x15, 2], /cut off/],
    ['a type that nobody knows', [0x1e, 0], /unknown type 14/],
  ])('%s', (_, bytes, message) =>
    expect(() => readStruct(Uint8Array.from(bytes))).toThrow(message),
  );

  it.each<[string, number[], RegExp]>([
    [
      'a footer longer than the file',
      [...Buffer.from('PAR1'), ...uint32(1000), ...Buffer.from('PAR1')],
      /its footer claims 1000 bytes of 12/,
    ],
    [
      'no end',
      [...Buffer.from('PAR1'), ...uint32(0), ...Buffer.from('PARx')],
      /is cut off: a Parquet file ends with "PAR1"/,
    ],
    [
      'a footer of nonsense',
      [
        ...Buffer.from('PAR1'),
        0x19,
        0xf5,
        ...varint(2 ** 28),
        ...uint32(7),
        ...Buffer.from('PAR1'),
      ],
      /is a damaged Parquet file/,
    ],
    ['nothing', [], /is not a Parquet file: it is empty/],
  ])('%s', async (_, bytes, message) => {
    const path = join(folder, 'x.parquet');
    writeFileSync(path, Uint8Array.from(bytes));
    await expect(readRows(path)).rejects.toMatchObject({
      name: 'DataError',
      message: expect.stringMatching(message),
    });
  });
});

describe('a file with one wrong byte', () => {
  const FOOTER = 1500; // bytes at the end, each of which is tried with one of the values
  const good = readFileSync(new URL('../golden/parquet/snappy-1.parquet', import.meta.url));

  it.each([
    [0x15, 0],
    [0xff, 1],
  ])('%d is read or refused in words of its own', async (byte, first) => {
    let refused = 0;
    for (let at = first; at < good.length; at += at < good.length - FOOTER ? 31 : 2) {
      const bytes = Uint8Array.from(good);
      bytes[at] = byte;
      const path = join(folder, 'flipped.parquet');
      writeFileSync(path, bytes);
      try {
        await readRows(path);
      } catch (error) {
        refused++;
        expect(error).toMatchObject({ name: 'DataError' });
        expect((error as Error).message).not.toMatch(
          /reading '|is not a function|undefined|DataView|Invalid array|BigInt|iterable/,
        );
      }
    }
    expect(refused).toBeGreaterThan(100);
  });
});

it('without WebAssembly every file is read but those of the codecs that need it', () => {
  const text = `
    delete globalThis.WebAssembly;
    const { openParquet } = await import(${JSON.stringify(join(root, 'dist/data/parquet.js'))});
    const [, ...names] = process.argv;
    for (const name of names) {
      try {
        const file = await openParquet(name, 'the file');
        for await (const { values } of file.groups()) if (!values.length) throw new Error('empty');
        await file.close();
        console.log('read');
      } catch (error) {
        console.log(error.message);
      }
    }`;
  const names = ['none', 'gzip', 'brotli', 'lz4', 'snappy'].map((codec) =>
    join(root, `test/golden/parquet/${codec}-1.parquet`),
  );
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', text, ...names]);
  const lines = run.stdout.toString().trim().split('\n');
  expect(lines.slice(0, 4)).toEqual(['read', 'read', 'read', 'read']);
  expect(lines[4]).toMatch(
    /^the file cannot be read: its decompressors do not fit the address space of this process/,
  );
});

describe('a file that a reader could misread', () => {
  it('has decimals, float32 and times as they are written', async () =>
    expect(
      (await readRows(join(root, 'test/golden/parquet/types.parquet'))).map(({ value }) => value),
    ).toEqual([
      { price: 1.1, key: '12345678901234567890', small: 0.1, at: '10:30:00' },
      { price: -0.05, key: -7, small: -2.5, at: '23:59:01.00025' },
    ]));
  it('is refused where the checksum of a page is wrong', async () => {
    const path = join(root, 'test/golden/parquet/checksum.parquet');
    expect(await readRows(path)).toMatchObject([{ value: { text: 'unmistakable' } }]);
    const bytes = readFileSync(path);
    bytes.write('X', bytes.indexOf('unmistakable'));
    const bad = join(folder, 'checksum.parquet');
    writeFileSync(bad, bytes);
    await expect(readRows(bad)).rejects.toThrow('the checksum of a page is wrong');
  });
});
