/**
 * A request as a table of fields. Each field has a check and, where it may be left out, a default.
 * The accepted keys, the checks and the parameter types all follow from the table.
 */
import {
  finiteNumber,
  integer,
  invalid,
  knownKeys,
  oneOf,
  positiveInteger,
  shown,
  tokenIds,
  unsigned64,
  type Range,
  type TokenIds,
} from './arguments.js';

/** A required field. `Context` is the information that its check needs besides the value. */
export interface Field<In, Out, Context = unknown> {
  /** Returns the value as the addon takes it, or throws a CreamError that begins with `where`. */
  readonly check: (value: In, where: string, context: Context) => Out;
}

/** A field that may be left out; its default passes the same check. */
export interface OptionalField<In, Out, Context = unknown> extends Field<In, Out, Context> {
  readonly default: (context: Context) => In | undefined;
}

interface AnyField<Context> {
  readonly check: (value: never, where: string, context: Context) => unknown;
  readonly default?: (context: Context) => unknown;
}
export type Fields<Context = never> = Readonly<Record<string, AnyField<Context>>>;

type In<F> = F extends Field<infer T, unknown, never> ? T : never;
type Out<F> = F extends Field<never, infer T, never> ? T : never;
type Flat<T> = { [K in keyof T]: T[K] };

/** The request as the caller writes it. */
export type FieldsOf<F extends Fields> = Flat<
  { -readonly [K in keyof F as F[K] extends { default: unknown } ? never : K]: In<F[K]> } & {
    -readonly [K in keyof F as F[K] extends { default: unknown } ? K : never]?: In<F[K]>;
  }
>;

/** The request as the addon takes it: checked, with the defaults filled in. */
export type CheckedOf<F extends Fields> = { -readonly [K in keyof F]: Out<F[K]> };

/**
 * Checks `request` against the table and fills in the defaults. `what` names the request and
 * `place` one of its fields, both for messages. Throws CreamError.
 */
export function checkFields<Context, F extends Fields<Context>>(
  fields: F,
  request: FieldsOf<F>,
  { what, place, context }: { what: string; place: (name: string) => string; context: Context },
): CheckedOf<F> {
  knownKeys(request, Object.keys(fields), what);
  const given = request as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries<AnyField<Context>>(fields).map(([name, field]) => [
      name,
      field.check((given[name] ?? field.default?.(context)) as never, place(name), context),
    ]),
  ) as CheckedOf<F>;
}

/** `field` with a default, which may be left out. */
export const optional = <In, Out, Context>(
  field: Field<In, Out, Context>,
  value: NoInfer<In>,
): OptionalField<In, Out, Context> => ({ ...field, default: () => value });

/** A field without a default that may be left out; it is then `undefined`. */
export const maybe = <In, Out, Context>({
  check,
}: Field<In, Out, Context>): OptionalField<In | undefined, Out | undefined, Context> => ({
  check: (value, where, context) =>
    value === undefined ? undefined : check(value, where, context),
  default: () => undefined,
});

export const real = (range: Range = {}): Field<number, number> => ({
  check: (value, where) => finiteNumber(value, where, range),
});

export const whole = (min: number, max?: number): Field<number, number> => ({
  check: (value, where) => integer(value, where, min, max),
});

export const choice = <T extends string>(...choices: readonly T[]): Field<T, T> => ({
  check: (value, where) => oneOf(value, choices, where),
});

export const flag: Field<boolean, boolean> = {
  check: (value, where) => {
    if (typeof value !== 'boolean')
      throw invalid(`${where} must be true or false, got ${shown(value)}.`);
    return value;
  },
};

/** A flag or `auto`, the default, for which the addon takes undefined. */
export const flagOrAuto: OptionalField<boolean | 'auto', boolean | undefined> = {
  check: (value, where) => {
    if (value !== 'auto' && typeof value !== 'boolean')
      throw invalid(`${where} must be true, false or 'auto', got ${shown(value)}.`);
    return value === 'auto' ? undefined : value;
  },
  default: () => 'auto',
};

/** An unsigned 64-bit number. */
export const seed: Field<bigint | number, bigint> = { check: unsigned64 };

/** A positive integer or `auto`, the default, for which the addon takes 0. */
export const auto = (max?: number): OptionalField<number | 'auto', number> => ({
  check: (value, where) => (value === 'auto' ? 0 : positiveInteger(value, where, max)),
  default: () => 'auto',
});

export const tokens: Field<TokenIds, Int32Array, { vocabSize: number }> = {
  check: (value, where, { vocabSize }) => tokenIds(value, vocabSize, where),
};
