// Medians with min–max, and the formatting of numbers.
export function summarise(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median =
    sorted.length % 2 === 1
      ? sorted[Math.floor(middle)]
      : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** Three significant digits, with thousands separators. */
export function short(value) {
  const rounded = Number(value.toPrecision(3));
  return Math.abs(rounded) >= 1000
    ? String(Math.round(rounded)).replace(/\B(?=(\d{3})+$)/g, ' ')
    : String(rounded);
}

export const withRange = ({ median, min, max }, show = short) =>
  min === max ? show(median) : `${show(median)} (${show(min)}–${show(max)})`;

export const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

export const percent = (share) => `${(100 * share).toFixed(0)} %`;
