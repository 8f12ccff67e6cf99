// Everything a fresh clone needs: packages, libtorch, the addon, the compiled TypeScript. Safe to
// run again at any time; what is up to date is not touched. Uses Node's own modules only, since it
// runs before any package is installed.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { newest, probe, root, runMain, runStep, say, SetupError } from './steps.mjs';

const MINIMUM_NODE = [20, 19];

export async function setUp({ check = false } = {}) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1])) {
    throw new SetupError(
      `Node ${process.versions.node} is too old. Install Node ${MINIMUM_NODE.join('.')} or newer.`,
    );
  }
  installPackages();
  requirePython();
  const { buildAddon, buildTypeScript } = await import('./build.mjs');
  buildAddon({ check });
  buildTypeScript();
}

function installPackages() {
  const installed = join(root, 'node_modules/.package-lock.json');
  if (existsSync(installed) && newest(installed) >= newest(join(root, 'package-lock.json'))) return;
  say('installing npm packages');
  // No package of ours needs an install script; npm is told so, since newer versions of it refuse
  // them anyway.
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

if (import.meta.url === pathToFileURL(process.argv[1]).href)
  await runMain(() => setUp({ check: process.argv.includes('--check') }));
