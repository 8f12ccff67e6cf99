/** Work on several blocks at once: the next one begins while the last sequences of others end. */
import type { WorkHooks } from '../lm/hooks.js';

/** Where the items come from, and how many are worked on at once. */
export interface Overlap<Item> {
  /** The next item; undefined if none is left. */
  take: () => Promise<Item | undefined>;
  /** Units of progress of an item. */
  units: (item: Item) => number;
  /**
   * The next item begins once fewer units than this are unfinished. If undefined, items are worked
   * on one after the other.
   */
  atOnce: number | undefined;
  /** Most items at once; default any number. */
  most?: number;
}

interface Running {
  units: number;
  done: number;
  tokens: number;
}

/**
 * Calls `make` for every item and `keep` for what it made, one `keep` after the other and beside
 * the next `make`. Progress is the sum over all items. The first error stops the other items.
 * @throws that error once no item is worked on
 */
export async function overlapped<Item, Made>(
  { take, units, atOnce, most = Infinity }: Overlap<Item>,
  make: (item: Item, hooks: WorkHooks) => Promise<Made>,
  keep: (item: Item, made: Made, tokens: number) => Promise<void>,
  hooks: WorkHooks,
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([hooks.signal, failed.signal]);
  const running = new Set<Running>();
  const tasks = new Set<Promise<void>>();
  let done = 0;
  let tokens = 0;
  let kept: Promise<void> = Promise.resolve();
  let keptBefore = kept;
  let wake = () => {};

  const sum = (of: (one: Running) => number) => [...running].reduce((s, one) => s + of(one), 0);
  const isFull = () =>
    running.size >= most ||
    (atOnce === undefined
      ? running.size > 0
      : sum((one) => one.units - one.done) >= Math.max(1, atOnce));

  const work = async (item: Item): Promise<void> => {
    const own: Running = { units: units(item), done: 0, tokens: 0 };
    running.add(own);
    const progress = (now: number, spent: number) => {
      own.done = now;
      own.tokens = spent;
      hooks.progress(done + sum((one) => one.done), tokens + sum((one) => one.tokens));
      wake();
    };
    const made = await make(item, { ...hooks, signal, progress });
    running.delete(own);
    done += own.units;
    tokens += own.tokens;
    wake();
    kept = kept.then(() => keep(item, made, own.tokens));
    await kept;
  };

  try {
    for (;;) {
      signal.throwIfAborted();
      const item = await take();
      if (item === undefined) break;
      const task = work(item);
      tasks.add(task);
      task.then(
        () => tasks.delete(task),
        (error: unknown) => {
          failed.abort(error);
          wake();
        },
      );
      while (isFull() && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
      await keptBefore; // what waits to be kept stays little
      keptBefore = kept;
    }
    await Promise.all(tasks);
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(tasks);
    throw error;
  }
}
