/**
 * `cream report RUN…`: report.html and the table of a run, finished or not; or runs compared; or,
 * with `--live`, a page that follows a run at work.
 */
import { RunError } from '../../run/errors.js';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { comparePage } from '../../report/compare-page.js';
import { compareRuns, type RunComparison } from '../../report/compare.js';
import { readRun, withExamples, type RunReport } from '../../report/metrics.js';
import { reportPage } from '../../report/page.js';
import { PAGE_PROMPTS } from '../../report/sample-list.js';
import { EXAMPLES } from '../../report/samples.js';
import { isRun, requireRun } from '../../run/run-folder.js';
import { stoppable } from '../../run/errors.js';
import { damagesAtRest } from '../../run/recorded.js';
import { COMPARISON, REPORT } from '../../run/store.js';
import { portNumber, refuseIdle, type Cli } from '../cli.js';
import { endedBySignals } from '../exit.js';
import { listen } from '../listen.js';
import { outputOf, writeOutput } from '../output.js';
import { formatTable, groupTable, percent, printJson, printLine, runTable } from '../table.js';

/** Damages that are listed one by one. */
const MOST_DAMAGES = 3;

interface Flags {
  json?: boolean;
  out?: string;
  output?: string;
  live?: boolean;
  host: string;
  port: number;
}

export function addReport(program: Command, cli: Cli): void {
  const command = program
    .command('report')
    .description(
      'write report.html of a run and print its table, compare several runs, or show a run while ' +
        'it works (--live)',
    )
    .argument('<run...>', 'run directories, or a folder of them, finished or not')
    .option('-o, --out <file>', 'the page [report.html in the run; of several runs compare.html]')
    .addOption(new Option('--output <file>', 'the former name of --out').hideHelp())
    .option('--json', 'print the numbers as JSON')
    .option('--live', 'serve the page of one run, which follows it until Ctrl-C; writes nothing')
    .option('--host <address>', 'with --live: the address to listen on', '127.0.0.1')
    .option('--port <number>', 'with --live: the port; 0 takes a free one', portNumber, 8001)
    .action(async (directories: string[], { output: former, ...given }: Flags) => {
      const out = given.out ?? former;
      const flags = { ...given, ...(out !== undefined && { out }) };
      if (!flags.live) refuseIdle(command, ['host', 'port'], 'without --live');
      if (flags.live) return live(directories, flags, cli);
      const runs = directories.flatMap(runsIn);
      runs.forEach(requireRun);
      for (const run of runs) await warnOfDamage(run, cli);
      const compares = directories.length === 1 && isCompared(directories[0]!);
      if (runs.length === 1 && !compares) return one(runs[0]!, flags, cli);
      const compared = endedBySignals(() => compareRuns(runs));
      // The page of a folder of runs, such as a sweep's, is written into that folder.
      const own = directories.length === 1 ? join(directories[0]!, COMPARISON) : COMPARISON;
      const path = flags.out ?? own;
      const output = outputOf(path);
      await writeOutput(output, comparePage(compared), cli.signal);
      if (output.kind === 'stdout') return;
      if (flags.json) return printJson({ report: path, ...compared });
      printLine(compareTable(compared));
      if (compared.groups.some((group) => group.runs.length > 1))
        printLine(`\n${groupTable(compared.groups)}`);
      printLine(`Report: ${path}`);
    });
}

/** Whether the folder holds the comparison of its runs, as that of a sweep does, also of one. */
const isCompared = (directory: string): boolean =>
  !isRun(directory) && existsSync(join(directory, COMPARISON));

/** A folder that is no run stands for the runs in it, if there are any. */
function runsIn(directory: string): string[] {
  const isFolder = statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isFolder || isRun(directory)) return [directory];
  const entries = readdirSync(directory, { withFileTypes: true });
  const found = entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(directory, name))
    .filter(isRun)
    .sort();
  return found.length > 0 ? found : [directory];
}

async function live(directories: string[], flags: Flags, { signal }: Cli): Promise<void> {
  const [directory, ...others] = directories;
  if (flags.out !== undefined)
    throw new RunError('ERR_RECIPE', '--live writes no file: leave --out out.');
  if (others.length > 0)
    throw new RunError('ERR_RECIPE', '--live follows one run; name one run directory.');
  const { createLiveApp } = await import('../../report/live.js');
  const app = createLiveApp(directory!, { signal });
  await listen(app, flags, signal, (url) =>
    printLine(flags.json ? JSON.stringify({ url }) : `Following ${directory} at ${url}/`),
  );
}

/** The page shows what is on disk; what is not as the run wrote it is said beside it. */
async function warnOfDamage(directory: string, { signal, progress }: Cli): Promise<void> {
  const damages = await stoppable(signal, () => damagesAtRest(directory, signal));
  for (const { file, what, remedy } of damages.slice(0, MOST_DAMAGES))
    progress.warn(`${join(directory, file)} ${what}: ${remedy}.`);
  if (damages.length > MOST_DAMAGES)
    progress.warn(`${damages.length} files are damaged: \`cream verify ${directory}\` lists them.`);
}

async function one(directory: string, flags: Flags, { signal }: Cli): Promise<void> {
  const output = outputOf(flags.out ?? join(directory, REPORT));
  const { run, path } = await writeReport(directory, signal, output);
  if (output.kind === 'stdout') return;
  if (flags.json) return printJson({ report: path, ...run });
  printLine(runTable(run.phases));
  printLine(`Report: ${path}`);
}

/**
 * Writes the report again from the run directory; the returned run has a few examples per
 * iteration.
 */
export async function writeReport(
  directory: string,
  signal: AbortSignal,
  output = outputOf(join(directory, REPORT)),
): Promise<{ run: RunReport; path: string }> {
  const { run, page } = endedBySignals(() => {
    const read = readRun(directory, { examples: PAGE_PROMPTS });
    return { run: read, page: reportPage(read) };
  });
  await writeOutput(output, page, signal);
  return { run: withExamples(run, EXAMPLES), path: output.path };
}

/** One row per run: its last model, and the difference to the first run on the same questions. */
function compareTable({ runs, pairs }: RunComparison): string {
  return formatTable(
    ['run', 'model', 'accuracy', '95 % interval', 'mean C', 'against the first', 'p'],
    runs.map(({ label, report, last }) => {
      const accuracy = last?.accuracy;
      const ranking = report.phases.findLast((phase) => phase.ranking)?.ranking;
      const pair = pairs.find(({ a, b }) => a === runs[0]!.label && b === label);
      return [
        label,
        last?.label ?? '',
        accuracy ? percent(accuracy.accuracy) : '',
        accuracy ? `${percent(accuracy.low)} – ${percent(accuracy.high)}` : '',
        ranking?.consistency?.toFixed(3) ?? '',
        pair ? `${(pair.comparison.difference * 100).toFixed(1)} points` : '',
        pair ? pair.comparison.p.toFixed(3) : '',
      ];
    }),
  );
}
