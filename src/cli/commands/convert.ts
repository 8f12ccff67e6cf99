/**
 * `cream convert`: converts files of TRL and of the paper's own code to ours, and back. The kind of
 * a file is recognised by its rows.
 */
import { Option, type Command } from 'commander';
import {
  COMPLETION_COLUMNS,
  DEMONSTRATION_COLUMNS,
  PAIR_COLUMNS,
  PROMPT_COLUMNS,
  SCORE_COLUMNS,
} from '../../data/columns.js';
import { DataError, readJsonl } from '../../data/jsonl.js';
import {
  officialDemonstrations,
  officialPrompts,
  officialRewards,
  officialSamples,
  officialText,
  readOfficial,
  toOfficialDemonstrations,
  toOfficialDpo,
  toOfficialPrompts,
  toOfficialRewarding,
  toOfficialSampling,
  type Entries,
  type OfficialFile,
} from '../../data/official.js';
import { loadPreferences, type PreferenceRecord } from '../../data/preferences.js';
import { toTrl } from '../../data/trl.js';
import { describeUnread } from '../../data/unread-columns.js';
import { RunError } from '../../run/errors.js';
import type { Recipe } from '../../run/recipe.js';
import { adopt } from '../../run/stages/adopt.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ENGINE_KEYS, refuseIdle, settingsFrom, type Cli } from '../cli.js';
import { readGivenRecords } from '../records.js';
import { fetchData, showStage, withModel } from '../stage.js';
import { outputOf, printWritten, writeOutput, writeOutputRecords } from '../output.js';

const KEYS = [...ENGINE_KEYS, 'pairs.columns', 'pairs.on_bad_row'];
/** Flags that only one kind of file uses. */
const OF_PAIRS = ['columns', 'on-bad-row'];
const OF_SAMPLES = ['model', ...ENGINE_KEYS];
const OF_SCORES = ['completions', 'role'];
const OF_KINDS = [...OF_PAIRS, ...OF_SAMPLES, ...OF_SCORES, 'previous'];
const TARGETS = ['cream', 'official', 'trl', 'trl-standard'] as const;

interface Flags extends Record<string, unknown> {
  to: string;
  model?: string;
  previous?: string;
  completions?: string;
  role: 'current' | 'previous';
  json?: boolean;
}

interface Request extends Flags {
  settings: Recipe;
  /** Refuses the other flags of `OF_KINDS`, which files of this kind do not use. */
  uses: (flags: readonly string[], kind: string) => void;
}

export function addConvert(program: Command, cli: Cli): void {
  const command = program
    .command('convert')
    .description(
      'convert files of TRL and of the official CREAM code to ours, and back, between any two ' +
        'stages (docs/data.md)',
    )
    .argument(
      '<in>',
      'a file of ours, a preference data set (also hub:org/name), or a JSON file of the ' +
        'official code: prompts, demonstrations, sampling, rewarding, dpo',
    )
    .argument('<out>', 'the file to write; an existing one is replaced')
    .option('--json', 'print the result as JSON')
    .addOption(new Option('--to <format>', 'the format').choices(TARGETS).makeOptionMandatory())
    .option(
      '--model <name>',
      'official sampling → cream: the model that made the responses; its tokenizer makes ' +
        'their token ids, and it gives their log-probs',
    )
    .option(
      '--previous <file>',
      'official rewarding → cream: the rewards of the same responses by the previous model',
    )
    .option('--completions <file>', 'scores → official: the completions that were scored')
    .addOption(
      new Option('--role <role>', 'scores → official: the model of the rewards')
        .choices(['current', 'previous'])
        .default('current'),
    );
  addSettings(command, KEYS).action(async (input: string, out: string, given: Flags) => {
    const settings = settingsFrom(given, KEYS, undefined, {
      more: [
        { label: '<in>', key: 'pairs.source', value: input, text: true },
        { label: '<in>', key: 'iterations', value: '1' },
      ],
    });
    const uses = (used: readonly string[], kind: string): void =>
      refuseIdle(
        command,
        OF_KINDS.filter((name) => !used.includes(name)),
        `in converting ${kind} to ${given.to}`,
      );
    const flags = { ...given, settings, uses };
    const output = outputOf(out);
    const official = await readOfficial(input);
    await fetchData([input], cli);
    const { json } = flags;
    if (flags.to === 'official') {
      const text = officialText(await toOfficial(input, official, flags, cli));
      await writeOutput(output, text, cli.signal);
      return printWritten(output, out, { json });
    }
    const rows =
      flags.to === 'cream'
        ? await toOurs(input, official, flags, cli)
        : await asTrl(input, flags, cli);
    await writeOutputRecords(output, rows, cli.signal);
    printWritten(output, out, { json, rows: rows.length });
  });
}

