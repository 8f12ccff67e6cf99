// Sets up everything that a fresh clone needs: packages, libtorch, the addon, the compiled
// TypeScript; in an installed package (`npx cream setup`) libtorch and the addon. It can be run
// again at any time and leaves up-to-date parts unchanged. It uses Node's own modules only, since
// it runs before any package is installed.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { pathToFileURL } from 'node:url';
import {
  cacheDir,
  isClone,
  newest,
  probe,
  root,
  runMain,
  runStep,
  say,
  SetupError,
} from './steps.mjs';

const MINIMUM_NODE = [20, 19];

export async function setUp({ check = false } = {}) {
  requireNode();
  installPackages();
  requirePython();
  const { buildAddon, buildTypeScript } = await import('./build.mjs');
  buildAddon({ check });
  buildTypeScript();
}

/**
 * Sets up an installed package: libtorch, and the addon if npm found no prebuilt one. Prints its
 * plan, and asks for confirmation on a terminal.
 */
async function setUpPackage({ build, dryRun, yes, json, prebuilt }) {
  requireNode();
  const { CPU_SIZE, CUDA_SIZE, TORCH_VERSION, CUDA_TORCH_VERSION, cudaChosen, findLibtorch } =
    await import('./libtorch.mjs');
  const cuda = cudaChosen();
  const compile = build || cuda || !prebuilt;
  const torch = findLibtorch({ fetch: false });
  const version = cuda ? CUDA_TORCH_VERSION : TORCH_VERSION;
  say(
    torch
      ? `libtorch ${torch.version} is there (${torch.source}: ${torch.root})`
      : `libtorch ${version} for ${cuda ? 'CUDA' : 'the CPU'} will be fetched with pip into ` +
          `${cacheDir()}: ${cuda ? CUDA_SIZE : CPU_SIZE}`,
  );
  say(
    compile
      ? `the addon will be compiled in ${join(root, 'build')} if it is not up to date, with ` +
          'CMake and a C++20 compiler: a few minutes, 100 MB on disk'
      : `the addon is there, prebuilt: ${prebuilt}`,
  );
  const addon = compile ? join(root, 'build/Release/cream.node') : prebuilt;
  if (dryRun || (!torch && !(await agreed(yes)))) {
    if (json) printResult({ done: false, torch: torch ?? { version }, addon, compile });
    return;
  }
  if (!torch) requirePython();
  if (compile) (await import('./build.mjs')).buildAddon();
  else findLibtorch();
  if (json) printResult({ done: true, torch: findLibtorch({ fetch: false }), addon, compile });
  say('done; `npx cream doctor` shows what was found');
}

/** `--json`: the parts and where they are; libtorch's path is null before it is fetched. */
function printResult({ done, torch, addon, compile }) {
  const libtorch = {
    version: torch.version,
    path: torch.root ?? null,
    source: torch.source ?? null,
  };
  const result = { done, libtorch, addon: { path: addon, compiled: compile } };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
}

/** Without a terminal nobody can be asked, and running the command counts as consent. */
async function agreed(yes) {
  if (yes || !process.stdin.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question('[setup] go on? [Y/n] ');
  terminal.close();
  return !/^n/i.test(answer.trim());
}

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1])) {
    throw new SetupError(
      `Node ${process.versions.node} is too old. Install Node ${MINIMUM_NODE.join('.')} or newer.`,
    );
  }
}

function installPackages() {
  const installed = join(root, 'node_modules/.package-lock.json');
  if (existsSync(installed) && newest(installed) >= newest(join(root, 'package-lock.json'))) return;
  say('installing npm packages');
  // No package needs an install script; npm is told so, because newer versions refuse them anyway.
  runStep('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    quiet: true,
  });
}

function requirePython() {
  if (process.env.LIBTORCH) return;
  const python = process.env.PYTHON || 'python3';
  if (probe(python, ['-m', 'pip', '--version']) !== null) return;
  throw new SetupError(
    `${python} with pip was not found; it fetches libtorch and the default model. ` +
      'Install it, e.g. `apt-get install python3-pip`, or set PYTHON to one that has pip.',
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const given = (flag) => process.argv.includes(`--${flag}`);
  const prebuilt = process.argv.find((argument) => argument.startsWith('--prebuilt='))?.slice(11);
  await runMain(async () => {
    if (!isClone || given('dry-run'))
      return setUpPackage({
        build: given('build'),
        dryRun: given('dry-run'),
        yes: given('yes'),
        json: given('json'),
        prebuilt,
      });
    await setUp({ check: given('check') });
    if (!given('json')) return;
    const torch = (await import('./libtorch.mjs')).findLibtorch({ fetch: false });
    const addon = join(root, 'build/Release/cream.node');
    printResult({ done: true, torch, addon, compile: true });
  });
}
