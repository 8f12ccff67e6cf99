/**
 * A sweep: one recipe with several settings and seeds, each of which is a run. A run's name depends
 * on its settings alone, so a sweep that is extended keeps the runs that it has.
 */
import { createHash } from 'node:crypto';
import { isMap, LineCounter, parseDocument, stringify } from 'yaml';
import { z } from 'zod';
import { RunError } from './errors.js';
import { parseRecipe, YAML, type Override } from './recipe-file.js';
import { messages, sentence, type Finding } from './recipe-messages.js';
import type { Recipe } from './recipe.js';

const MOST_RUNS = 1000;
const LONGEST_NAME = 120;

const settings = z.record(z.string().min(1), z.unknown());
const schema = z
  .strictObject({
    recipe: z.string().min(1),
    set: settings.default({}),
    grid: z.record(z.string().min(1), z.array(z.unknown()).min(1)).optional(),
    list: z.array(settings).min(1).optional(),
    seeds: z.array(z.int().min(0)).min(1).optional(),
  })
  .refine(({ grid, list }) => grid === undefined || list === undefined, {
    path: ['list'],
    error: 'give either grid or list',
  });

export interface SweepFile {
  /** Name or path of the recipe, as given. */
  recipe: string;
  runs: { name: string; overrides: Override[] }[];
}

export interface SweepRun {
  name: string;
  recipe: Recipe;
}

/** @throws RunError `ERR_RECIPE` naming file, line and key */
export function parseSweep(text: string, file: string): SweepFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { ...YAML, lineCounter: lines });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const [fault] = [...document.errors, ...document.warnings];
  if (fault) throw new RunError('ERR_RECIPE', `${at(fault.pos[0])} ${sentence(fault.message)}`);
  if (!isMap(document.contents))
    throw new RunError(
      'ERR_RECIPE',
      `${file}:1:1 a sweep has the keys recipe, set, grid or list, and seeds; this file holds ` +
        'something else',
    );
  const place = (path: readonly PropertyKey[]): string => {
    for (let depth = path.length; depth > 0; depth--) {
      const node = document.getIn(path.slice(0, depth), true) as { range?: number[] } | undefined;
      if (node?.range) return at(node.range[0]!);
    }
    return at(0);
  };
  const data: unknown = document.toJS({ maxAliasCount: 100 });
  const parsed = schema.safeParse(data);
  if (!parsed.success)
    throw new RunError(
      'ERR_RECIPE',
      parsed.error.issues
        .flatMap((issue) => mistakes(issue, data))
        .map(({ path, message }) => `${place(path)} ${path.join('.')}: ${message}`)
        .join('\n'),
    );
  const { recipe, set, grid, list, seeds } = parsed.data;
  const override = (path: readonly PropertyKey[], key: string, value: unknown): Override => ({
    label: place(path),
    key,
    value: stringify(value, { lineWidth: 0 }).trimEnd(),
  });
  const fixed = Object.entries(set).map(([key, value]) => override(['set', key], key, value));
  const points = pointsOf(grid, list, seeds);
  if (points.length > MOST_RUNS)
    throw new RunError(
      'ERR_RECIPE',
      `${file} has ${points.length} runs, more than ${MOST_RUNS}: sweep over fewer values.`,
    );
  const keys = [...new Set(points.flatMap((point) => point.map(({ key }) => key)))];
  const runs = points.map((point) => ({
    name: nameOf(point, keys),
    overrides: [...fixed, ...point.map(({ path, key, value }) => override(path, key, value))],
  }));
  const twice = runs.find(({ name }, i) => runs.findIndex((other) => other.name === name) < i);
  if (twice) throw new RunError('ERR_RECIPE', `${file}: two runs have the settings ${twice.name}.`);
  return { recipe, runs };
}

function mistakes(issue: z.core.$ZodIssue, data: unknown): Finding[] {
  if (issue.code === 'custom') return [{ path: issue.path, message: issue.message }];
  if (issue.code !== 'unrecognized_keys') return messages(issue, data);
  return issue.keys.map((key) => ({
    path: [...issue.path, key],
    message: `unknown key; a sweep has ${Object.keys(schema.shape).join(', ')}`,
  }));
}

/** The recipe of every run; all are checked before one begins. @throws RunError */
export function sweepRuns({ runs }: SweepFile, text: string, file: string): SweepRun[] {
  return runs.map(({ name, overrides }) => ({ name, recipe: parseRecipe(text, file, overrides) }));
}

interface Setting {
  key: string;
  value: unknown;
  path: readonly PropertyKey[];
}

/** The settings of each run. The seed changes fastest, so that one point finishes after another. */
function pointsOf(
  grid: Record<string, unknown[]> = {},
  list: Record<string, unknown>[] | undefined,
  seeds: number[] | undefined,
): Setting[][] {
  let points: Setting[][] = list
    ? list.map((one, i) =>
        Object.entries(one).map(([key, value]) => ({ key, value, path: ['list', i, key] })),
      )
    : [[]];
  const axes: [string, readonly unknown[], readonly PropertyKey[]][] = [
    ...(list ? [] : Object.entries(grid)).map(
      ([key, values]): [string, unknown[], PropertyKey[]] => [key, values, ['grid', key]],
    ),
    ...(seeds ? [['seed', seeds, ['seeds']] as [string, number[], PropertyKey[]]] : []),
  ];
  for (const [key, values, path] of axes)
    points = points.flatMap((point) =>
      values.map((value, i) => [
        ...point.filter((setting) => setting.key !== key),
        { key, value, path: [...path, i] },
      ]),
    );
  return points;
}

/** `learning_rate=0.000001,seed=2`: the last part of each key, if no other key has the same. */
function nameOf(point: readonly Setting[], keys: readonly string[]): string {
  const short = (key: string): string => {
    const last = key.split('.').at(-1)!;
    return keys.filter((other) => other.split('.').at(-1) === last).length > 1 ? key : last;
  };
  const text = point
    .map(
      ({ key, value }) =>
        `${short(key)}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
    .join(',');
  const safe = text.replace(/[^\w.,=+-]+/g, '_') || 'run';
  if (safe.length <= LONGEST_NAME && safe === (text || 'run')) return safe;
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${safe.slice(0, LONGEST_NAME)}-${digest}`;
}
