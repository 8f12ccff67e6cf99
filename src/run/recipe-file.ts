/**
 * Parses a recipe file into a complete recipe, or reports one line per mistake with its position:
 * `recipe.yaml:5:3 sample.top_p: must be at most 1, got 1.5`. `--set key=value` passes the same
 * checks; its messages name the flag instead of a position.
 */
import { createHash } from 'node:crypto';
import {
  LineCounter,
  isMap,
  isScalar,
  parseDocument,
  stringify,
  type Document,
  type Node,
} from 'yaml';
import { property, unreadable } from '../files/options.js';
import { RunError } from './errors.js';
import { messages, sentence, type Finding, type Path } from './recipe-messages.js';
import { withoutEffect } from './recipe-effect.js';
import { recipeSchema, type Recipe } from './recipe.js';
import { sft as sftSchema } from './recipe-training.js';

const MAX_BYTES = 1 << 20;
/** Limit of YAML aliases, against exponential expansion ("billion laughs"). */
const MAX_ALIASES = 100;

/** Options of the YAML parser: a message is one sentence, and nothing is printed. */
export const YAML = { prettyErrors: false, logLevel: 'error' } as const;

/** `key=value` as given to --set, or another flag with the key that it sets. */
export type Override =
  | string
  | {
      label: string;
      key: string;
      value: string;
      /** The value is plain text, not YAML. */ text?: boolean;
    };

interface Applied {
  label: string;
  path: string[];
}

/**
 * @param text the YAML; @param name how messages call the file; @param overrides `key=value`
 *   strings, later ones win.
 * @throws RunError `ERR_RECIPE` with one line per mistake.
 */
export function parseRecipe(
  text: string,
  name: string,
  overrides: readonly Override[] = [],
): Recipe {
  if (typeof text !== 'string' || typeof name !== 'string' || !areOverrides(overrides))
    throw new RunError(
      'ERR_RECIPE',
      'parseRecipe() takes the YAML as text, a name for messages, and a list of key=value texts.',
    );
  if (Buffer.byteLength(text) > MAX_BYTES)
    throw new RunError(
      'ERR_RECIPE',
      `${name}: a recipe is at most 1 MB of YAML, this file is larger; is it a recipe?`,
    );
  const lines = new LineCounter();
  const document = parseDocument(text, { ...YAML, lineCounter: lines });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0)
    throw new RunError(
      'ERR_RECIPE',
      listed(faults.map((f) => `${at(f.pos[0])} ${sentence(f.message)}`)),
    );

  const data = toData(document, name);
  const applied = overrides.map((override) => applyOverride(data, override));
  leaveFineTuning(data, applied);
  const parsed = recipeSchema.safeParse(data);
  const mistakes: Finding[] = parsed.success
    ? withoutEffect(parsed.data, data)
    : parsed.error.issues.flatMap((issue) => messages(issue, data));
  if (parsed.success && mistakes.length === 0) return parsed.data;
  const found = mistakes.map(({ path, message, key }) => {
    const override = applied.findLast(
      (o) =>
        o.path.every((part, i) => part === path[i]) || path.every((part, i) => part === o.path[i]),
    );
    const place = override ? override.label : at(offsetOf(document, path, key));
    return `${place} ${path.length > 0 ? `${path.join('.')}: ` : ''}${message}`;
  });
  // Two checks of one value (integer, and in range) may report the same message.
  throw new RunError('ERR_RECIPE', listed([...new Set(found)]));
}

function areOverrides(overrides: unknown): boolean {
  const isOverride = (one: unknown): boolean =>
    typeof one === 'string' ||
    ['label', 'key', 'value'].every((name) => typeof property(one, name) === 'string');
  try {
    return Array.isArray(overrides) && overrides.every(isOverride);
  } catch {
    return false; // a Proxy
  }
}

/** Mistakes that are shown at once; a file that is no recipe has thousands. */
const MOST_MISTAKES = 20;

function listed(mistakes: readonly string[]): string {
  const more = mistakes.length - MOST_MISTAKES;
  const lines = mistakes.slice(0, MOST_MISTAKES);
  return [...lines, ...(more > 0 ? [`and ${more} more mistakes`] : [])].join('\n');
}

/**
 * @param caller the function that was given it, for the message. @throws RunError unless `recipe`
 *   is complete, as parseRecipe() returns it
 */
export function checkRecipe(recipe: Recipe, caller = 'run()'): void {
  let parsed: ReturnType<typeof recipeSchema.safeParse>;
  try {
    parsed = recipeSchema.safeParse(recipe);
  } catch (error) {
    throw new RunError('ERR_RECIPE', unreadable(`[${caller}] the recipe`, error));
  }
  const [issue] = parsed.success ? [] : parsed.error.issues;
  const [mistake] = issue ? messages(issue, recipe) : [];
  const missing = parsed.success ? firstDifference(parsed.data, recipe)?.key : undefined;
  if (mistake === undefined && missing === undefined) return;
  throw new RunError(
    'ERR_RECIPE',
    `${caller} takes a complete recipe, as parseRecipe() returns it: ` +
      (mistake === undefined
        ? `${missing} is missing.`
        : `${mistake.path.length > 0 ? `${mistake.path.join('.')}: ` : 'it '}${mistake.message}.`),
  );
}

