/** What is wrong with a value of a recipe, as a message with the expected and the given value. */
import type { z } from 'zod';
import { editDistance } from '../files/edit-distance.js';
import { recipeSchema } from './recipe.js';

export type Path = readonly PropertyKey[];

export interface Finding {
  path: Path;
  message: string;
  /** The message is about the key, not its value. */
  key?: boolean;
}

/** Messages of a zod issue, with the expected and the given value. */
export function messages(issue: z.core.$ZodIssue, data: unknown): Finding[] {
  const got = shown(valueAt(data, issue.path));
  const found = (message: string): Finding[] => [{ path: issue.path, message }];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path: [...issue.path, key],
        message: `unknown key${suggestion(key, issue.path)}`,
        key: true,
      }));
    case 'invalid_type':
      return found(`must be ${expected(issue.expected)}, got ${got}`);
    case 'invalid_value':
      return found(`must be one of ${issue.values.join(', ')}; got ${got}`);
    case 'too_small':
      if (issue.origin === 'string' || issue.origin === 'array') return found('must not be empty');
      return found(
        `must be ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}, got ${got}`,
      );
    case 'too_big':
      if (issue.origin === 'array') return found(`must have at most ${issue.maximum} entries`);
      return found(
        `must be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}, got ${got}`,
      );
    case 'invalid_union':
      return found(
        `must be text or ${issue.path.at(-1) === 'source' ? 'a list of texts' : 'null'}, ` +
          `got ${got}`,
      );
    default:
      return found(`${issue.message}, got ${got}`);
  }
}

function expected(type: string): string {
  return (
    {
      number: 'a number',
      int: 'a whole number',
      string: 'text',
      boolean: 'true or false',
      object: 'a section of `key: value` lines',
      array: 'a list',
    }[type] ?? type
  );
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (typeof value === 'string')
    return `the text '${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a section' : String(value);
}

/** Renamed keys: old name → current name. */
const RENAMED: Readonly<Record<string, string>> = {
  block_prompts: 'save_prompts', // glossary-ok
  max_batch_tokens: 'max_num_batched_tokens', // glossary-ok
  max_rows: 'max_num_seqs', // glossary-ok
};

/** The current name of a renamed key, else the nearest key by edit distance, else all keys. */
function suggestion(key: string, path: Path): string {
  if (Object.hasOwn(RENAMED, key)) return `; it is called '${RENAMED[key]}' now`;
  let schema: unknown = recipeSchema.parse({});
  for (const part of path) schema = (schema as Record<PropertyKey, unknown> | undefined)?.[part];
  const known = typeof schema === 'object' && schema !== null ? Object.keys(schema) : [];
  const [nearest] = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), name) }))
    .sort((a, b) => a.distance - b.distance);
  if (nearest && nearest.distance <= Math.max(2, Math.floor(key.replaceAll('_', '').length / 3)))
    return `; did you mean '${nearest.name}'?`;
  return `; known here: ${known.join(', ')}`;
}

function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const part of path)
    value =
      typeof value === 'object' && value !== null
        ? (value as Record<PropertyKey, unknown>)[part]
        : undefined;
  return value;
}

export function sentence(message: string): string {
  const text = message.split('\n')[0]!.replace(/\.$/, '');
  if (text.includes('Maximum call stack')) return 'the settings are nested too deeply';
  if (text === 'Map keys must be unique') return 'this key stands twice in its section; keep one';
  if (text.startsWith('Source contains multiple documents'))
    return 'a second document (`---`) begins here; a recipe is one';
  return text;
}
