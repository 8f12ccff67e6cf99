/** The records of finished files: the damages that they detect, and the state after a kill. */
import { beforeEach, describe, expect, it } from '@jest/globals';
import {
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { digestFile, noteDigest } from '../../src/run/digest.js';
import { Records } from '../../src/run/records.js';
import { temporaryFolder } from '../support/folders.js';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder('cream-records-');
});

const at = (name: string) => join(folder, name);
const reopened = async () => (await Records.open(folder, 'test'))!;
async function two(): Promise<Records> {
  const records = await Records.create(folder, 'test');
  await records.write('a.jsonl', '{"a":1}\n{"a":2}\n');
  await records.write('b.jsonl', '{"b":1}\n');
  return records;
}

describe('a record', () => {
  it('holds size, digest and rows, and comes back', async () => {
    const records = await two();
    expect(records.newest('a.jsonl')).toMatchObject({ bytes: 16, rows: 2 });
    expect((await reopened()).all()).toEqual(records.all());
    expect(await records.damage('a.jsonl')).toBeUndefined();
  });

  it.each([
    ['rows that are missing', '{"a":1}\n', 'is damaged: it has 1 rows, but 2 were written'],
    ['a cut', '{"a":1}\n{"a":2\n', 'is damaged: it has 15 bytes, but 16 were written'],
    ['one other digit', '{"a":1}\n{"a":3}\n', 'is damaged: its SHA-256 is '],
    ['nothing', '', 'is damaged: it has 0 rows'],
  ])('tells %s', async (_, content, message) => {
    await two();
    writeFileSync(at('a.jsonl'), content);
    expect(await (await reopened()).damage('a.jsonl')).toContain(message);
  });

  it('reports a missing file and an unknown one', async () => {
    const records = await two();
    rmSync(at('b.jsonl'));
    expect(await records.damage('b.jsonl')).toBe('is missing');
    expect(await records.damage('c.jsonl')).toBe('is not in the record of its folder');
  });

  it.each([
    ['an edited line', (text: string) => text.replace('"rows":2', '"rows":3')],
    ['a line less', (text: string) => text.split('\n').toSpliced(1, 1).join('\n')],
    [
      'two lines swapped',
      (text: string) => {
        const lines = text.split('\n');
        return [lines[0], lines[2], lines[1], ''].join('\n');
      },
    ],
    ['no JSON', (text: string) => text.replace('{"file"', '{"fil')],
  ])('with %s is refused', async (_, change) => {
    await two();
    writeFileSync(at('records.jsonl'), change(readFileSync(at('records.jsonl'), 'utf8')));
    await expect(reopened()).rejects.toThrow(/records\.jsonl is damaged: line \d+/);
  });

  it('of something else is not used', async () => {
    await two();
    expect(await Records.open(folder, 'another plan')).toBeUndefined();
  });

  it('forgets a line that a kill cut off', async () => {
    await two();
    truncateSync(at('records.jsonl'), readFileSync(at('records.jsonl')).length - 5);
    const records = await reopened();
    expect(records.newest('b.jsonl')).toBeUndefined();
    expect(records.newest('a.jsonl')).toBeDefined();
    await records.write('b.jsonl', '{"b":1}\n');
    expect((await reopened()).all()).toHaveLength(2);
  });

  it('accepts the older file only where the newer one may not have been renamed', async () => {
    const records = await two();
    await records.write('a.jsonl', '{"a":9}\n');
    writeFileSync(at('a.jsonl'), '{"a":1}\n{"a":2}\n');
    expect(await (await Records.look(folder, 'test'))!.damage('a.jsonl')).toBeUndefined();
    await (await reopened()).write('c.jsonl', '');
    expect(await (await reopened()).damage('a.jsonl')).toContain('is damaged');
  });

  it.each(['demand', 'damage'] as const)(
    'records an older file again when %s finds it, so that other lines may follow',
    async (how) => {
      const records = await two();
      await records.write('a.jsonl', '{"a":9}\n');
      writeFileSync(at('a.jsonl'), '{"a":1}\n{"a":2}\n');
      await (how === 'demand'
        ? (await reopened()).demand('a.jsonl', 'restore it')
        : (await reopened()).damage('a.jsonl'));
      await (await reopened()).write('c.jsonl', '');
      const after = await reopened();
      expect(await after.damage('a.jsonl')).toBeUndefined();
      expect(after.newest('a.jsonl')).toMatchObject({ bytes: 16, rows: 2 });
    },
  );

  it('writes a file again whose rename a kill prevented', async () => {
    const records = await two();
    await records.write('a.jsonl', '{"a":9}\n');
    writeFileSync(at('a.jsonl'), '{"a":1}\n{"a":2}\n');
    await (await reopened()).write('a.jsonl', '{"a":9}\n');
    expect(readFileSync(at('a.jsonl'), 'utf8')).toBe('{"a":9}\n');
  });

  it('that is only looked at is not changed', async () => {
    const records = await two();
    await records.write('a.jsonl', '{"a":9}\n');
    writeFileSync(at('a.jsonl'), '{"a":1}\n{"a":2}\n');
    const before = readFileSync(at('records.jsonl'), 'utf8');
    expect(await (await Records.look(folder, 'test'))!.damage('a.jsonl')).toBeUndefined();
    expect(readFileSync(at('records.jsonl'), 'utf8')).toBe(before);
  });

  it('of equal files is equal once compacted, whatever came before', async () => {
    const records = await two();
    await records.write('a.jsonl', '{"a":9}\n');
    await records.compact();
    const text = readFileSync(at('records.jsonl'), 'utf8');
    rmSync(at('records.jsonl'));
    const other = await Records.create(folder, 'test');
    await other.write('b.jsonl', '{"b":1}\n');
    await other.write('a.jsonl', '{"a":9}\n');
    await other.compact();
    expect(readFileSync(at('records.jsonl'), 'utf8')).toBe(text);
    expect((await reopened()).all()).toHaveLength(2);
  });
});

