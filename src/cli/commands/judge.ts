/** `cream judge`: completions → grades by the model and its previous version (LLM-as-a-judge). */
import type { Command } from 'commander';
import { COMPLETION_COLUMNS } from '../../data/columns.js';
import { judgeStage } from '../../run/stages/reward.js';
import { groupCompletions } from '../../run/stages/score.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import { addSettings, ENGINE_KEYS, settingsFrom, wholeNumber, type Cli } from '../cli.js';
import { readGivenRecords } from '../records.js';
import { showBlocks, withModels } from '../stage.js';
import { outputOf, printWritten } from '../output.js';

const KEYS = [...ENGINE_KEYS, 'seed', 'sample.max_num_seqs', 'score.save_prompts'];
/** Settings of other rewards. */
const LEAVE_OUT = [
  'reward.source',
  'reward.length',
  'reward.against',
  'reward.model',
  'reward.label',
  'reward.file',
];

interface Flags extends Record<string, unknown> {
  completions: string;
  model: string;
  previous?: string;
  iteration: number;
  out: string;
  json?: boolean;
}

export function addJudge(program: Command, cli: Cli): void {
  const command = program
    .command('judge')
    .description('let a model and its previous version grade completions, 0 to 5 points')
    .requiredOption('--completions <file>', 'JSONL of `cream generate`')
    .requiredOption('--model <name>', 'θ_t')
    .option('--previous <name>', 'θ_{t−1} [the model itself: both then agree]')
    .option(
      '--iteration <number>',
      'part of the random key: another number, other judgements',
      wholeNumber,
      1,
    )
    .requiredOption(
      '-o, --out <file>',
      'judgements (JSONL); an existing file is replaced, an unfinished one is resumed',
    )
    .option('--json', 'print the result as JSON');
  addSettings(command, KEYS, 'reward', LEAVE_OUT).action(async (flags: Flags) => {
    const settings = settingsFrom(flags, KEYS, 'reward', {
      leaveOut: LEAVE_OUT,
      more: [{ label: 'judge', key: 'reward.source', value: 'judge' }],
    });
    const {
      reward,
      seed,
      sample: { max_num_seqs },
      score: { save_prompts },
    } = settings;
    const groups = groupCompletions(
      await readGivenRecords(flags.completions, COMPLETION_COLUMNS, cli),
    );
    const names = {
      current: modelOrCheckpoint(flags.model),
      previous: modelOrCheckpoint(flags.previous ?? flags.model),
    };
    const { iteration } = flags;
    const made = await withModels(
      [...new Set(Object.values(names))],
      settings,
      cli,
      async (models) => {
        const language = models.get(names.current)!;
        const judges = { current: language.model, previous: models.get(names.previous)!.model };
        return showBlocks(
          cli,
          'judge',
          {
            out: flags.out,
            plan: [names, settings.dtype, settings.device, reward, seed, iteration, groups],
          },
          judgeStage(groups, async () => ({ language, judges }), {
            ...reward,
            seed,
            iteration,
            max_num_seqs,
            save_prompts,
          }),
        );
      },
    );
    printWritten(outputOf(flags.out), flags.out, { json: flags.json, rows: made.length });
  });
}
