#!/usr/bin/env node
/**
 * `cream`: names → commands, exit codes, signals. Exit codes: 0 done, 1 failed, 2 wrong usage, 130
 * and 143 stopped by Ctrl-C and SIGTERM.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { endProcess, hasJoined, hasRanks, isSilentRank } from '../engine/ranks.js';
import { explainSystemError } from '../files/errors.js';
import { withoutSecrets } from '../files/secrets.js';
import { Interrupted } from '../run/errors.js';
import type { AddCommand, Cli } from './cli.js';
import { outputOf, refuseNoFolder, refuseOwnInput } from './output.js';
import { addBench } from './commands/bench.js';
import { addChat } from './commands/chat.js';
import { addCompletion } from './commands/completion.js';
import { addConvert } from './commands/convert.js';
import { addDoctor } from './commands/doctor.js';
import { addEval } from './commands/eval.js';
import { addGenerate } from './commands/generate.js';
import { addInit } from './commands/init.js';
import { addJudge } from './commands/judge.js';
import { addMerge } from './commands/merge.js';
import { addPlan } from './commands/plan.js';
import { addPrefer } from './commands/prefer.js';
import { addPush } from './commands/push.js';
import { addRankEval } from './commands/rank-eval.js';
import { addRecipes } from './commands/recipes.js';
import { addReport } from './commands/report.js';
import { addRun } from './commands/run.js';
import { addScore } from './commands/score.js';
import { addServe } from './commands/serve.js';
import { addSetup } from './commands/setup.js';
import { addSweep } from './commands/sweep.js';
import { addTrain } from './commands/train.js';
import { addVerify } from './commands/verify.js';
import { addWinRate } from './commands/win-rate.js';
import { endNow, EXIT_OF, leaveSoon, type StopSignal } from './exit.js';
import { Progress } from './progress.js';
import { jsonIsPrinted, printError, printLine } from './table.js';

const COMMANDS: readonly AddCommand[] = [
  addRun,
  addSweep,
  addGenerate,
  addScore,
  addJudge,
  addPrefer,
  addTrain,
  addMerge,
  addEval,
  addRankEval,
  addWinRate,
  addPlan,
  addReport,
  addVerify,
  addPush,
  addConvert,
  addDoctor,
  addBench,
  addRecipes,
  addInit,
  addSetup,
  addChat,
  addServe,
  addCompletion,
];
/** All others work in one process; several would write the same files. */
const ON_RANKS = ['run', 'plan', 'doctor', 'recipes', 'completion'];
/** Commands whose --out is a folder. */
const MAKES_FOLDER = ['run', 'sweep', 'train', 'merge'];
/**
 * npm and npx forward Ctrl-C in addition to the terminal, so a second signal within this time is
 * the same key press.
 */
const SAME_PRESS_MS = 500;
const STOPPED = 'Stopped; finished work is saved. Run the same command to resume.';
const LOST = 'Stopped; nothing computed since the start is saved. Run the same command again.';

surviveStreams();
process.exitCode = await main(process.argv.slice(2));
// A rank that fails must not wait for an operation of all ranks.
if (process.exitCode !== 0 && hasJoined()) endProcess(process.exitCode);

async function main(args: string[]): Promise<number> {
  const stop = new AbortController();
  const quiet = args.includes('--quiet') || isSilentRank();
  const progress = new Progress(process.stderr, undefined, quiet);
  const cli: Cli = { signal: stop.signal, progress };
  let stopped: { by: StopSignal; at: number } | undefined;
  let ended = false;
  const tellStopped = (): void => {
    if (ended) return; // the command has ended by itself, and only a call of the engine goes on
    ended = true;
    progress.stop();
    const told = cli.resumable ? STOPPED : LOST;
    progress.say(told);
    reportJson(args, 'ERR_INTERRUPTED', told);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stopped && performance.now() - stopped.at < SAME_PRESS_MS) return;
      if (stopped) endNow(signal);
      stopped = { by: signal, at: performance.now() };
      progress.say('Stopping after the current step … (once more stops at once)');
      stop.abort();
      // Ranks finish together what they have begun.
      if (!hasRanks()) leaveSoon(signal, tellStopped);
    });
  }
  try {
    await program(cli).parseAsync(args, { from: 'user' });
    ended = true;
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    progress.stop();
    // Another rank may be the one that was told to stop.
    if (error instanceof Interrupted || (stopped && stop.signal.aborted)) {
      tellStopped();
      return EXIT_OF[stopped?.by ?? 'SIGTERM'];
    }
    ended = true;
    return report(error, args);
  }
}

