// Functions that the experiments share: runs and commands whose finished results are kept.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, say, SetupError } from '../steps.mjs';

/** `recipes/quickstart.yaml` with `settings` in `directory`; a finished run is kept. */
export function trainRun(directory, settings) {
  if (existsSync(join(directory, 'summary.json'))) return;
  say(directory);
  const recipe = join(root, 'recipes/quickstart.yaml');
  cream(['run', recipe, '--out', directory, ...settings.flatMap((setting) => ['--set', setting])]);
}

/** Runs the command and returns its standard output if `capture` is set. */
export function cream(args, { capture = false } = {}) {
  const main = join(root, 'dist/cli/main.js');
  const { status, error, stdout } = spawnSync(process.execPath, [main, ...args], {
    stdio: ['ignore', capture ? 'pipe' : 2, 2],
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (error) throw error;
  if (status !== 0)
    throw new SetupError(
      `cream ${args.join(' ')} ended with ${status}: see above; the same command resumes.`,
    );
  return stdout;
}

/** The records of a JSONL file. */
export function readLines(file) {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line));
}

export const percent = (share) => (share * 100).toFixed(1);
export const signed = (share) => `${share < 0 ? '−' : '+'}${percent(Math.abs(share))}`;
export const shownP = (p) => (p < 0.001 ? '< 0.001' : p.toFixed(3));

/** A Markdown table with a title of level 4. */
export const table = (title, head, rows) =>
  [
    '',
    `#### ${title}`,
    '',
    `| ${head.join(' | ')} |`,
    `|${head.map(() => ' --- ').join('|')}|`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n');
