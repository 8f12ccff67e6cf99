/** How far two words are from each other, for suggestions in messages. */

/** Levenshtein distance of the two words without `_`. */
export function editDistance(a: string, b: string): number {
  const [x, y] = [a.replaceAll('_', ''), b.replaceAll('_', '')];
  let previous = Array.from({ length: y.length + 1 }, (_, j) => j);
  for (let i = 1; i <= x.length; i++) {
    const row = [i];
    for (let j = 1; j <= y.length; j++) {
      row[j] = Math.min(
        previous[j]! + 1,
        row[j - 1]! + 1,
        previous[j - 1]! + (x[i - 1] === y[j - 1] ? 0 : 1),
      );
    }
    previous = row;
  }
  return previous[y.length]!;
}
