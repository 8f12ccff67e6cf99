/**
 * `cream bench`: speed and memory on this machine, alone or beside peers. bench/ does the work;
 * this command passes the flags on.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Argument, Option, type Command } from 'commander';
import { addon } from '../../engine/addon.js';
import { RunError } from '../../run/errors.js';
import { modelOrCheckpoint } from '../checkpoints.js';
import type { Cli } from '../cli.js';

const SUITE = fileURLToPath(new URL('../../../bench/index.mjs', import.meta.url));
const WORKS = ['roofline', 'generate', 'score', 'train', 'iteration', 'load', 'curves', 'ranks'];

export function addBench(program: Command, { signal }: Cli): void {
  program
    .command('bench')
    .description(
      "measure speed and memory as a share of this machine's peak, for all works or for one; " +
        '`curves` measures how the cost grows with prompts, N, length and model size, `ranks` ' +
        'compares two processes with one',
    )
    .addArgument(new Argument('[work]', 'what to measure').choices(WORKS))
    .option(
      '--peers',
      'alternate with transformers, TRL and llama.cpp, installed into .venv-bench and .node-bench',
    )
    .option('--json <file>', 'also write every sample as JSON; - prints it')
    .option(
      '--levels',
      'also with the kernels for processors without AMX, without AVX-512 BF16, and so on',
    )
    .option(
      '--kernels',
      "on a GPU, also where cream-lm's time goes, by kernel: one more trial of each case",
    )
    .option('--quick', 'tiny sizes, once: checks that everything runs, measures nothing')
    .option('--model <name>', 'measure another model [smollm2-135m-instruct]')
    .option('--device <name>', 'measure on cpu, cuda or cuda:N (docs/cuda.md) [cpu]')
    .option(
      '--shape <name>',
      'a Llama of random weights in place of the model: 30M, 135M, 360M, 1B, 8B',
    )
    .option('--repeat <n>', 'repetitions of every case')
    .addOption(new Option('--markdown', 'print tables as Markdown'))
    .action(async (work: string | undefined, flags: Record<string, string | boolean>) => {
      if (flags['model'] !== undefined && flags['shape'] !== undefined)
        throw new RunError(
          'ERR_RECIPE',
          '--model and --shape each name what is measured: leave one of them out.',
        );
      addon(); // reports a missing addon before any process starts
      const given = Object.entries(flags)
        .filter(([name]) => name !== 'verbose')
        .flatMap(([name, value]) => [
          `--${name}`,
          ...(typeof value !== 'string'
            ? []
            : [name === 'model' ? modelOrCheckpoint(value) : value]),
        ]);
      process.exitCode = await runSuite([...(work ? [work] : []), ...given], signal);
      signal.throwIfAborted();
    });
}

function runSuite(args: string[], signal: AbortSignal): Promise<number> {
  const child = spawn(process.execPath, [SUITE, ...args], { stdio: 'inherit' });
  signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 130));
  });
}
