/** Arithmetic mean; 0 of an empty list. The mean of one value is that value exactly. */
export function average(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}
