import { beforeEach, describe, expect, it } from '@jest/globals';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  explainDisk,
  inBlocks,
  makeFolder,
  readRecords,
  remainingItems,
  writeAtomic,
  writeRecords,
  type Block,
  type SaveBlock,
} from '../../src/run/store.js';
import { FileError } from '../../src/files/read.js';
import { trainingState, type Stateful } from '../../src/run/training-state.js';
import { digestFile } from '../../src/run/digest.js';
import { temporaryFolder } from '../support/folders.js';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder('cream-store-');
});

describe('an atomic write', () => {
  it('makes folders, replaces the old file, and leaves no temporary', async () => {
    const path = join(folder, 'a/b/c.txt');
    await writeAtomic(path, 'one');
    await writeAtomic(path, 'two');
    expect(readFileSync(path, 'utf8')).toBe('two');
    expect(readdirSync(join(folder, 'a/b'))).toEqual(['c.txt']);
  });

  it('names the place that it cannot write in one sentence', async () => {
    writeFileSync(join(folder, 'file'), '');
    await expect(writeAtomic(join(folder, 'file/inside.txt'), 'x')).rejects.toMatchObject({
      code: 'ERR_DISK',
      message: expect.stringMatching(/^Cannot write .*inside\.txt: part of this path is a file\./),
    });
  });
});

it('an error of the system is told as one of writing, unless it is one of reading', () => {
  const told = (code: string) => explainDisk('/out', Object.assign(new Error(code), { code }));
  for (const [code, what] of [
    ['ENOSPC', 'the disk is full'],
    ['EMFILE', 'too many files are open; raise the limit with ulimit -n'],
    ['ESTALE', 'its network disk has lost it; run the command again'],
  ] as const)
    expect(told(code)).toMatchObject({
      code: 'ERR_DISK',
      message: expect.stringContaining(`Cannot write /out: ${what}.`),
    });
  const reading = new FileError('/in', 'EACCES', 'it may not be read');
  expect(explainDisk('/out', reading)).toBe(reading);
  const other = new Error('own words');
  expect(explainDisk('/out', other)).toBe(other);
  expect(explainDisk('/out', Object.assign(new Error(), { code: 'ENOENT' }), false)).toMatchObject({
    message:
      'Cannot write /out: its folder is missing and cannot be made. Remove the cause, or name ' +
      'another file.',
  });
});

describe('a folder made whole', () => {
  it('appears complete or not at all, and replaces an older one', async () => {
    const target = join(folder, 'checkpoint');
    await expect(
      makeFolder(target, async (temporary) => {
        writeFileSync(join(temporary, 'half'), '');
        throw new Error('killed');
      }),
    ).rejects.toThrow('killed');
    expect(existsSync(target)).toBe(false);
    await makeFolder(target, async (temporary) => writeFileSync(join(temporary, 'a'), '1'));
    await makeFolder(target, async (temporary) => writeFileSync(join(temporary, 'b'), '2'));
    expect(readdirSync(target)).toEqual(['b']);
    expect(readdirSync(folder)).toEqual(['checkpoint']);
  });
});

describe('records', () => {
  it('are one JSON object a line, and come back', async () => {
    const path = join(folder, 'r.jsonl');
    const records = [
      { id: 'a', text: 'line\nbreak\u2028' },
      { id: 'b', logp: -1.5e-7 },
    ];
    await writeRecords(path, records);
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(3);
    expect(await readRecords(path)).toEqual(records);
    await writeRecords(path, []);
    expect(await readRecords(path)).toEqual([]);
  });

  it('damaged by hand are refused with their line', async () => {
    const path = join(folder, 'r.jsonl');
    writeFileSync(path, '{"a":1}\n{"a":\n');
    await expect(readRecords(path)).rejects.toThrow(`${path}:2`);
  });
});

