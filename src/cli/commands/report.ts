/** `cream report RUN`: report.html and the table of a run, finished or not. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { readRun, type RunReport } from '../../report/metrics.js';
import { reportPage } from '../../report/page.js';
import { RunError } from '../../run/errors.js';
import { RECIPE, REPORT, writeAtomic } from '../../run/store.js';
import type { Cli } from '../cli.js';
import { printJson, printLine, runTable } from '../table.js';

export function addReport(program: Command, _cli: Cli): void {
  program
    .command('report')
    .description('write report.html of a run directory and print its table')
    .argument('<run>', 'the run directory; the run may still be at work')
    .option('--json', 'print the numbers as JSON')
    .action(async (directory: string, flags: { json?: boolean }) => {
      if (!existsSync(join(directory, RECIPE)))
        throw new RunError(
          'ERR_RUN_DATA',
          `${directory} is not a run directory: it has no ${RECIPE}.`,
        );
      const { run, path } = await writeReport(directory);
      if (flags.json) return printJson({ report: path, ...run });
      printLine(runTable(run.phases));
      printLine(`Report: ${path}`);
    });
}

/** Writes the report anew of what is there. */
export async function writeReport(directory: string): Promise<{ run: RunReport; path: string }> {
  const run = readRun(directory);
  const path = join(directory, REPORT);
  await writeAtomic(path, reportPage(run));
  return { run, path };
}
