/** Random numbers for property tests, which depend on the seed alone (mulberry32). */
export interface Generator {
  /** Uniform in 0 … limit − 1. */
  integer: (limit: number) => number;
  permutation: (length: number) => number[];
}

export function generator(seed: number): Generator {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const integer = (limit: number) => next() % limit;
  const permutation = (length: number) => {
    const order = Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  };
  return { integer, permutation };
}