describe('a stage in blocks', () => {
  const items = Array.from({ length: 7 }, (_, id) => ({ id }));
  const stage = (made: number[][], stopAt = Infinity, plan = 'plan') => ({
    path: join(folder, 'out.jsonl'),
    items,
    size: 3,
    plan,
    make: async (
      missing: readonly Block<{ id: number }>[],
      save: SaveBlock<{ square: number }>,
    ) => {
      for (const block of missing) {
        if (block.items[0]!.id >= stopAt) throw new Error('killed');
        made.push(block.items.map((item) => item.id));
        await save(
          block,
          block.items.map((item) => ({ square: item.id ** 2 })),
        );
      }
    },
  });

  it('cuts by position, joins in order, and leaves the artefact alone', async () => {
    const made: number[][] = [];
    expect(await inBlocks(stage(made))).toEqual(items.map((item) => ({ square: item.id ** 2 })));
    expect(made).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
    expect(readdirSync(folder)).toEqual(['out.jsonl']);
    expect(await inBlocks(stage(made))).toHaveLength(7);
    expect(made).toHaveLength(3); // read, not made again
    expect(await inBlocks({ ...stage(made), replace: true })).toHaveLength(7);
    expect(made).toHaveLength(6);
  });

  it.each([0, 3, 6])(
    'killed before item %d goes on there and ends with the same bytes',
    async (stopAt) => {
      await inBlocks(stage([]));
      const whole = readFileSync(join(folder, 'out.jsonl'), 'utf8');
      rmSync(join(folder, 'out.jsonl'));

      const before: number[][] = [];
      const after: number[][] = [];
      await expect(inBlocks(stage(before, stopAt))).rejects.toThrow('killed');
      expect(existsSync(join(folder, 'out.jsonl'))).toBe(false);
      expect(remainingItems({ path: join(folder, 'out.jsonl') }, items, 3)).toEqual(
        items.slice(stopAt),
      );
      // what kill -9 leaves
      writeFileSync(join(folder, 'out.jsonl.parts/00001.jsonl.tmp-123'), '{"half');
      await inBlocks(stage(after));
      expect([...before, ...after].flat()).toEqual([0, 1, 2, 3, 4, 5, 6]);
      expect(readFileSync(join(folder, 'out.jsonl'), 'utf8')).toBe(whole);
      expect(readdirSync(folder)).toEqual(['out.jsonl']);
    },
  );

  it('does not use blocks made under another plan', async () => {
    await expect(inBlocks(stage([], 3))).rejects.toThrow('killed');
    const made: number[][] = [];
    await inBlocks(stage(made, Infinity, 'another plan'));
    expect(made).toHaveLength(3);
  });

  it('refuses a damaged block by name', async () => {
    await expect(inBlocks(stage([], 6))).rejects.toThrow('killed');
    const part = join(folder, 'out.jsonl.parts/00001.jsonl');
    writeFileSync(part, readFileSync(part, 'utf8').replace('16', '17'));
    await expect(inBlocks(stage([]))).rejects.toThrow(`${part} is damaged: its SHA-256`);
    rmSync(part);
    expect((await inBlocks(stage([])))[4]).toEqual({ square: 16 });
  });

  it('uses no blocks without a record of them', async () => {
    mkdirSync(join(folder, 'out.jsonl.parts'));
    writeFileSync(join(folder, 'out.jsonl.parts/00000.jsonl'), '{"square":99}\n');
    expect((await inBlocks(stage([])))[0]).toEqual({ square: 0 });
  });
});

