/** `cream run RECIPE`: the main job, from a recipe to an aligned model and its report. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { isSilentRank } from '../../engine/ranks.js';
import { readRun } from '../../report/metrics.js';
import { dryRun, type DryRun } from '../../run/dry-run.js';
import { parseRecipe } from '../../run/recipe-file.js';
import { run } from '../../run/run.js';
import { REPORT } from '../../run/store.js';
import type { Cli } from '../cli.js';
import { groupName, modelProgress, showEvent } from '../progress.js';
import { readRecipe } from '../recipes.js';
import { formatTable, printJson, printLine, runTable } from '../table.js';
import { writeReport } from './report.js';

interface Flags {
  out?: string;
  set: string[];
  json?: boolean;
  dryRun?: boolean;
}

export function addRun(program: Command, cli: Cli): void {
  program
    .command('run')
    .description(
      'run a recipe: optional SFT, then iterations of sample, score, rank, train and ' +
        'evaluate; the same command resumes after any interruption',
    )
    .argument('<recipe>', 'a YAML file, or the name of a recipe that `cream recipes` lists')
    .option('-o, --out <dir>', "run directory [runs/ and the recipe's name]")
    .option(
      '-s, --set <key=value>',
      'override a setting of the recipe; may be repeated',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option('--dry-run', 'say what would run, with counts, and write nothing')
    .option('--json', 'print the result as JSON instead of the table')
    .action(async (name: string, flags: Flags) => {
      const { file, text } = await readRecipe(name);
      const recipe = parseRecipe(text, file, flags.set);
      const directory = flags.out ?? join('runs', basename(file).replace(/\.ya?ml$/, ''));
      if (flags.dryRun) {
        const planned = await dryRun(recipe, directory);
        if (!isSilentRank()) printDryRun(planned, flags);
        return;
      }
      await work(directory, recipe, flags, cli);
    });
}

function printDryRun(planned: DryRun, { json }: Flags): void {
  if (json) return printJson(planned);
  printLine(
    formatTable(
      ['phase', 'stage', 'at most', 'steps', 'state'],
      planned.stages.map(({ phase, part, stage, count, unit, steps, state }) => [
        part ? `${groupName(phase)}, ${part}` : groupName(phase),
        stage,
        `${count.toLocaleString('en-US')} ${unit}`,
        steps?.toLocaleString('en-US') ?? '',
        state,
      ]),
    ),
  );
  printLine(
    planned.state === 'finished'
      ? `\nThe run in ${planned.directory} is finished; nothing would run.`
      : `\nNothing was run or written. \`cream plan\` estimates memory, time and disk.`,
  );
}

async function work(
  directory: string,
  recipe: ReturnType<typeof parseRecipe>,
  flags: Flags,
  cli: Cli,
): Promise<void> {
  const { signal, progress } = cli;
  cli.resumable = true;
  let finished = false;
  for await (const event of run(recipe, {
    directory,
    signal,
    onModelProgress: modelProgress(progress),
  })) {
    showEvent(progress, event);
    finished ||= event.type === 'run_finished';
    if (event.type === 'run_finished' && event.already)
      progress.say(
        `The run in ${directory} is finished; nothing to do. To run it again, choose ` +
          'another --out.',
      );
  }
  progress.stop();
  if (!finished) return; // a rank that followed rank 0
  const path = join(directory, REPORT);
  // Missing if a run was stopped just before its report.
  const report = existsSync(path) ? readRun(directory) : (await writeReport(directory, signal)).run;
  const model = join(
    directory,
    recipe.iterations === 0 ? 'sft' : `iteration-${recipe.iterations}`,
    'checkpoint',
  );
  if (flags.json) return printJson({ ...report, directory, checkpoint: model, report: path });
  printLine(runTable(report.phases));
  printLine(`Model:  ${model}`);
  printLine(`Report: ${path}`);
}
