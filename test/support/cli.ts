/** Runs the built command line in a process of its own. */
import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

const CODE_OF: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 };

/** The environment of a command whose output is compared: it has no colours. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, NO_COLOR: '1' });

/** A process of `cream` with these arguments that waits for standard input. */
export const openCream = (...args: string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [MAIN, ...args], { env: environment() });

/** Starts `cream` with these arguments, by the command `through` where there is one. */
export function startCream(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  cwd?: string,
  through: readonly string[] = [],
): { child: ChildProcess; finished: Promise<Finished> } {
  const [program, ...rest] = [...through, process.execPath, MAIN, ...args];
  const child = spawn(program!, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...environment(), ...env },
    ...(cwd !== undefined && { cwd }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const finished = new Promise<Finished>((resolve) =>
    child.on('close', (code, signal) =>
      // As a shell reports it: a command that does not stop in time is left to the signal.
      resolve({ code: code ?? (signal && CODE_OF[signal]) ?? null, signal, stdout, stderr }),
    ),
  );
  return { child, finished };
}

export const cream = (...args: string[]): Promise<Finished> => startCream(args).finished;

/**
 * SHA-256 by path of every file of a run directory, except for what depends on the time of the run:
 * its events, its report, and the `perf/` columns of its metrics.
 */
export function artefacts(directory: string): Record<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  return Object.fromEntries(
    files
      .filter((name) => !/^(events\.jsonl|report\.html|tensorboard\/.*)$/.test(name))
      .sort()
      .map((name) => [
        name,
        createHash('sha256')
          .update(
            name === 'metrics.jsonl'
              ? readFileSync(join(directory, name), 'utf8').replace(/,"perf\/\w+":[^,}]+/g, '')
              : readFileSync(join(directory, name)),
          )
          .digest('hex'),
      ]),
  );
}
