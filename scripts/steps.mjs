// Shared by the set-up scripts: announcing a step, running a command, failing with one sentence.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** A clone has the lockfile, which npm includes in no package. */
export const isClone = existsSync(join(root, 'package-lock.json'));

/** Folder of an npm package that we depend on; npm may have installed it above our own. */
export function packageFolder(name) {
  try {
    return dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`));
  } catch {
    throw new SetupError(`The npm package ${name} is not installed. Run \`npm install\` again.`);
  }
}

/** The folder of downloads: CREAM_CACHE, else the user's cache folder. */
export function cacheDir() {
  return (
    process.env.CREAM_CACHE ||
    join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cream-lm')
  );
}

export function say(text) {
  process.stderr.write(`[setup] ${text}\n`);
}

/** A failure that the user can act on: printed without a stack. */
export class SetupError extends Error {}

/**
 * Runs a command in the project, with its output on our terminal; `quiet` shows the output only if
 * it fails, `silent` never.
 */
export function runStep(
  command,
  args,
  { quiet = false, silent = false, env = {}, cwd = root, hint } = {},
) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 2, 2],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (result.error?.code === 'ENOENT')
    throw new SetupError(`${command} was not found. ${hint ?? ''}`.trim());
  if (result.error) throw result.error;
  if (result.status !== 0) {
    if (quiet && !silent) process.stderr.write(`${result.stdout}${result.stderr}`);
    throw new SetupError(
      `${[command, ...args].join(' ')} failed with ` +
        `${result.signal ?? `code ${result.status}`}. ${hint ?? 'The output above says why.'}`,
    );
  }
  return result.stdout ?? '';
}

/** Standard output of a command, or null if it cannot run. */
export function probe(command, args) {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return result.status === 0 ? result.stdout.trim() : null;
}

/** Newest modification time (ms) below the given files and folders; 0 if none exist. */
export function newest(...paths) {
  let latest = 0;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const stat = statSync(path);
    latest = Math.max(latest, stat.mtimeMs);
    if (stat.isDirectory())
      for (const entry of readdirSync(path)) latest = Math.max(latest, newest(join(path, entry)));
  }
  return latest;
}

/** Runs main() and turns a SetupError into one line and exit code 1. */
export async function runMain(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`[setup] ${error.message}\n`);
    process.exit(1);
  }
}
