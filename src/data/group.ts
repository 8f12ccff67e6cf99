/** Groups of `items` with equal keys, in order of first appearance; the order within is kept. */
export function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return [...groups.values()];
}

/** Joins records of one completion: the same for the same prompt and sample, and for no other. */
export const sampleKey = ({ prompt_id, sample }: { prompt_id: string; sample: number }): string =>
  `${sample} ${prompt_id}`;
