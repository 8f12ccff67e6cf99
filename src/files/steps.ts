/**
 * Long work that lets the event loop run in between. It is written once, as a generator that yields
 * after every few milliseconds, and runs either at once or with a turn of the event loop after each
 * step.
 */
import { setImmediate } from 'node:timers/promises';

/** Work in steps, with its result. */
export type Steps<T> = Generator<void, T>;

/** Items between two steps: at most some milliseconds of work on each. */
export const STEP_ITEMS = 2000;

/** The result of `steps`; the event loop waits for it. */
export function atOnce<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The result of `steps`. The event loop runs after each; aborting `signal` rejects. */
export async function inTurns<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await setImmediate();
    signal?.throwIfAborted();
  }
}

/** Calls `work` with each item and its index. */
export function* forEach<T>(
  items: Iterable<T>,
  work: (item: T, index: number) => void,
): Steps<void> {
  let index = 0;
  for (const item of items) {
    work(item, index++);
    if (index % STEP_ITEMS === 0) yield;
  }
}

/** `items` in the order of `compare`; equal ones keep theirs. */
export function* sorted<T>(items: readonly T[], compare: (a: T, b: T) => number): Steps<T[]> {
  let runs: T[][] = [];
  for (let at = 0; at < items.length; at += STEP_ITEMS) {
    runs.push(items.slice(at, at + STEP_ITEMS).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const longer: T[][] = [];
    for (let at = 0; at < runs.length; at += 2)
      longer.push(yield* merged(runs[at]!, runs[at + 1] ?? [], compare));
    runs = longer;
  }
  return runs[0] ?? [];
}

function* merged<T>(left: T[], right: T[], compare: (a: T, b: T) => number): Steps<T[]> {
  const all: T[] = [];
  let [l, r] = [0, 0];
  while (l < left.length || r < right.length) {
    const fromLeft = r === right.length || (l < left.length && compare(left[l]!, right[r]!) <= 0);
    all.push(fromLeft ? left[l++]! : right[r++]!);
    if (all.length % (4 * STEP_ITEMS) === 0) yield;
  }
  return all;
}
