/**
 * Maps the files of a data set repository to configs and splits, by the rules of the datasets
 * library (its load.py and data_files.py):
 *
 *   1. the card's YAML: configs: [{config_name, data_files: [{split, path: glob}], data_dir,
 *   default}]
 *   2. sharded names: <dir>/<split>-00000-of-00002.parquet; <dir> names the config, `data` is the
 *   default one
 *   3. a split's name in a path:   validation/part-1.parquet, else train.jsonl, data/my_test.json
 *   4. anything else:              all files are `train`
 */
import { parseDocument } from 'yaml';
import { DataError } from './jsonl.js';

export interface Wanted {
  /** As the user gave it. */
  source: string;
  config?: string | undefined;
  split?: string | undefined;
}

/**
 * config → split → files in order. The default config has the name `DEFAULT` or is marked first.
 */
export type Splits = Map<string, Map<string, string[]>>;

export type Chosen =
  { files: string[]; problem?: undefined } | { files?: undefined; problem: string };

const DEFAULT = 'default';
/** Names compared with patterns, all patterns of a card together. */
const MOST_LOOKED_AT = 5_000_000;
const READ = /\.(parquet|jsonl|ndjson|json)(\.gz)?$/i;
/** Files beside the data that contain no rows. */
const META = /(^|\/)(\.|__|dataset_infos?\.json$|state\.json$|metadata\.jsonl$|package\.json$)/i;
/** Shards in `data`, or (which the library leaves to the card) in the folder of a config. */
const SHARD = /^([^/]+(?:\/[^/]+)*)\/([^/]+)-\d{5}-of-\d{5}[^/]*\./;
/** Names of splits, in the order in which they are searched. */
const SPLIT_NAMES: readonly [string, readonly string[]][] = [
  ['train', ['train', 'training']],
  ['validation', ['validation', 'valid', 'dev', 'val']],
  ['test', ['test', 'testing', 'eval', 'evaluation']],
];

/**
 * The splits of a repository with these files and this card (README.md). Empty if no file has a
 * format that is read.
 */
export function splitsOf(names: readonly string[], card: string, { source }: Wanted): Splits {
  // The rows of a data set with a loading script are only in the hub's conversion.
  const script = `${source.replace(/^hub:/, '').split(/[/:@]/)[1] ?? ''}.py`;
  const data = names.includes(script)
    ? []
    : names.filter((name) => READ.test(name) && !META.test(name)).sort();
  const declared = fromCard(data, card, source);
  return declared.size > 0 ? declared : byName(parquetFirst(data));
}

/** The layout of the hub's conversion: `<config>/<split>/0000.parquet`. */
export function convertedSplits(names: readonly string[]): Splits {
  const splits: Splits = new Map();
  for (const name of [...names].sort()) {
    const [, config, split] = /^([^/]+)\/([^/]+)\/\d+\.parquet$/.exec(name) ?? [];
    if (config !== undefined && split !== undefined) add(splits, config, split, name);
  }
  return splits;
}

/** The files of the wanted split, or an error that lists the existing ones. */
export function chooseSplit(splits: Splits, { source, config, split }: Wanted): Chosen {
  if (splits.size === 0)
    return {
      problem:
        `${source}: the repository has no Parquet or JSON files, and the hub has no Parquet ` +
        'conversion of it; download it by other means and name the files',
    };
  const name =
    config ?? (splits.has(DEFAULT) || splits.size > 1 ? DEFAULT : [...splits.keys()][0]!);
  const found = splits.get(name);
  if (found === undefined) {
    return {
      problem:
        `${source}: ` +
        (config === undefined
          ? 'the data set has several configs and no default one; '
          : `there is no config ${JSON.stringify(config)}; `) +
        `known are ${list(splits.keys())} (hub:org/name/config)`,
    };
  }
  const files =
    found.get(split ?? 'train') ??
    (split === undefined && found.size === 1 ? [...found.values()][0] : undefined);
  if (files !== undefined) return { files };
  return {
    problem:
      `${source}: ` +
      (split === undefined
        ? `the config ${JSON.stringify(name)} has no split "train"; `
        : `there is no split ${JSON.stringify(split)} in the config ${JSON.stringify(name)}; `) +
      `known are ${list(found.keys())} (…:split)`,
  };
}

