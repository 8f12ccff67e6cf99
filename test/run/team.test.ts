/** How rank 0 deals the units of a stage, collects them, and what it asks of the ranks' store. */
import { expect, it } from '@jest/globals';
import type { Ranks } from '../../src/engine/ranks.js';
import { cut, madeKey, takeUnit, Team } from '../../src/run/team.js';
import type { BlockedStage } from '../../src/run/stages/stage.js';
import type { Block } from '../../src/run/store.js';

/** The store of the ranks in memory; counts the questions that rank 0 asks. */
class Store {
  readonly values = new Map<string, string>();
  readonly counters = new Map([['left', 1]]); // the other rank does not wait for the end
  readonly news = new EventTarget();
  questions = 0;

  readonly ranks = {
    place: { rank: 0, size: 2, localRank: 0, localSize: 2 },
    set: async (key: string, text: string) => {
      this.questions++;
      this.values.set(key, text);
      this.news.dispatchEvent(new Event('set'));
    },
    await: async (key: string, signal?: AbortSignal) => {
      this.questions++;
      while (!this.values.has(key)) {
        await new Promise((resolve, reject) => {
          this.news.addEventListener('set', resolve, { once: true });
          signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
      }
      return this.values.get(key)!;
    },
    add: async (key: string, value: number) => {
      this.questions++;
      const sum = (this.counters.get(key) ?? 0) + value;
      this.counters.set(key, sum);
      return sum;
    },
    remove: async (key: string) => void this.values.delete(key),
    pop: async () => null,
    leave: () => {},
  } as unknown as Ranks;

  /** A rank that takes one unit and makes it, as follow.ts does. */
  async make(key: string, units: number, number: number): Promise<number> {
    const unit = (await takeUnit(this.ranks, key, units))!;
    const items = JSON.parse(await this.ranks.await(`${key}/unit/${unit}`)) as number[];
    const records = items.map((item) => ({ item, by: 'other' }));
    await this.ranks.set(madeKey(key, number), JSON.stringify({ unit, tokens: 7, records }));
    return unit;
  }
}

interface Made {
  item: number;
  by: string;
}

const stage = (
  make: (items: readonly number[]) => Promise<Made[]>,
): BlockedStage<number, Made> => ({
  items: [1, 2, 3, 4, 5, 6, 7, 8],
  size: 4,
  unit: 'items',
  make,
  work: () => Promise.resolve({ stage: 'sample', t: 1 }),
});
const blocks: Block<number>[] = [
  { number: 0, items: [1, 2, 3, 4] },
  { number: 1, items: [5, 6, 7, 8] },
];
const hooks = { signal: new AbortController().signal, progress: () => {} };
const own = (items: readonly number[]) => items.map((item) => ({ item, by: 'rank 0' }));

it('puts the units of all ranks in their order, also where rank 0 makes the last', async () => {
  const store = new Store();
  const team = new Team(store.ranks);
  const saved: Record<number, Made[]> = {};
  let others: Promise<number> | undefined;
  const made = stage(async (items) => {
    others ??= store.make('order/0', 8, 1); // while rank 0 makes its first unit
    await others;
    return own(items);
  });
  await team.makeBlocks(
    made,
    blocks,
    (block, records) => Promise.resolve(void (saved[block.number] = records)),
    hooks,
  );
  expect(
    Object.values(saved)
      .flat()
      .map(({ item }) => item),
  ).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(saved[0]!.map(({ by }) => by)).toEqual(['rank 0', 'other', 'rank 0', 'rank 0']);
  await team.end('finished');
});

it('asks the store nothing while it makes a unit', async () => {
  const store = new Store();
  const team = new Team(store.ranks);
  let during = 0;
  const made = stage(async (items) => {
    await new Promise((resolve) => setTimeout(resolve, 5)); // the wait for others has begun
    const before = store.questions;
    await new Promise((resolve) => setTimeout(resolve, 150));
    during += store.questions - before;
    return own(items);
  });
  await team.makeBlocks(made, [blocks[0]!], () => Promise.resolve(), hooks);
  expect(during).toBe(0);
  await team.end('finished');
});

it('makes the next unit while a block is saved, and ends with the error of a save', async () => {
  const store = new Store();
  const team = new Team(store.ranks);
  const log: string[] = [];
  const made = stage((items) => {
    log.push(`makes ${items.join()}`);
    return Promise.resolve(own(items));
  });
  const save = async ({ number }: Block<unknown>) => {
    log.push(`saves ${number}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
    log.push(`saved ${number}`);
    if (number === 1) throw new Error('the disk is full');
  };
  await expect(team.makeBlocks(made, blocks, save, hooks)).rejects.toThrow('the disk is full');
  const first = log.slice(log.indexOf('saves 0'));
  expect(first.slice(0, 3)).toEqual(['saves 0', 'makes 5', 'saved 0']);
  expect(store.values.get('order/0/stop')).toBe('1');
  await team.end('failed');
});

it('cuts few blocks into four parts per rank, and deals many as they are', () => {
  const sizes = (of: readonly Block<number>[], ranks: number) =>
    cut(of, ranks).map(({ items }) => items.length);
  expect(sizes(blocks, 1)).toEqual([2, 2, 2, 2]);
  expect(sizes(blocks, 2)).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
  const many = Array.from({ length: 8 }, (_, i) => ({ number: i, first: 0, items: [1, 2, 3] }));
  expect(sizes(many, 2)).toEqual(Array(8).fill(3));
});
