/** `cream prefer`: scores → rankings, consistency and preference pairs. */
import type { Command } from 'commander';
import { COMPLETION_COLUMNS, SCORE_COLUMNS } from '../../data/columns.js';
import { readRecords } from '../../data/jsonl.js';
import { RunError } from '../../run/errors.js';
import { rank } from '../../run/stages/rank.js';
import { writeRecords } from '../../run/store.js';
import { addSettings, settingsFrom, type Cli } from '../cli.js';
import { printJson, printLine } from '../table.js';

interface Flags extends Record<string, unknown> {
  scores: string;
  completions: string;
  out: string;
  rankings?: string;
  json?: boolean;
}

export function addPrefer(program: Command, _cli: Cli): void {
  const command = program.command('prefer')
    .description('rank scored completions and make preference pairs')
    .requiredOption('--scores <file>', 'JSONL of `cream score`')
    .requiredOption('--completions <file>', 'JSONL of `cream generate`')
    .requiredOption('-o, --out <file>', 'pairs (JSONL with TRL\'s columns)')
    .option('--rankings <file>', 'also write ranks and consistency of every prompt')
    .option('--json', 'print the summary as JSON');
  addSettings(command, [], 'rank').action(async (flags: Flags) => {
    const { rank: settings } = settingsFrom(flags, [], 'rank');
    const scores = await readRecords(flags.scores, SCORE_COLUMNS), completions = await readRecords(flags.completions, COMPLETION_COLUMNS);
    const { rankings, pairs, summary } = rank(scores, completions, settings);
    if (flags.rankings !== undefined) await writeRecords(flags.rankings, rankings);
    await writeRecords(flags.out, pairs);
    if (flags.json) printJson(summary);
    else printLine(`${pairs.length} pairs of ${rankings.length} prompts, mean C ${summary.mean_consistency.toFixed(3)}: ${flags.out}`);
    if (pairs.length === 0) throw new RunError('ERR_NO_PAIRS', 'No prompt has a best and a worst response that differ: sample at a higher temperature, or more responses a prompt.');
  });
}
