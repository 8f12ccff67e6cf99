// Functions that the experiments share: runs and commands whose finished results are kept.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { text as streamText } from 'node:stream/consumers';
import { root, say, SetupError } from '../steps.mjs';

/**
 * Runs commands of cream, at most `jobs` at a time; once one has failed no other is begun. The
 * output of a command goes to standard error or, if several run together, to its `log`.
 */
export function commands(jobs = 1) {
  const waiting = [];
  let running = 0;
  let failed = false;
  const place = () =>
    running < jobs ? void (running += 1) : new Promise((resolve) => waiting.push(resolve));
  const leave = () => {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  };
  /** Resolves to the standard output if `capture` is set. */
  async function cream(args, { capture = false, log } = {}) {
    await place();
    try {
      if (failed) throw new SetupError('Not begun, because another command failed.');
      return await oneCommand(args, capture, jobs > 1 ? log : undefined);
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      leave();
    }
  }
  /** `recipes/quickstart.yaml` with `settings` in `directory`; a finished run is kept. */
  async function trainRun(directory, settings) {
    if (existsSync(join(directory, 'summary.json'))) return;
    say(directory);
    const recipe = join(root, 'recipes/quickstart.yaml');
    const set = settings.flatMap((setting) => ['--set', setting]);
    await cream(['run', recipe, '--out', directory, ...set], { log: `${directory}.log` });
  }
  return { cream, trainRun };
}

async function oneCommand(args, capture, log) {
  if (log !== undefined) mkdirSync(dirname(log), { recursive: true });
  const output = log === undefined ? 2 : openSync(log, 'a');
  try {
    const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...args], {
      stdio: ['ignore', capture ? 'pipe' : output, output],
    });
    const text = capture ? streamText(child.stdout) : undefined;
    const [status, signal] = await once(child, 'close');
    if (status !== 0)
      throw new SetupError(
        `cream ${args.join(' ')} ended with ${signal ?? status}: see ` +
          `${log ?? 'above'}; the same command resumes.`,
      );
    return await text;
  } finally {
    if (log !== undefined) closeSync(output);
  }
}

/** All results; if some failed, the first failure, once none is left running. */
export async function everyOne(promises) {
  const results = await Promise.allSettled(promises);
  const failure = results.find(({ status }) => status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  return results.map(({ value }) => value);
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
