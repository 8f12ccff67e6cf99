/** `cream score`: completions → their log-probs under θ_t, θ_{t−1} and θ_0. */
import type { Command } from 'commander';
import { COMPLETION_COLUMNS } from '../../data/columns.js';
import { RunError } from '../../run/errors.js';
import { groupCompletions, scoreStage } from '../../run/stages/score.js';
import { baseOfRun, modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ENGINE_KEYS, settingsFrom, type Cli } from '../cli.js';
import { readGivenRecords } from '../records.js';
import { showBlocks, withModels } from '../stage.js';
import { outputOf, printWritten } from '../output.js';

interface Flags extends Record<string, unknown> {
  completions: string;
  model: string;
  previous?: string;
  base?: string;
  out: string;
  json?: boolean;
}

export function addScore(program: Command, cli: Cli): void {
  const command = program
    .command('score')
    .description('log-probs of completions under the current, the previous and the base model')
    .requiredOption('--completions <file>', 'JSONL of `cream generate`')
    .requiredOption('--model <name>', 'θ_t, which made the completions')
    .option('--previous <name>', 'θ_{t−1} [the base model]')
    .option(
      '--base <name>',
      "θ_0, the base model [if --model is a run or its checkpoint: the run's]",
    )
    .requiredOption(
      '-o, --out <file>',
      'scores (JSONL); an existing file is replaced, an unfinished one is resumed',
    )
    .option('--json', 'print the result as JSON');
  addSettings(command, ENGINE_KEYS, 'score').action(async (flags: Flags) => {
    const settings = settingsFrom(flags, ENGINE_KEYS, 'score');
    const groups = groupCompletions(
      await readGivenRecords(flags.completions, COMPLETION_COLUMNS, cli),
    );
    const base = flags.base ?? baseOfRun(flags.model);
    if (base === null)
      throw new RunError(
        'ERR_RECIPE',
        `${flags.model} belongs to no run, whose recipe would tell its base model: give --base.`,
      );
    const names = {
      current: modelOrCheckpoint(flags.model),
      previous: modelOrCheckpoint(flags.previous ?? base),
      base: modelOrCheckpoint(base),
    };
    const made = await withModels(
      [...new Set(Object.values(names))],
      settings,
      cli,
      async (models) => {
        const judge = (name: string) => models.get(name)!.model;
        const scoring = {
          current: judge(names.current),
          previous: judge(names.previous),
          base: judge(names.base),
        };
        return showBlocks(
          cli,
          'score',
          {
            out: flags.out,
            plan: [
              names,
              settings.dtype,
              settings.device,
              settings.score,
              groups.map((group) => group.map((c) => c.token_ids)),
            ],
          },
          scoreStage(groups, async () => scoring, settings.score),
        );
      },
    );
    printWritten(outputOf(flags.out), flags.out, { json: flags.json, rows: made.length });
  });
}
