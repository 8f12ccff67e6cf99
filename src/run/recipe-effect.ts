/**
 * Finds settings without effect: keys that differ from their default although their declaration
 * (`only` in the schema) says that they are not used. Otherwise a mistake such as `rank.weighting`
 * in a recipe with given pairs would be silently ignored.
 *
 * The other keys of a section may stay if the recipe itself switches the section off
 * (`lora.enabled: false`), so that a section can be switched off without deleting it.
 */
import { recipeFields, type RecipeField } from './recipe-fields.js';
import type { Recipe } from './recipe.js';
import type { Condition, Effect } from './recipe-types.js';

const SWITCHES = new Set(['sft.enabled', 'lora.enabled']);

/** The keys without effect in `recipe`; `data` is the part that the user wrote. */
export function withoutEffect(
  recipe: Recipe,
  data: unknown,
): { path: string[]; message: string }[] {
  return recipeFields().flatMap(({ key, type, effects, default: standard }) => {
    if (type === 'section' || same(valueOf(recipe, key), standard)) return [];
    const failing = effects.find((effect) => !holds(effect, recipe, data));
    return failing === undefined
      ? []
      : [
          {
            path: key.split('.'),
            message:
              `has no effect here: it is used only where ${conditionText(failing)}; set that, or ` +
              'leave it out',
          },
        ];
  });
}

/** `reward.source is judge`; `quote` marks keys and values. */
export function conditionText(effect: Effect, quote = (text: string) => text): string {
  const values = (all: readonly unknown[]): string =>
    all.map((value) => quote(String(value))).join(' or ');
  return alternatives(effect)
    .map((condition) =>
      Object.entries(condition)
        .map(([key, wanted]) =>
          wanted === 'given' || wanted === 'absent'
            ? `${quote(key)} is ${wanted === 'given' ? '' : 'not '}given`
            : 'not' in wanted
              ? `${quote(key)} is not ${values(wanted.not)}`
              : `${quote(key)} is ${values(wanted)}`,
        )
        .join(' and '),
    )
    .join(', or ');
}

const alternatives = (effect: Effect): readonly Condition[] =>
  Array.isArray(effect) ? (effect as readonly Condition[]) : [effect as Condition];

function holds(effect: Effect, recipe: Recipe, data: unknown): boolean {
  return alternatives(effect).some((condition) =>
    Object.entries(condition).every(([key, wanted]) => {
      const value = valueOf(recipe, key);
      if (wanted === 'given') return value !== null;
      if (wanted === 'absent') return value === null;
      if ('not' in wanted) return !wanted.not.includes(value);
      return wanted.includes(value) || (SWITCHES.has(key) && valueOf(data, key) !== undefined);
    }),
  );
}

const same = (a: unknown, b: RecipeField['default']): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

function valueOf(data: unknown, key: string): unknown {
  let value = data;
  for (const part of key.split('.'))
    value =
      typeof value === 'object' && value !== null
        ? (value as Record<string, unknown>)[part]
        : undefined;
  return value;
}