describe('the digest of a large file', () => {
  const bytesRead = () => Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1]);
  const size = 8 << 20;
  beforeEach(() => writeFileSync(at('weights'), Buffer.alloc(size, 1)));

  it('is that of its content, also where a change keeps its size and its time', async () => {
    const first = await digestFile(at('weights'));
    expect(first.bytes).toBe(size);
    expect(await digestFile(at('weights'))).toEqual(first);
    const { atime, mtime } = statSync(at('weights'));
    const changed = Buffer.alloc(size, 1);
    changed[size - 1] = 2;
    writeFileSync(at('weights'), changed);
    utimesSync(at('weights'), atime, mtime);
    const second = await digestFile(at('weights'));
    expect(second.sha256).not.toBe(first.sha256);
    writeFileSync(at('weights'), Buffer.alloc(size, 1));
    expect(await digestFile(at('weights'))).toEqual(first);
  });

  (existsSync('/proc/self/io') ? it : it.skip)('is read once while it stays', async () => {
    await digestFile(at('weights'));
    const before = bytesRead();
    await digestFile(at('weights'));
    expect(bytesRead() - before).toBeLessThan(size);
  });
});

describe('changes that are asked for together', () => {
  it('are made one after the other, so that the chain of lines holds', async () => {
    const records = await two();
    await Promise.all([
      records.write('c.jsonl', '{"c":1}\n'),
      records.add([{ file: 'd', bytes: 0, sha256: '' }]),
      records.write('a.jsonl', '{"a":3}\n'),
      records.withdraw('b.jsonl'),
      records.write('e.jsonl', '{"e":1}\n'),
    ]);
    const again = await reopened();
    expect(again.all()).toEqual(records.all());
    expect(again.newest('b.jsonl')).toMatchObject({ pruned: true });
    for (const file of ['a.jsonl', 'c.jsonl', 'e.jsonl'])
      expect(await again.damage(file)).toBeUndefined();
    // One that fails does not hold up the next.
    await expect(records.write('a.jsonl/x', '')).rejects.toThrow();
    await records.write('f.jsonl', '');
    expect((await reopened()).newest('f.jsonl')).toMatchObject({ bytes: 0 });
  });
});

describe('the digest of a file that was just written', () => {
  it('is the noted one, until the file changes', async () => {
    const path = at('large');
    writeFileSync(path, Buffer.alloc(5 << 20, 1));
    const noted = { bytes: 5 << 20, sha256: 'as written' };
    noteDigest(path, { ...noted, bytes: 1 }); // of another size: not of this file
    expect((await digestFile(path)).sha256).not.toBe('as written');
    writeFileSync(path, Buffer.alloc(5 << 20, 2));
    noteDigest(path, noted);
    expect(await digestFile(path)).toEqual(noted);
    await sleep(60); // beyond the tick of the file system's clock
    writeFileSync(path, Buffer.alloc(5 << 20, 3));
    expect((await digestFile(path)).sha256).toMatch(/^[0-9a-f]{64}$/);
  });
});
