/** `cream sweep FILE`: runs over settings and seeds, one after the other, and their comparison. */
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type FileError, readText } from '../../files/read.js';
import { comparePage } from '../../report/compare-page.js';
import { compareRuns } from '../../report/compare.js';
import { isRun } from '../../run/run-folder.js';
import { Interrupted, RunError } from '../../run/errors.js';
import { run } from '../../run/run.js';
import { COMPARISON, SUMMARY, writeAtomic } from '../../run/store.js';
import { parseSweep, sweepRuns, type SweepRun } from '../../run/sweep.js';
import type { Cli } from '../cli.js';
import { modelProgress, showEvent } from '../progress.js';
import { readRecipe } from '../recipes.js';
import { formatTable, groupTable, printJson, printLine } from '../table.js';

interface Flags {
  out?: string;
  dryRun?: boolean;
  json?: boolean;
}

type State = 'finished' | 'begun' | 'not begun' | 'failed';

interface Outcome {
  name: string;
  directory: string;
  state: State;
  error?: string;
}

export function addSweep(program: Command, cli: Cli): void {
  program
    .command('sweep')
    .description('run a recipe over a grid or list of settings and seeds; resumes after any stop')
    .argument('<file>', 'a YAML file with recipe, grid or list, and seeds')
    .option('-o, --out <dir>', "folder of the run directories [runs/ and the file's name]")
    .option('--dry-run', 'list the runs and how far each is')
    .option('--json', 'print the result as JSON')
    .action((file: string, flags: Flags) => sweep(file, flags, cli));
}

async function sweep(file: string, flags: Flags, cli: Cli): Promise<void> {
  const folder = flags.out ?? join('runs', basename(file).replace(/\.ya?ml$/, ''));
  if (isRun(folder))
    throw new RunError(
      'ERR_RUN_MISMATCH',
      `${folder} is the directory of a run, which cannot hold a sweep: choose another --out.`,
    );
  const runs = await runsOf(file);
  const outcomes = runs.map(({ name }): Outcome => {
    const directory = join(folder, name);
    return { name, directory, state: stateOf(directory) };
  });
  if (flags.dryRun) {
    if (flags.json) return printJson({ directory: folder, runs: outcomes });
    return printLine(
      formatTable(
        ['run', 'state'],
        outcomes.map(({ name, state }) => [name, state]),
      ),
    );
  }
  cli.resumable = true;
  for (const [i, { name, recipe }] of runs.entries()) {
    cli.progress.say(`Run ${i + 1} of ${runs.length}: ${name}`);
    Object.assign(outcomes[i]!, await runOne(outcomes[i]!.directory, recipe, cli));
  }
  await compare(folder, outcomes, flags);
  const failed = outcomes.filter(({ state }) => state === 'failed');
  if (failed.length > 0) process.exitCode = 1;
}

/** @throws RunError for a mistake in any of the recipes, before one of them runs */
async function runsOf(file: string): Promise<SweepRun[]> {
  const text = await readText(file, 'recipe').catch((cause: unknown) => {
    const { reason } = cause as FileError;
    throw new RunError('ERR_RECIPE', `Cannot read the sweep ${file}: ${reason}.`, { cause });
  });
  const parsed = parseSweep(text, file);
  const beside = resolve(dirname(file), parsed.recipe);
  const { file: name, text: recipe } = await readRecipe(
    existsSync(beside) ? beside : parsed.recipe,
  );
  return sweepRuns(parsed, recipe, name);
}

function stateOf(directory: string): State {
  if (existsSync(join(directory, SUMMARY))) return 'finished';
  return isRun(directory) ? 'begun' : 'not begun';
}

/** Does one run. A failure is reported and does not stop the others. @throws Interrupted */
async function runOne(
  directory: string,
  recipe: SweepRun['recipe'],
  { signal, progress }: Cli,
): Promise<Pick<Outcome, 'state' | 'error'>> {
  try {
    const onModelProgress = modelProgress(progress);
    for await (const event of run(recipe, { directory, signal, onModelProgress })) {
      showEvent(progress, event);
      if (event.type === 'run_finished' && event.already) progress.say('finished before');
    }
    return { state: 'finished' };
  } catch (error) {
    if (error instanceof Interrupted || signal.aborted) throw error;
    const { message } = error as Error;
    progress.warn(`${directory} failed: ${message}`);
    return { state: 'failed', error: message };
  } finally {
    progress.stop();
  }
}

async function compare(folder: string, outcomes: Outcome[], { json }: Flags): Promise<void> {
  const begun = outcomes.filter(({ directory }) => isRun(directory));
  if (begun.length === 0)
    throw new RunError('ERR_RUN_DATA', `No run of ${folder} could begin; see the warnings above.`);
  const compared = compareRuns(begun.map(({ directory }) => directory));
  const report = join(folder, COMPARISON);
  await writeAtomic(report, comparePage(compared));
  const { groups, differing } = compared;
  if (json) return printJson({ directory: folder, runs: outcomes, groups, differing, report });
  printLine(groupTable(groups));
  for (const { name, error } of outcomes.filter(({ state }) => state === 'failed'))
    printLine(`${name} failed: ${error}`);
  printLine(`Report: ${report}`);
}
