/**
 * Random numbers for the built-in problems: sfc32 (Doty-Humphrey's PractRand, public domain) seeded
 * by SHA-256 of a key; the same numbers on every machine.
 */
import { createHash } from 'node:crypto';

/** A stream of pseudo-random numbers that depends on `key` alone. */
export class Draw {
  #state: [number, number, number, number];

  constructor(key: string) {
    const digest = createHash('sha256').update(key).digest();
    this.#state = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
  }

  #next(): number {
    let [a, b, c, counter] = this.#state;
    const out = (((a + b) >>> 0) + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + out) >>> 0;
    this.#state = [a, b, c, counter];
    return out;
  }

  /** A whole number in low … high, both included. */
  int(low: number, high: number): number {
    return low + Math.floor((this.#next() / 2 ** 32) * (high - low + 1));
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)]!;
  }

  /** `count` different members of `list`, in random order. */
  several<T>(list: readonly T[], count: number): T[] {
    const rest = [...list];
    for (let i = 0; i < count; i++) {
      const j = this.int(i, rest.length - 1);
      [rest[i], rest[j]] = [rest[j]!, rest[i]!];
    }
    return rest.slice(0, count);
  }
}
