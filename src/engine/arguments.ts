/**
 * Checks of single arguments. Each returns the value or throws a CreamError with the code
 * ERR_INVALID_ARGUMENT; `where` begins the message and names the argument as the caller wrote it.
 */
import { kindOf, optionsFault, shown, unreadable, type OptionKinds } from '../files/options.js';
import { CreamError } from './errors.js';

export { kindOf, property, shown } from '../files/options.js';

/** Token ids, each from 0 to vocabSize − 1. */
export type TokenIds = Int32Array | readonly number[];

/** The error of a wrong argument: CreamError ERR_INVALID_ARGUMENT. */
export function invalid(message: string): CreamError {
  return new CreamError('ERR_INVALID_ARGUMENT', message);
}

function isInt32Array(value: unknown): value is Int32Array {
  return ArrayBuffer.isView(value) && kindOf(value) === 'Int32Array';
}

/** Token ids as the addon takes them: at least one, each from 0 to vocabSize − 1. */
export function tokenIds(tokens: TokenIds, vocabSize: number, where: string): Int32Array {
  return read(where, () => checkedIds(tokens, vocabSize, where));
}

function checkedIds(tokens: TokenIds, vocabSize: number, where: string): Int32Array {
  if (!Array.isArray(tokens) && !isInt32Array(tokens))
    throw invalid(`${where} must be an array of token ids or an Int32Array, got ${shown(tokens)}.`);
  if (tokens.length === 0) throw invalid(`${where} is empty; give at least one token.`);
  for (let i = 0; i < tokens.length; i++) {
    const id = tokens[i] as number;
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw invalid(
        `${where} holds ${shown(id)} at position ${i}; this model's token ids are integers ` +
          `from 0 to ${vocabSize - 1}.`,
      );
    }
  }
  return isInt32Array(tokens) ? tokens : Int32Array.from(tokens);
}

export interface Range {
  min?: number;
  max?: number;
  /** Whether `min` itself is refused. */
  aboveMin?: boolean;
  /** Whether `max` itself is refused. */
  belowMax?: boolean;
}

/** `value` if it is a finite number in the range. @throws CreamError that starts with `where` */
export function finiteNumber(
  value: unknown,
  where: string,
  { min = -Infinity, max = Infinity, aboveMin = false, belowMax = false }: Range = {},
): number {
  const inside =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (aboveMin ? value > min : value >= min) &&
    (belowMax ? value < max : value <= max);
  if (inside) return value;
  const bounds = [
    min > -Infinity && `${aboveMin ? 'above' : 'at least'} ${min}`,
    max < Infinity && `${belowMax ? 'below' : 'at most'} ${max}`,
  ].filter(Boolean);
  throw invalid(
    `${where} must be a finite ` +
      `number${bounds.length > 0 ? ` ${bounds.join(' and ')}` : ''}, got ${shown(value)}.`,
  );
}

/**
 * `value` if it is a safe integer from `min` to `max`. @throws CreamError that starts with `where`
 */
export function integer(
  value: unknown,
  where: string,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max)
    return value as number;
  const bounds = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw invalid(`${where} must be an integer ${bounds}, got ${shown(value)}.`);
}

/** `value` if it is an integer of at least 1. @throws CreamError that starts with `where` */
export function positiveInteger(value: unknown, where: string, max?: number): number {
  return integer(value, where, 1, max);
}

/** An unsigned 64-bit number, from a bigint or a safe integer. */
export function unsigned64(value: bigint | number, where: string): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < 1n << 64n) return value;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw invalid(
    `${where} must be an integer from 0 to 2^64 − 1 (a bigint, or a number up to 2^53 − ` +
      `1), got ${shown(value)}.`,
  );
}

/** `value` if it is one of `choices`. @throws CreamError that starts with `where` */
export function oneOf<T extends string>(value: unknown, choices: readonly T[], where: string): T {
  if (choices.includes(value as T)) return value as T;
  throw invalid(
    `${where} must be ${choices.map((choice) => `'${choice}'`).join(' or ')}, got ${shown(value)}.`,
  );
}

/** `value` if it is a string with characters. @throws CreamError that starts with `where` */
export function nonEmptyString(value: unknown, where: string): string {
  if (typeof value === 'string' && value.length > 0) return value;
  throw invalid(`${where} must be a non-empty string, got ${shown(value)}.`);
}

/**
 * `value` if it is an array, not empty if `empty` is false. @throws CreamError that starts with
 * `where`
 */
export function list<T>(value: readonly T[], where: string, { empty = true } = {}): readonly T[] {
  return read(where, () => {
    if (!Array.isArray(value)) throw invalid(`${where} must be an array, got ${shown(value)}.`);
    if (!empty && value.length === 0) throw invalid(`${where} is empty; give at least one.`);
    return [...(value as readonly T[])]; // which can be read without an error
  });
}

/** `read()`, which reads a value of the caller. @throws CreamError also where that throws */
function read<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof CreamError ? error : invalid(unreadable(where, error));
  }
}

/**
 * Refuses keys that are not in `keys`, so that a misspelt option is never ignored, values that are
 * not of their kind, and a `signal` that is no AbortSignal.
 */
export function knownKeys(
  value: unknown,
  keys: readonly string[],
  where: string,
  kinds: OptionKinds = {},
): void {
  const fault = optionsFault(value, keys, where, kinds);
  if (fault !== undefined) throw invalid(fault);
}
