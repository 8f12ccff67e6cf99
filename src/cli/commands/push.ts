/** `cream push CHECKPOINT`: a checkpoint and its model card to the hub, on request only. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { REPOSITORY, upload } from '../../hub/upload.js';
import { CARD } from '../../run/card.js';
import { RunError, stoppable } from '../../run/errors.js';
import { Records } from '../../run/records.js';
import { RUN_RECORDS, verifyCheckpoint } from '../../run/verify.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import type { Cli } from '../cli.js';
import { printJson, printLine } from '../table.js';

interface Flags {
  to: string;
  private?: boolean;
  branch: string;
  message?: string;
  dryRun?: boolean;
  json?: boolean;
}

export function addPush(program: Command, cli: Cli): void {
  program
    .command('push')
    .description('upload a checkpoint and its model card to the Hugging Face hub')
    .argument('<checkpoint>', 'a checkpoint, or a run directory for its newest one')
    .requiredOption('--to <org/name>', 'the model repository; made if it does not exist')
    .option('--private', 'make a new repository private')
    .option('--branch <name>', 'the branch', 'main')
    .option('--message <text>', 'the message of the commit')
    .option('--dry-run', 'list what would be uploaded, and ask the hub for nothing')
    .option('--json', 'print the result as JSON')
    .action((name: string, flags: Flags) => push(name, flags, cli));
}

async function push(name: string, flags: Flags, { signal, progress }: Cli): Promise<void> {
  if (!REPOSITORY.test(flags.to))
    throw new RunError(
      'ERR_RECIPE',
      `'${flags.to}' is not of the form org/name: give the owner and the name in --to.`,
    );
  const folder = modelOrCheckpoint(name);
  const files = filesOf(folder);
  await checkRecorded(folder, signal);
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  if (!existsSync(join(folder, CARD)))
    progress.warn(`${folder} has no ${CARD}: the hub will show no model card.`);
  const told = { repository: flags.to, checkpoint: folder, files: files.map((f) => basename(f)) };
  if (flags.dryRun) {
    if (flags.json) return printJson({ ...told, bytes });
    for (const file of told.files) printLine(file);
    return printLine(
      `${files.length} files, ${(bytes / 1e6).toFixed(1)} MB, would go to ${flags.to}.`,
    );
  }
  progress.start({ group: flags.to, stage: 'upload', unit: 'files', done: 0, total: files.length });
  const done = new Set<string>();
  const { url, commit, created } = await stoppable(signal, () =>
    upload({
      repository: flags.to,
      files,
      message: flags.message ?? `Upload ${basename(resolve(name))} with cream-lm`,
      isPrivate: flags.private === true,
      branch: flags.branch,
      signal,
      onProgress: (file, share) => {
        if (share >= 1) done.add(file);
        progress.update(done.size, files.length, 0);
      },
    }),
  );
  progress.stop();
  if (flags.json) return printJson({ ...told, bytes, url, commit, created });
  printLine(`${url} has ${files.length} files of ${folder}, commit ${commit.slice(0, 12)}.`);
}

/** @throws RunError if `folder` is no checkpoint */
function filesOf(folder: string): string[] {
  const names = existsSync(folder) && statSync(folder).isDirectory() ? readdirSync(folder) : [];
  if (!names.some((name) => name === 'config.json' || name === 'adapter_config.json'))
    throw new RunError(
      'ERR_RUN_DATA',
      `${folder} is not a checkpoint: it has no config.json. Name a run directory or a folder ` +
        'such as runs/mine/iteration-2/checkpoint.',
    );
  return names
    .sort()
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/** A checkpoint of a run must be as the run wrote it. */
async function checkRecorded(folder: string, signal: AbortSignal): Promise<void> {
  const run = dirname(dirname(resolve(folder)));
  const records = await Records.look(run, RUN_RECORDS);
  if (records) await stoppable(signal, () => verifyCheckpoint(records, resolve(folder), signal));
}