/**
 * If a reader closes the pipe (`| head`), the work continues, because its files are still wanted.
 * Results that cannot be written are a failure.
 */
function surviveStreams(): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    printError(`Cannot write to standard output: ${error.message}.`);
    process.exit(1);
  });
}

function program(cli: Cli): Command {
  const { version } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  const command = new Command('cream')
    .description(
      'Consistency-regularised self-rewarding language models: sample, judge and align on ' +
        'one native engine.',
    )
    .version(version)
    .option('--verbose', 'print the stack trace of an error')
    .option('--quiet', 'show results, warnings and errors only')
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ outputError: (text) => printError(text.replace(/^error: /, '').trimEnd()) });
  for (const add of COMMANDS) add(command, cli);
  command.hook('preAction', (_, action) => {
    refuseRanks(action.name());
    const [written, given] = filesOf(action);
    refuseOwnInput(written, given);
    const isFolder = MAKES_FOLDER.includes(action.name());
    for (const path of written) (isFolder ? refuseNoFolder : outputOf)(path);
  });
  for (const sub of command.commands)
    sub
      .exitOverride()
      .copyInheritedSettings(command)
      .option('--verbose', 'print the stack trace of an error')
      .option('--quiet', 'show results, warnings and errors only');
  return command;
}

/** The files that a command writes, and the names in all of its other flags and arguments. */
function filesOf(action: Command): [written: string[], given: string[]] {
  const { out, output, rankings, ...flags } = action.opts<Record<string, unknown>>();
  const args = action.processedArgs.slice() as unknown[];
  const written = [out, output, rankings, ...(action.name() === 'convert' ? args.splice(1) : [])];
  const texts = (values: unknown[]): string[] =>
    values.flat().filter((value) => typeof value === 'string');
  const given = texts([...args, ...Object.values(flags)]);
  // `cream eval --task name:source`
  const sources = given.map((name) => name.slice(name.indexOf(':') + 1));
  return [texts(written), [...given, ...sources]];
}

function refuseRanks(name: string): void {
  if (ON_RANKS.includes(name) || !hasRanks()) return;
  throw Object.assign(
    new Error(
      `cream ${name} works in one process, and WORLD_SIZE is ${process.env['WORLD_SIZE']}: ` +
        'start it without torchrun (unset WORLD_SIZE). `cream run` uses several processes.',
    ),
    { code: 'ERR_RECIPE' },
  );
}

/** Prints one sentence to stderr, the stack on request, and with --json the error as JSON. */
function report(thrown: unknown, args: readonly string[]): number {
  const error = explainSystemError(thrown);
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    reportJson(args, 'ERR_USAGE', error.message.replace(/^error: /, ''));
    return 2;
  }
  const verbose = args.includes('--verbose');
  const { code } = error as { code?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  reportJson(args, typeof code === 'string' ? code : 'ERR_FAILED', message);
  printError(verbose && error instanceof Error && error.stack ? error.stack : message);
  return code === 'ERR_RECIPE' ? 2 : 1;
}

/**
 * With --json, standard output is JSON even if the command fails: one line, unless the result has
 * been printed already. `cream bench --json` takes a file.
 */
function reportJson(args: readonly string[], code: string, message: string): void {
  if (!args.includes('--json') || args[0] === 'bench' || jsonIsPrinted()) return;
  if (isSilentRank()) return;
  printLine(JSON.stringify({ error: { code, message: withoutSecrets(message) } }));
}
