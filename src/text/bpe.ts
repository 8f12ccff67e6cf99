/**
 * Byte-pair merges of one long chunk, in steps: the algorithm of @huggingface/tokenizers, made
 * interruptible. As there, the pair with the lowest rank is merged first, and among equal ranks the
 * leftmost. O(n log n) for n characters.
 */

/** Merges between two interruptions. */
const STEP = 1000;

/**
 * The tokens of `chunk`; yields the number of characters or merges done since the last yield.
 * `rankOf` is a pair's position in the list of merges, undefined for a pair that is not merged.
 */
export function* mergeChunk(
  chunk: string,
  rankOf: (left: string, right: string) => number | undefined,
): Generator<number, string[]> {
  const tokens: (string | undefined)[] = Array.from(chunk);
  const count = tokens.length;
  const next = new Int32Array(count);
  const previous = new Int32Array(count);
  for (let at = 0; at < count; at++) {
    next[at] = at + 1;
    previous[at] = at - 1;
  }
  /** Rank of the pair that begins at a position; −1 for none. */
  const ranks = new Int32Array(count).fill(-1);
  const queue = new Heap();
  const look = (at: number): void => {
    const right = next[at]!;
    const rank = right < count ? (rankOf(tokens[at]!, tokens[right]!) ?? -1) : -1;
    ranks[at] = rank;
    if (rank >= 0) queue.push(rank * count + at);
  };
  for (let at = 0; at < count; at++) {
    look(at);
    if (at % STEP === STEP - 1) yield STEP;
  }
  for (let done = 1; queue.size > 0; done++) {
    if (done % STEP === 0) yield STEP;
    const key = queue.pop();
    const at = key % count;
    if (ranks[at] !== Math.floor(key / count)) continue; // one of the two has been merged since
    const right = next[at]!;
    tokens[at] = tokens[at]! + tokens[right]!;
    tokens[right] = undefined;
    ranks[right] = -1;
    const after = next[right]!;
    next[at] = after;
    if (after < count) previous[after] = at;
    look(at);
    if (previous[at]! >= 0) look(previous[at]!);
  }
  return tokens.filter((token) => token !== undefined);
}

/** A binary heap of numbers, the smallest first. */
class Heap {
  private readonly keys: number[] = [];

  get size(): number {
    return this.keys.length;
  }

  push(key: number): void {
    const { keys } = this;
    let at = keys.push(key) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** The smallest key; the heap must not be empty. */
  pop(): number {
    const { keys } = this;
    const smallest = keys[0]!;
    const last = keys.pop()!;
    const { length } = keys;
    if (length === 0) return smallest;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= last) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = last;
    return smallest;
  }
}
