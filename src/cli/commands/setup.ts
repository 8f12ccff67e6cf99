/** `cream setup`: fetches libtorch, and builds the addon if npm found no prebuilt one. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { prebuiltAddon } from '../../engine/addon.js';
import type { Cli } from '../cli.js';

const SCRIPT = fileURLToPath(new URL('../../../scripts/setup.mjs', import.meta.url));

interface Flags {
  yes?: boolean;
  build?: boolean;
  cuda?: boolean;
  json?: boolean;
}

export function addSetup(program: Command, { signal }: Cli): void {
  program
    .command('setup')
    .description('fetch libtorch, and build the addon if none is prebuilt for this machine')
    .option('-y, --yes', 'do not ask before a download')
    .option('--build', 'build the addon even if a prebuilt one exists')
    .option('--cuda', 'fetch libtorch with CUDA and build for NVIDIA GPUs (docs/cuda.md)')
    .option('--dry-run', 'only print what would be fetched and built')
    .option('--json', 'print the result as JSON')
    .action(async (flags: Flags & { dryRun?: boolean }) => {
      const prebuilt = prebuiltAddon();
      const args = [
        ...(flags.yes ? ['--yes'] : []),
        ...(flags.build ? ['--build'] : []),
        ...(flags.dryRun ? ['--dry-run'] : []),
        ...(flags.json ? ['--json'] : []),
        ...(prebuilt === null ? [] : [`--prebuilt=${prebuilt}`]),
      ];
      const child = spawn(process.execPath, [SCRIPT, ...args], {
        stdio: 'inherit',
        env: { ...process.env, ...(flags.cuda && { CREAM_CUDA: '1' }) },
      });
      signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
      process.exitCode = await new Promise<number>((resolve) =>
        child.on('close', (code) => resolve(code ?? 1)),
      );
      signal.throwIfAborted();
    });
}
