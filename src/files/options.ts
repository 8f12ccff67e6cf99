/** Checks of the options that a program passes, so that a misspelt one is never ignored. */

/**
 * A value for a message: cut to 40 characters; an array or object is described by its kind alone.
 */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return shownObject(value);
  return String(value);
}

function shownObject(value: object): string {
  try {
    kindOf(value);
    return Array.isArray(value) ? `an array of ${value.length}` : 'an object';
  } catch {
    return 'an object that cannot be read'; // a Proxy
  }
}

/**
 * `Object`, `Array`, `Map`, `Promise`, `Null` and so on: by tag and not by constructor, because a
 * jest test has typed arrays and dates of its own.
 */
export const kindOf = (value: unknown): string =>
  Object.prototype.toString.call(value).slice(8, -1);

/** Whether `value` has the form `{name: value, …}`; a list, Map, promise or signal has not. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  try {
    return kindOf(value) === 'Object';
  } catch {
    return false; // a Proxy
  }
}

/** A property of any value; undefined where there is none, or a getter or a Proxy throws. */
export function property(value: unknown, name: PropertyKey): unknown {
  try {
    return (value as Record<PropertyKey, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/** What values of the options must be, by their names. */
export interface OptionKinds {
  callbacks?: readonly string[];
  /** True or false. */
  flags?: readonly string[];
  objects?: readonly string[];
}

/**
 * The first mistake in `options` as a sentence: it is no object, it has a key that is not in
 * `keys`, a value is not of its kind, or `signal` is no AbortSignal.
 */
export function optionsFault(
  options: unknown,
  keys: readonly string[],
  where: string,
  kinds: OptionKinds = {},
): string | undefined {
  try {
    return firstFault(options, keys, where, kinds);
  } catch (error) {
    return unreadable(where, error);
  }
}

/** The sentence about a value in which a getter or a Proxy threw `error`. */
export function unreadable(where: string, error: unknown): string {
  const reason = error instanceof Error ? error.message : shown(error);
  return `${where} cannot be read (${reason}).`;
}

function firstFault(
  options: unknown,
  keys: readonly string[],
  where: string,
  { callbacks = [], flags = [], objects = [] }: OptionKinds,
): string | undefined {
  const kind = kindOf(options);
  if (typeof options !== 'object' || options === null || kind !== 'Object') {
    const other = typeof options === 'object' && options !== null && !Array.isArray(options);
    const got = other ? `an object of kind ${kind}` : shown(options);
    return `${where} must be an object, got ${got}.`;
  }
  for (const [key, value] of Object.entries(options)) {
    if (!keys.includes(key)) return unknownKey(key, keys, where);
    if (objects.includes(key) && value !== undefined && !isPlain(value))
      return `${where}: ${key} must be an object, got ${shown(value)}.`;
    if (value === undefined || value === null) continue;
    if (callbacks.includes(key) && typeof value !== 'function')
      return `${where}: ${key} must be a function, got ${shown(value)}.`;
    if (flags.includes(key) && typeof value !== 'boolean')
      return `${where}: ${key} must be true or false, got ${shown(value)}.`;
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
  typeof property(value, 'throwIfAborted') === 'function' &&
  typeof property(value, 'addEventListener') === 'function';

const isController = (value: unknown): boolean => isSignal(property(value, 'signal'));
