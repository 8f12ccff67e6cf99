/** Formats numbers for the page. */

export const percent = (share: number): string => `${Number((share * 100).toFixed(1))} %`;
export const signed = (value: number, digits: number): string =>
  `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
export const duration = (seconds: number): string => {
  const total = Math.round(seconds);
  const minutes = Math.floor(total / 60);
  return total < 60
    ? `${total} s`
    : minutes < 60
      ? `${minutes} min ${total % 60} s`
      : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

/** Three digits, small numbers as powers of ten: 0.653, 9.55e-7. */
export function small(value: number): string {
  const rounded = Number(value.toPrecision(3));
  const tiny = rounded !== 0 && Math.abs(rounded) < 1e-3;
  return (tiny ? rounded.toExponential() : String(rounded)).replace(/^-/, '−');
}