const list = (names: Iterable<string>): string => {
  const all = [...names].sort();
  const shown = all.slice(0, 30).join(', ');
  return all.length > 30 ? `${shown} and ${all.length - 30} more` : shown;
};

function add(splits: Splits, config: string, split: string, name: string): void {
  const of = splits.get(config) ?? new Map<string, string[]>();
  const files = of.get(split) ?? [];
  files.push(name);
  splits.set(config, of.set(split, files));
}

interface CardConfig {
  config_name?: unknown;
  data_files?: unknown;
  data_dir?: unknown;
  default?: unknown;
}

/** The splits that the card declares; empty if none of them exists. */
function fromCard(names: readonly string[], card: string, source: string): Splits {
  const splits: Splits = new Map();
  const configs = cardConfigs(card);
  let looked = 0;
  for (const config of configs) {
    const name =
      config.default === true
        ? DEFAULT
        : typeof config.config_name === 'string'
          ? config.config_name
          : DEFAULT;
    const folder =
      typeof config.data_dir === 'string' ? `${config.data_dir.replace(/^\.?\/|\/$/g, '')}/` : '';
    const inside = names.filter((file) => file.startsWith(folder));
    if (config.data_files === undefined) {
      for (const [split, files] of mergeConfigs(
        byName(parquetFirst(inside.map((file) => file.slice(folder.length)))),
      ))
        for (const file of files) add(splits, name, split, folder + file);
    } else {
      for (const [split, patterns] of dataFiles(config.data_files)) {
        for (const pattern of patterns) {
          const start = folder + /^[^*?[]*/.exec(pattern)![0];
          const candidates = inside.filter((file) => file.startsWith(start));
          looked += candidates.length;
          if (looked > MOST_LOOKED_AT)
            throw new DataError(
              `${source}: its card has more file patterns than are looked through; ` +
                'download the files by other means and name them',
            );
          for (const file of candidates.filter((candidate) =>
            globMatches(pattern, candidate.slice(folder.length)),
          ))
            add(splits, name, split, file);
        }
      }
    }
    // The default config may also be requested by its own name.
    const own = config.config_name;
    if (config.default === true && typeof own === 'string' && splits.has(DEFAULT))
      splits.set(own, splits.get(DEFAULT)!);
  }
  return splits;
}

function cardConfigs(card: string): CardConfig[] {
  const [, header] = /^\uFEFF?---\r?\n([^]*?)\r?\n---/.exec(card) ?? [];
  if (header === undefined || header.length > 2 ** 20) return [];
  try {
    const { configs } = (parseDocument(header, { prettyErrors: false }).toJS({
      maxAliasCount: 100,
    }) ?? {}) as { configs?: unknown };
    return Array.isArray(configs)
      ? configs.filter(
          (config): config is CardConfig => typeof config === 'object' && config !== null,
        )
      : [];
  } catch {
    return []; // a card that is not YAML declares nothing
  }
}

/**
 * `data_files` as split → patterns: a pattern or several (train), a list of {split, path}, or a
 * mapping.
 */
function dataFiles(declared: unknown): [string, string[]][] {
  const texts = (value: unknown): string[] =>
    (Array.isArray(value) ? value : [value])
      .filter((item): item is string => typeof item === 'string')
      .map((path) => path.replace(/^\.\//, ''));
  if (typeof declared === 'string') return [['train', texts(declared)]];
  if (Array.isArray(declared)) {
    return declared.map((item: unknown): [string, string[]] => {
      const { split, path } = (
        typeof item === 'object' && item !== null ? item : { path: item }
      ) as { split?: unknown; path?: unknown };
      return [typeof split === 'string' ? split : 'train', texts(path)];
    });
  }
  return Object.entries(declared ?? {}).map(([split, path]) => [split, texts(path)]);
}

/**
 * Whether a glob matches: `*`, `?` and `[…]` stay within a folder, `**` does not. Each position is
 * visited once per part of the pattern, so no pattern of a hostile card takes long.
 */
export function globMatches(pattern: string, name: string): boolean {
  const parts = pattern.match(/\*\*\/|\*+|\?|\[[^\]/]+\]|[^]/g) ?? [];
  // State i: the parts before i are matched. State i + ½: within a `**/`, which ends at a slash
  // only.
  const enter = (states: Set<number>, i: number): void => {
    states.add(i);
    if (parts[i]?.startsWith('*')) enter(states, i + 1);
  };
  let states = new Set<number>();
  enter(states, 0);
  for (const char of name) {
    const next = new Set<number>();
    for (const state of states) {
      const i = Math.floor(state);
      const part = parts[i];
      if (part === undefined) continue;
      if (part === '**/') {
        next.add(i + 0.5);
        if (char === '/') enter(next, i + 1);
      } else if (part.startsWith('*')) {
        if (part !== '*' || char !== '/') enter(next, i);
      } else if (
        part === '?' || part.length > 1 ? char !== '/' && inClass(part, char) : part === char
      )
        enter(next, i + 1);
    }
    states = next;
  }
  return states.has(parts.length);
}

function inClass(part: string, char: string): boolean {
  if (part === '?') return true;
  const negated = part[1] === '!';
  const set = part.slice(negated ? 2 : 1, -1);
  const found = [...set].some((first, i) =>
    set[i + 1] === '-' && set[i + 2] !== undefined
      ? first <= char && char <= set[i + 2]!
      : first === char,
  );
  return found !== negated;
}

/** Keeps one kind of file: a data set often has the same rows in both. */
function parquetFirst(names: readonly string[]): string[] {
  const parquet = names.filter((name) => /\.parquet$/i.test(name));
  return parquet.length > 0 ? parquet : [...names];
}

function byName(names: readonly string[]): Splits {
  const splits: Splits = new Map();
  for (const name of names) {
    const [, folder, split] = SHARD.exec(name) ?? [];
    if (folder !== undefined && split !== undefined)
      add(splits, folder === 'data' ? DEFAULT : folder.replace(/^data\//, ''), split, name);
  }
  for (const globs of [IN_FOLDER, IN_NAME]) {
    if (splits.size > 0) return splits;
    for (const [split, words] of SPLIT_NAMES)
      for (const name of new Set(words.flatMap((word) => matching(names, word, globs(word)))))
        add(splits, DEFAULT, split, name);
  }
  if (splits.size === 0) for (const name of names) add(splits, DEFAULT, 'train', name);
  return splits;
}

/**
 * The globs of the datasets library: a split's name between separators or digits, in the name of a
 * folder or a file.
 */
const MARK = '[-._ 0-9]';
const IN_FOLDER = (word: string): string[] => [
  `**/${word}/**`,
  `**/${word}${MARK}*/**`,
  `**/*${MARK}${word}/**`,
  `**/*${MARK}${word}${MARK}*/**`,
];
const IN_NAME = (word: string): string[] => [`**/${word}${MARK}*`, `**/*${MARK}${word}${MARK}*`];

/** Names in the order of the globs that they match. */
function matching(names: readonly string[], word: string, globs: readonly string[]): string[] {
  const having = names.filter((name) => name.includes(word)); // a large repository has few of them
  return globs.flatMap((glob) => having.filter((name) => globMatches(glob, name)));
}

function mergeConfigs(splits: Splits): Map<string, string[]> {
  const merged: Splits = new Map();
  for (const of of splits.values())
    for (const [split, files] of of) for (const file of files) add(merged, DEFAULT, split, file);
  return merged.get(DEFAULT) ?? new Map<string, string[]>();
}
