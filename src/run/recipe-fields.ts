/** The recipe's keys as a list, for docs/recipes.md and for the snapshot test. */
import { z } from 'zod';
import { recipeSchema } from './recipe.js';
import type { Effect } from './recipe-types.js';

/** One key of the schema. */
export interface RecipeField {
  key: string;
  type: string;
  default: unknown;
  description: string;
  /** When the key has an effect: all of these hold; its own condition comes after its section's. */
  effects: readonly Effect[];
}

let all: RecipeField[] | undefined;

/** All keys as dotted paths, in schema order; a section has `type: 'section'`. */
export function recipeFields(): RecipeField[] {
  return (all ??= fieldsOf(
    z.toJSONSchema(recipeSchema, { io: 'input' }) as JsonSchema,
    recipeSchema.parse({}),
    '',
    [],
  ));
}

interface JsonSchema {
  type?: string | string[];
  anyOf?: JsonSchema[];
  enum?: unknown[];
  const?: string | number | boolean | null;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  description?: string;
  effect?: Effect;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

function fieldsOf(
  schema: JsonSchema,
  defaults: unknown,
  prefix: string,
  outer: readonly Effect[],
): RecipeField[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const key = prefix + name;
    const value = (defaults as Record<string, unknown>)[name];
    const effects = property.effect === undefined ? outer : [...outer, property.effect];
    const field = {
      key,
      effects,
      type: typeText(property),
      default: value,
      description: property.description ?? '',
    };
    return property.properties
      ? [{ ...field, type: 'section' }, ...fieldsOf(property, value, `${key}.`, effects)]
      : [field];
  });
}

function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return String(schema.const);
  if (schema.enum) return schema.enum.join(' | ');
  if (schema.anyOf) return schema.anyOf.map(typeText).join(' or ');
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeText({ type })).join(' or ');
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  const name =
    { string: 'text', integer: 'whole number', boolean: 'true | false' }[schema.type ?? ''] ??
    schema.type ??
    '';
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const limits = [
    exclusiveMinimum !== undefined
      ? `> ${exclusiveMinimum}`
      : minimum !== undefined
        ? `≥ ${minimum}`
        : '',
    // Maxima of a million and more only guard against typing errors and are left out.
    exclusiveMaximum !== undefined
      ? `< ${exclusiveMaximum}`
      : maximum !== undefined && maximum < 1e6
        ? `≤ ${maximum}`
        : '',
  ].filter(Boolean);
  return limits.length > 0 ? `${name} ${limits.join(', ')}` : name;
}