async function toOurs(
  input: string,
  official: OfficialFile | null,
  flags: Request,
  cli: Cli,
): Promise<object[]> {
  switch (official?.kind) {
    case 'prompts':
      flags.uses([], 'prompts');
      return officialPrompts(official);
    case 'demonstrations':
      flags.uses([], 'demonstrations');
      return officialDemonstrations(official);
    case 'sampling':
      flags.uses(OF_SAMPLES, 'samples');
      return adopted(official, flags, cli);
    case 'rewarding':
      flags.uses(['previous'], 'rewards');
      return officialRewards(
        official,
        flags.previous === undefined ? undefined : await secondFile(flags.previous),
      );
    default:
      return asTrl(input, flags, cli);
  }
}

async function secondFile(path: string): Promise<OfficialFile> {
  const file = await readOfficial(path);
  if (file?.kind !== 'rewarding')
    throw new DataError(
      `${path} is not a rewarding file of the official code (rewarding.py writes it); ` +
        '--previous must be one',
    );
  return file;
}

async function adopted(
  file: OfficialFile,
  { settings, ...flags }: Request,
  cli: Cli,
): Promise<object[]> {
  if (flags.model === undefined)
    throw new RunError(
      'ERR_RECIPE',
      'These are responses as texts: name with --model the model that made them, for their ' +
        'token ids and log-probs.',
    );
  const samples = officialSamples(file);
  return withModel(modelOrCheckpoint(flags.model), settings, cli, (policy) =>
    showStage(cli, { stage: 'adopt', unit: 'completions', total: samples.length }, (hooks) =>
      adopt(samples, policy, settings.score, hooks),
    ),
  );
}

async function asTrl(input: string, flags: Request, cli: Cli): Promise<object[]> {
  return toTrl(
    await pairsOf(input, flags, cli),
    flags.to === 'trl-standard' ? 'standard' : 'conversational',
  );
}

async function pairsOf(
  input: string,
  { settings: { pairs }, uses }: Request,
  { progress }: Cli,
): Promise<PreferenceRecord[]> {
  uses(OF_PAIRS, 'preference pairs');
  const { columns, on_bad_row: onBadRow } = pairs;
  const loaded = await loadPreferences(input, { columns, onBadRow });
  const { records, duplicates, duplicate, skipped } = loaded;
  const unread = describeUnread(input, loaded);
  if (unread !== undefined) progress.warn(unread);
  for (const { reason } of skipped.slice(0, 5)) progress.warn(`left out: ${reason}`);
  if (skipped.length > 5) progress.warn(`left out: ${skipped.length - 5} more`);
  if (duplicates > 0)
    progress.warn(`left out: ${duplicates} rows that repeat another, first ${duplicate}`);
  return records;
}

/** Recognises which of our files it is by columns that only this file has. */
async function toOfficial(
  input: string,
  official: OfficialFile | null,
  flags: Request,
  cli: Cli,
): Promise<Entries> {
  if (official)
    throw new DataError(`${input} is a ${official.kind} file of the official code already`);
  const [first] = input.endsWith('.jsonl') ? await readJsonl(input) : [];
  const has = (column: string): boolean => first?.value[column] !== undefined;
  if (has('token_ids')) {
    flags.uses([], 'completions');
    return toOfficialSampling(await readGivenRecords(input, COMPLETION_COLUMNS, cli));
  }
  if (has('logp_current')) {
    flags.uses(OF_SCORES, 'scores');
    if (flags.completions === undefined)
      throw new RunError(
        'ERR_RECIPE',
        'Scores are written with the responses they belong to: name the completions with ' +
          '--completions.',
      );
    return toOfficialRewarding(
      await readGivenRecords(input, SCORE_COLUMNS, cli),
      await readGivenRecords(flags.completions, COMPLETION_COLUMNS, cli),
      flags.role,
    );
  }
  if (has('ref_chosen_logps')) {
    flags.uses([], 'our pairs');
    return toOfficialDpo(
      (await readGivenRecords(input, PAIR_COLUMNS, cli)).map((pair) => ({
        ...pair,
        id: pair.prompt_id,
      })),
    );
  }
  if (has('completion')) {
    flags.uses([], 'demonstrations');
    return toOfficialDemonstrations(await readGivenRecords(input, DEMONSTRATION_COLUMNS, cli));
  }
  if (has('prompt') && !has('chosen')) {
    flags.uses([], 'prompts');
    return toOfficialPrompts(await readGivenRecords(input, PROMPT_COLUMNS, cli));
  }
  return toOfficialDpo(await pairsOf(input, flags, cli));
}
