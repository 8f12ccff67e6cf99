/** Value types shared by several sections of the recipe. */
import { z } from 'zod';
import { ON_BAD_ROW } from '../data/bad-rows.js';

/**
 * The condition under which a key has an effect: each of these keys has one of the listed values
 * (or, with `not`, another one), is `given` (not null) or is `absent`; a list of conditions means
 * any of them. `recipe-effect.ts` checks it, and docs/recipes.md shows it.
 */
export type Condition = Readonly<
  Record<string, readonly unknown[] | { not: readonly unknown[] } | 'given' | 'absent'>
>;
export type Effect = Condition | readonly Condition[];

/** `schema` with the conditions under which its key has an effect. */
export const only = <T extends z.ZodType>(effect: Effect, schema: T): T => schema.meta({ effect });

/** `shape` with a further condition of all its keys. */
export const onlyAll = <S extends z.ZodRawShape>(condition: Condition, shape: S): S =>
  Object.fromEntries(
    Object.entries(shape).map(([key, schema]) => {
      const own = (schema as z.ZodType).meta()?.['effect'] as Effect | undefined;
      const effect = Array.isArray(own)
        ? (own as readonly Condition[]).map((each) => ({ ...condition, ...each }))
        : { ...condition, ...(own as Condition | undefined) };
      return [key, only(effect, schema as z.ZodType)];
    }),
  ) as unknown as S;

/** The model's own pairs: sampled and ranked. */
export const OWN_PAIRS = { 'pairs.source': 'absent' } as const;

export const count = (minimum: number, fallback: number) =>
  z.int().min(minimum).max(1_000_000_000).default(fallback);
/** Optional text; null if left out. */
export const text = () => z.string().min(1).nullable().default(null);
/** One source of rows, or several that are concatenated. */
export const source = () =>
  z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(64)]).default('builtin');
export const columns = () =>
  z
    .array(z.string().regex(/^[^=]+=.+$/, 'must be of the form ours=theirs, such as prompt=query'))
    .max(64)
    .default([]);
/** Columns of preference pairs. */
export const otherColumns = () =>
  columns().describe('Other names of columns, as in `prompts`: `prompt=question`, `chosen=good`.');
/** Columns and rows of a file or data set. */
export const fromFile = (section: 'prompts' | 'sft'): Condition => ({
  [`${section}.source`]: { not: ['builtin'] },
});

/** The treatment of unusable rows, which the texts call `rows`. */
export const onBadRow = (rows: string) =>
  z
    .enum(ON_BAD_ROW)
    .default('error')
    .describe(
      `Treatment of ${rows} that cannot be used (malformed, empty, longer than the context, ` +
        'ending with the wrong turn): `error` names the first by file and line and counts the ' +
        'others, `skip` leaves them out and reports how many.',
    );
export const positive = (fallback: number) => z.number().gt(0).default(fallback);