/**
 * The complete recipe as YAML; equal recipes give equal text. @throws RunError for another value
 */
export function recipeText(recipe: Recipe): string {
  checkRecipe(recipe, 'recipeText()');
  return stringify(recipe, { lineWidth: 0 });
}

/** SHA-256 of the complete recipe, hex. */
export function recipeDigest(recipe: Recipe): string {
  return createHash('sha256').update(recipeText(recipe)).digest('hex');
}

/** The first key on which two complete recipes differ, in the order of the schema. */
export function firstDifference(
  a: Recipe,
  b: Recipe,
): { key: string; a: string; b: string } | undefined {
  const right = new Map(flatten(b));
  for (const [key, value] of flatten(a))
    if (right.get(key) !== value) return { key, a: value, b: right.get(key) ?? 'nothing' };
  return undefined;
}

function flatten(value: unknown, prefix = ''): [string, string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [[prefix, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) =>
    flatten(inner, prefix === '' ? key : `${prefix}.${key}`),
  );
}

function toData(document: Document.Parsed, name: string): Record<string, unknown> {
  if (document.contents === null)
    throw new RunError(
      'ERR_RECIPE',
      `${name}: the recipe is empty; write at least one setting, such as \`model: ` +
        `smollm2-135m-instruct\``,
    );
  if (!isMap(document.contents))
    throw new RunError(
      'ERR_RECIPE',
      `${name}:1:1 a recipe is a list of \`key: value\` lines, this file holds something else`,
    );
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as Record<string, unknown>;
  } catch (error) {
    throw new RunError('ERR_RECIPE', `${name}: ${aliasFault(error)}`);
  }
}

/** yaml throws ReferenceError both for an unresolved alias and for too many aliases. */
function aliasFault(error: unknown): string {
  const { message } = error as Error;
  const unresolved = /^Unresolved alias .*: (.+)$/.exec(message);
  if (unresolved) return `the alias *${unresolved[1]} has no anchor &${unresolved[1]} before it`;
  return error instanceof ReferenceError
    ? 'the aliases (`*name`) expand to too much; write the settings out'
    : message;
}

function applyOverride(data: Record<string, unknown>, override: Override): Applied {
  const {
    label,
    key,
    value: raw,
    text,
  } = typeof override === 'string' ? splitFlag(override) : override;
  const path = key.split('.');
  const value = parseDocument(raw, YAML);
  if (!text && value.errors.length > 0)
    throw new RunError('ERR_RECIPE', `${label}: ${sentence(value.errors[0]!.message)}`);
  let section: Record<string, unknown> = data;
  for (const [depth, part] of path.slice(0, -1).entries()) {
    if (!Object.hasOwn(section, part)) put(section, part, {});
    const next = section[part];
    if (typeof next !== 'object' || next === null || Array.isArray(next)) {
      throw new RunError(
        'ERR_RECIPE',
        `${label} ${path.slice(0, depth + 1).join('.')}: is not a section, so it has no ` +
          `key '${path[depth + 1]}'`,
      );
    }
    section = next as Record<string, unknown>;
  }
  put(section, path.at(-1)!, text ? raw : (overrideValue(label, value) ?? null));
  return { label, path };
}

/** An override with `sft.checkpoint` takes the place of the file's own fine-tuning. */
function leaveFineTuning(data: Record<string, unknown>, applied: readonly Applied[]): void {
  const given = applied.filter(({ path }) => path[0] === 'sft').map(({ path }) => path[1]!);
  const { sft } = data as { sft?: Record<string, unknown> };
  if (!given.includes('checkpoint') || sft?.['checkpoint'] == null) return;
  for (const key of Object.keys(sft))
    if (key !== 'enabled' && key in sftSchema.shape && !given.includes(key)) delete sft[key];
}

function overrideValue(label: string, value: Document): unknown {
  try {
    return value.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    throw new RunError('ERR_RECIPE', `${label}: ${aliasFault(error)}`);
  }
}

function splitFlag(flag: string): { label: string; key: string; value: string; text?: boolean } {
  const equals = flag.indexOf('=');
  if (equals < 1)
    throw new RunError(
      'ERR_RECIPE',
      `--set ${flag}: write key=value, such as --set sample.top_p=0.9`,
    );
  return {
    label: `--set ${flag}`,
    key: flag.slice(0, equals).trim(),
    value: flag.slice(equals + 1),
  };
}

/** Defines an own property, so that the key `__proto__` is stored and then refused as unknown. */
function put(section: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(section, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

/** Offset of the value (or key) at `path`; that of the nearest enclosing node if it is absent. */
function offsetOf(document: Document.Parsed, path: Path, key = false): number {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => (isScalar(item.key) ? String(item.key.value) : String(item.key)) === String(part),
      );
      if (!pair) return offset;
      const last = depth === path.length - 1;
      offset =
        ((last && key) || !(pair.value as Node | null)?.range
          ? (pair.key as Node)
          : (pair.value as Node)
        ).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else {
      const item: Node | undefined = (node as { items?: Node[] } | null | undefined)?.items?.[
        Number(part)
      ];
      if (!item) return offset;
      offset = item.range?.[0] ?? offset;
      node = item;
    }
  }
  return offset;
}
