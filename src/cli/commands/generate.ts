/** `cream generate`: prompts → completions.jsonl, the first stage of an iteration on its own. */
import type { Command } from 'commander';
import { describeLeftOut } from '../../data/bad-rows.js';
import { checkLengths } from '../../run/check.js';
import { choosePrompts, readPrompts } from '../../run/data.js';
import { sampleStage } from '../../run/stages/sample.js';
import { addSettings, settingsFrom, wholeNumber, type Cli } from '../cli.js';
import { outputOf, printWritten } from '../output.js';
import { fetchData, showBlocks, withModel } from '../stage.js';

const KEYS = [
  'model',
  'dtype',
  'device',
  'seed',
  'threads',
  'system_prompt',
  'prompts.count',
  'prompts.columns',
  'prompts.on_bad_row',
];

interface Flags extends Record<string, unknown> {
  prompts: string;
  out: string;
  iteration: number;
}

export function addGenerate(program: Command, cli: Cli): void {
  const command = program
    .command('generate')
    .description('sample completions of prompts')
    .option(
      '--prompts <file>',
      'prompts: `builtin`, a JSONL, JSON or Parquet file, or hub:org/name',
      'builtin',
    )
    .requiredOption(
      '-o, --out <file>',
      'completions (JSONL); an existing file is replaced, an unfinished one goes on',
    )
    .option(
      '--iteration <number>',
      'part of the random key: another number, other samples',
      wholeNumber,
      1,
    );
  addSettings(command, KEYS, 'sample').action(async (flags: Flags) => {
    const settings = settingsFrom(flags, KEYS, 'sample', {
      more: [
        { label: '--prompts', key: 'prompts.source', value: flags.prompts, text: true },
        { label: 'generate', key: 'iterations', value: '1' },
      ],
    });
    // A file is taken whole unless a count is given; the built-in prompts have no end.
    const count =
      flags.count === undefined && flags.prompts !== 'builtin' ? 0 : settings.prompts.count;
    await fetchData([flags.prompts], cli);
    const recipe = {
      ...settings,
      prompts: { ...settings.prompts, count, split: 'subsets' as const },
    };
    const request = { ...settings.sample, seed: settings.seed, iteration: flags.iteration };
    await withModel(settings.model, settings, cli, async (policy) => {
      const source = await readPrompts(recipe, policy);
      const { prompts } = choosePrompts(recipe, 1, source);
      const left = describeLeftOut(flags.prompts, source);
      if (left !== undefined) cli.progress.warn(left);
      await checkLengths({ prompts, places: source.places ?? new Map() }, policy);
      await showBlocks(
        cli,
        'sample',
        {
          out: flags.out,
          plan: [settings.model, settings.dtype, settings.device, request, prompts],
        },
        sampleStage(prompts, async () => policy, request),
      );
    });
    printWritten(outputOf(flags.out), flags.out);
  });
}
