/**
 * A long loop of short calls that lets the event loop run in between, so that signals are handled
 * while thousands of texts are tokenised.
 */
import { setImmediate } from 'node:timers/promises';

/** Characters of one slice: at the 0.5 MB per second of the first texts they take 40 ms. */
export const SLICE_CHARACTERS = 20_000;

/** Counts work in characters and lets the event loop run after each slice. */
export class Slices {
  #done = 0;
  /** The longest slice so far, for tests. */
  longest = 0;

  constructor(readonly signal?: AbortSignal | undefined) {}

  /** Must be awaited after `work` characters. Rejects with the reason of an aborted signal. */
  async after(work: number): Promise<void> {
    this.#done += work;
    this.longest = Math.max(this.longest, this.#done);
    if (this.#done < SLICE_CHARACTERS) return;
    this.#done = 0;
    await setImmediate();
    this.signal?.throwIfAborted();
  }
}

/** Cost of a text's template and record, as the number of characters that take as long. */
const AROUND = 100;

/** `items.map(work)` in slices. `work` awaits `slices.after()` after each part of its own work. */
export async function mapInSlices<Item, Made>(
  items: readonly Item[],
  work: (item: Item, slices: Slices) => Promise<Made> | Made,
  signal?: AbortSignal,
): Promise<Made[]> {
  const slices = new Slices(signal);
  const made: Made[] = [];
  for (const item of items) {
    made.push(await work(item, slices));
    await slices.after(AROUND);
  }
  return made;
}
