/** `cream verify RUN`: checks whether the files of a run are those that it wrote; runs nothing. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { requireRun } from '../../run/run-folder.js';
import { RunError, stoppable } from '../../run/errors.js';
import { takeLock } from '../../run/lock.js';
import { Records } from '../../run/records.js';
import { LOCK } from '../../run/store.js';
import { acceptFiles, RUN_RECORDS, verifyFiles, type Damage } from '../../run/verify.js';
import type { Cli } from '../cli.js';
import { printJson, printLine } from '../table.js';

export function addVerify(program: Command, { signal }: Cli): void {
  program
    .command('verify')
    .description('check every file of a run against the record of what it wrote')
    .argument('<run>', 'the run directory')
    .option('--accept', 'record the files as they are, if they are known to be good')
    .option('--json', 'print the result as JSON')
    .action(async (directory: string, flags: { accept?: boolean; json?: boolean }) => {
      requireRun(directory);
      const release = lockIfWritable(directory, flags.accept === true);
      try {
        if (flags.accept) {
          const count = await stoppable(signal, () => acceptFiles(directory, signal));
          if (flags.json) return printJson({ directory, files: count, accepted: true });
          return printLine(`${count} files of ${directory} are recorded as they are.`);
        }
        const records = await Records.look(directory, RUN_RECORDS);
        if (!records)
          throw new RunError(
            'ERR_RUN_DATA',
            `${directory} has no record of its files to check them by: \`cream verify ` +
              `${directory} --accept\` makes one of the files as they are.`,
          );
        const damages = await stoppable(signal, () =>
          verifyFiles(records, { checkpoints: true, signal }),
        );
        show(directory, records, damages, flags.json === true);
      } finally {
        release();
      }
    });
}

/** A running run cannot be checked; a copy on a read-only disk can. */
function lockIfWritable(directory: string, needed: boolean): () => void {
  try {
    return takeLock(join(directory, LOCK));
  } catch (error) {
    if (needed || !(error instanceof RunError) || error.code !== 'ERR_DISK') throw error;
    return () => {};
  }
}

function show(directory: string, records: Records, damages: Damage[], json: boolean): void {
  const files = records.all().filter(({ pruned }) => !pruned).length;
  if (damages.length > 0) process.exitCode = 1;
  if (json) return printJson({ directory, files, damaged: damages });
  for (const { file, what, remedy } of damages) printLine(`${file} ${what}: ${remedy}`);
  if (damages.length === 0) printLine(`${files} files of ${directory} are as they were written.`);
}
