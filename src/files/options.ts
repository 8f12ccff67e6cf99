/** Checks of the options that a program passes, so that a misspelt one is never ignored. */

/**
 * A value for a message: cut to 40 characters; an array or object is described by its kind alone.
 */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}

/**
 * The first mistake in `options` as a sentence: it is no object, it has a key that is not in
 * `keys`, one of its `callbacks` is no function, or `signal` is no AbortSignal.
 */
export function optionsFault(
  options: unknown,
  keys: readonly string[],
  where: string,
  callbacks: readonly string[] = [],
): string | undefined {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    return `${where} must be an object, got ${shown(options)}.`;
  for (const [key, value] of Object.entries(options)) {
    if (!keys.includes(key)) return unknownKey(key, keys, where);
    if (value === undefined || value === null) continue;
    if (callbacks.includes(key) && typeof value !== 'function')
      return `${where}: ${key} must be a function, got ${shown(value)}.`;
    if (key === 'signal' && !isSignal(value))
      return (
        `${where}: signal must be an AbortSignal, got ${shown(value)}` +
        `${isController(value) ? '; pass the signal of the AbortController' : ''}.`
      );
  }
  return undefined;
}

function unknownKey(key: string, keys: readonly string[], where: string): string {
  const near = keys.find((known) => known.toLowerCase() === key.toLowerCase());
  const hint = near
    ? `; did you mean ${JSON.stringify(near)}?`
    : ` (${where.endsWith('s') ? 'they are' : 'it has'} ${keys.join(', ')}).`;
  return `${where} ${where.endsWith('s') ? 'have' : 'has'} no option ${JSON.stringify(key)}${hint}`;
}

/** Looks at members, because a program may have an AbortSignal of its own (a polyfill, jest). */
const isSignal = (value: unknown): boolean =>
  typeof (value as Partial<AbortSignal>).throwIfAborted === 'function' &&
  typeof (value as Partial<AbortSignal>).addEventListener === 'function';

const isController = (value: unknown): boolean =>
  isSignal((value as Partial<AbortController>).signal ?? {});