describe('the state of a training stage', () => {
  const steps = (n: number) =>
    Array.from({ length: n }, (_, i) => ({
      step: i + 1,
      epoch: 0.5,
      loss: 1,
      grad_norm: 1,
      learning_rate: 1,
      num_tokens: 1,
    }));
  // What the store needs of a trainer, or of those of several ranks: it writes and reads files.
  const trainer = (content = 'state', loaded: string[] = [], shards = 1): Stateful => ({
    shards,
    save: (files) => {
      files.forEach((file, i) => writeFileSync(file, shards > 1 ? `${content} ${i}` : content));
      return Promise.all(files.map((file) => digestFile(file)));
    },
    load: (files) => {
      loaded.push(...files.map((file) => readFileSync(file, 'utf8')));
      return Promise.resolve();
    },
  });
  const state = (plan = 'plan') => trainingState(join(folder, 'training'), plan);
  const files = () => readdirSync(join(folder, 'training')).sort();
  const NAMES = ['progress.json', 'records.jsonl', 'state.safetensors'];

  it('is one file, which the newer state replaces by a rename', async () => {
    expect(await state().restore(trainer())).toEqual([]);
    await state().save(trainer('two'), steps(2));
    await state().save(trainer('four'), steps(4));
    expect(files()).toEqual(NAMES);
    const loaded: string[] = [];
    expect(await state().restore(trainer('', loaded))).toEqual(steps(4));
    expect(loaded).toEqual(['four']);
  });

  it.each(['four', 'six'])(
    'stays on the older state if a kill came before the rename of `%s`',
    async (newer) => {
      await state().save(trainer('two'), steps(2));
      const older = readFileSync(join(folder, 'training/state.safetensors'));
      await state().save(trainer(newer), steps(4));
      writeFileSync(join(folder, 'training/state.safetensors'), older);
      writeFileSync(join(folder, 'training/next.safetensors'), newer);
      expect(await state().steps()).toBe(2);
      const loaded: string[] = [];
      expect(await state().restore(trainer('', loaded))).toEqual(steps(2));
      expect(loaded).toEqual(['two']);
    },
  );

  it('has a file per rank, and none of an older number of ranks beside them', async () => {
    await state().save(trainer('two', [], 2), steps(2));
    await state().save(trainer('four', [], 2), steps(4));
    const shards = ['state-4.00001-of-00002.safetensors', 'state-4.00002-of-00002.safetensors'];
    expect(files()).toEqual([...NAMES.slice(0, 2), ...shards]);
    const loaded: string[] = [];
    expect(await state().restore(trainer('', loaded))).toEqual(steps(4));
    expect(loaded).toEqual(['four 0', 'four 1']);
    await state().save(trainer('six', [], 3), steps(6));
    expect(await state().steps()).toBe(6);
    await state().save(trainer('seven'), steps(7));
    expect(files()).toEqual(NAMES);
  });

  it('stays on the older shards where a kill left the newer ones unrecorded', async () => {
    await state().save(trainer('two', [], 2), steps(2));
    writeFileSync(join(folder, 'training/state-4.00001-of-00002.safetensors'), 'unfinished');
    const loaded: string[] = [];
    expect(await state().restore(trainer('', loaded))).toEqual(steps(2));
    expect(loaded).toEqual(['two 0', 'two 1']);
  });

  it('stays on the older shards where only some of the newer ones are recorded', async () => {
    await state().save(trainer('two', [], 2), steps(2));
    const [training, older, records] = ['training', 'older', 'training/records.jsonl'].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    cpSync(training, older, { recursive: true });
    await state().save(trainer('four', [], 2), steps(4));
    cpSync(older, training, {
      recursive: true,
      filter: (path) => !/(?:records\.jsonl|progress\.json)$/.test(path),
    });
    const lines = readFileSync(records, 'utf8').trimEnd().split('\n');
    writeFileSync(records, `${lines.slice(0, -1).join('\n')}\n`);
    const loaded: string[] = [];
    expect(await state().restore(trainer('', loaded))).toEqual(steps(2));
    expect(loaded).toEqual(['two 0', 'two 1']);
  });

  it('names a missing shard', async () => {
    await state().save(trainer('two', [], 2), steps(2));
    rmSync(join(folder, 'training/state-2.00002-of-00002.safetensors'));
    await expect(state().restore(trainer())).rejects.toMatchObject({
      code: 'ERR_RUN_DATA',
      message: expect.stringMatching(/state-2\.00002-of-00002\.safetensors is missing: remove /),
    });
  });

  it('is not used under another plan', async () => {
    await state().save(trainer(), steps(2));
    expect(await state('other').restore(trainer())).toEqual([]);
  });

  it.each([
    ['state.safetensors', 'stat3'],
    ['progress.json', '[]'],
  ])('with a damaged %s names it and says how to go on', async (name, content) => {
    await state().save(trainer(), steps(2));
    writeFileSync(join(folder, 'training', name), content);
    await expect(state().restore(trainer())).rejects.toMatchObject({
      code: 'ERR_RUN_DATA',
      message: expect.stringMatching(
        new RegExp(`training/${name} is damaged: .*: remove .*training and run the same command`),
      ),
    });
  });
});
