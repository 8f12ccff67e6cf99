/** The arguments of every command: the signal that stops it, and the terminal. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseRecipe, type Override } from '../run/recipe-file.js';
import { recipeFields } from '../run/recipe-fields.js';
import { RunError } from '../run/errors.js';
import { type Recipe } from '../run/recipe.js';
import { modelOrCheckpoint } from './checkpoints.js';
import { Progress } from './progress.js';

export interface Cli {
  signal: AbortSignal;
  progress: Progress;
  /** Set once finished work is saved, from where the same command resumes after a stop. */
  resumable?: boolean;
}

/** Registers one verb. */
export type AddCommand = (program: Command, cli: Cli) => void;

/** Settings of loading a model. */
export const ENGINE_KEYS = ['dtype', 'device', 'threads'] as const;

/** Settings of a command that has a model answer prompts. */
export const ANSWER_KEYS = [...ENGINE_KEYS, 'seed', 'system_prompt'] as const;

type Section = 'prompts' | 'sft' | 'sample' | 'score' | 'reward' | 'rank' | 'train' | 'evaluate';

/**
 * Keys of the recipe that a stage command takes as flags; flagName gives their names. Their texts
 * and defaults are those of the schema.
 */
export function addSettings(
  command: Command,
  keys: readonly string[],
  section?: Section,
  leaveOut: readonly string[] = [],
): Command {
  for (const field of settingsOf(keys, section, leaveOut)) {
    const shown =
      field.default === null || (Array.isArray(field.default) && field.default.length === 0)
        ? 'none'
        : String(field.default);
    const value = isMapping(field.key) ? '<ours=theirs...>' : '<value>';
    const option = new Option(
      `--${flagName(field.key, section)} ${value}`,
      `${field.description} [${shown}]`,
    );
    // A list's flag may be given several times.
    if (field.type.startsWith('list') && !isMapping(field.key))
      option.argParser((text, before: string[] | undefined) => [...(before ?? []), text]);
    command.addOption(option);
  }
  return command;
}

/** Other names of columns: `--columns prompt=query id=key`, or a list as in a recipe. */
const isMapping = (key: string): boolean => key.endsWith('.columns');

/** Texts as a list of YAML; a single list as it is. */
const listOf = (given: readonly string[]): string =>
  given.length === 1 && /^\s*\[/.test(given[0]!) ? given[0]! : JSON.stringify(given);

/**
 * A recipe of defaults and the given flags; a bad value is reported under the flag's name. A run
 * directory as the model stands for its newest checkpoint.
 */
export function settingsFrom(
  flags: Record<string, unknown>,
  keys: readonly string[],
  section?: Section,
  { leaveOut = [], more = [] }: { leaveOut?: readonly string[]; more?: readonly Override[] } = {},
): Recipe {
  const fields = settingsOf(keys, section, leaveOut);
  const isGreedy = (key: string): boolean =>
    key === 'sample.temperature' &&
    /\d/.test(String(flags['temperature'])) &&
    Number(flags['temperature']) === 0;
  const overrides = fields.flatMap((field): Override[] => {
    const flag = flagName(field.key, section);
    const given = flags[flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if ((typeof given !== 'string' && !Array.isArray(given)) || isGreedy(field.key)) return [];
    const words = [given].flat() as string[];
    return [
      {
        label: `--${flag} ${words.join(' ')}`,
        key: field.key,
        value: field.type.startsWith('list') ? listOf(words) : words[0]!,
        text: field.type === 'text' || field.type.startsWith('text or'),
      },
    ];
  });
  const settings = parsed([...overrides, ...more], (key) =>
    fields.some((field) => field.key === key) ? `--${flagName(key, section)}` : key,
  );
  // Recipes need completions that differ; a command may decode greedily, as in the API.
  if (fields.some(({ key }) => isGreedy(key))) settings.sample.temperature = 0;
  if (keys.includes('model')) settings.model = modelOrCheckpoint(settings.model);
  return settings;
}

/** @throws RunError that names the flag of a missing or contradicting key, by `flagOf` */
function parsed(overrides: readonly Override[], flagOf: (key: string) => string): Recipe {
  const file = 'settings';
  try {
    return parseRecipe('{}', file, overrides);
  } catch (error) {
    if (!(error instanceof RunError)) throw error;
    // There is no such file: a place in it is that of a key which no flag sets.
    const place = new RegExp(`^${file}:\\d+:\\d+ ([\\w.]+):`, 'gm');
    const message = error.message
      .replace(place, (_, key: string) => flagOf(key))
      .replace(/, got nothing$/gm, '.');
    throw new RunError(error.code, message, { cause: error });
  }
}

/**
 * Refuses options that were given but change nothing. `names` are the long names without `--`;
 * `where` ends the sentence "--name has no effect …". @throws RunError naming the first of them
 */
export function refuseIdle(command: Command, names: readonly string[], where: string): void {
  const given = command.options.find(
    (option) =>
      names.includes(option.name()) &&
      command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (given)
    throw new RunError('ERR_RECIPE', `${given.long} has no effect ${where}; leave it out.`);
}

function settingsOf(
  keys: readonly string[],
  section: Section | undefined,
  leaveOut: readonly string[],
) {
  return recipeFields().filter(
    (field) =>
      field.type !== 'section' &&
      !leaveOut.includes(field.key) &&
      (keys.includes(field.key) || (section !== undefined && field.key.startsWith(`${section}.`))),
  );
}

/**
 * `sample.top_p` becomes `--top-p`; keys of `reward` and the like keep their section,
 * `--reward-source`, except in a command of the same name.
 */
export function flagName(key: string, section?: Section): string {
  const [head, ...tail] = key.split('.');
  const prefixed = (head === 'lora' || head === 'reward') && head !== section;
  return (prefixed ? [head, ...tail] : [key.split('.').at(-1)!]).join('-').replaceAll('_', '-');
}

/** The value of a flag that is not a setting. */
export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text))
    throw new InvalidArgumentError('It must be a whole number from 0 to 999999999.');
  return Number(text);
}

/** The value of `--port`. */
export function portNumber(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
    throw new InvalidArgumentError('It must be a port from 0 to 65535; 0 takes a free one.');
  return Number(text);
}
