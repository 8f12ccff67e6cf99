/** Keyed randomness: an order or a sample depends on the seed and on ids, not on earlier draws. */
import { createHash } from 'node:crypto';

/**
 * The prompt's part of the engine's sample key: the first 8 bytes, big-endian, of SHA-256 of its
 * id.
 */
export function promptKey(id: string): bigint {
  return createHash('sha256').update(id).digest().readBigUInt64BE(0);
}

/** Shuffles by `key` and the items' ids alone. Items with equal ids keep their order. */
export function shuffled<T>(
  items: readonly T[],
  id: (item: T) => string,
  ...key: (string | number)[]
): T[] {
  const prefix = key.join('\u0000');
  return items
    .map((item) => ({
      item,
      rank: createHash('sha256')
        .update(`${prefix}\u0000${id(item)}`)
        .digest('hex'),
    }))
    .sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0))
    .map(({ item }) => item);
}
