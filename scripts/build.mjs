// Builds what is out of date: the addon through cmake-js, the TypeScript through tsc. `--check` adds the native tests.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findLibtorch } from './libtorch.mjs';
import { newest, probe, root, runMain, runStep, say, SetupError } from './steps.mjs';

const INSTALL = {
  cmake: 'Install CMake 3.18 or newer, e.g. `apt-get install cmake` or `pip install cmake`.',
  compiler: 'Install a C++20 compiler, e.g. `apt-get install g++` (GCC 11 or newer) or `xcode-select --install`.',
};

/** Builds the addon if a source, libtorch or Node's ABI changed; returns whether it did. */
export function buildAddon({ check = false } = {}) {
  const torch = findLibtorch();
  const stampFile = join(root, 'build/stamp.json');
  const sources = ['native', 'CMakeLists.txt', 'package.json', ...(check ? ['test/native'] : [])].map((path) => join(root, path));
  const stamp = JSON.stringify({ torch: torch.root, version: torch.version, node: process.versions.modules, newest: newest(...sources), check });
  const built = existsSync(stampFile) ? readFileSync(stampFile, 'utf8') : '';
  if (existsSync(join(root, 'build/Release/cream.node')) && (built === stamp || built === stamp.replace('"check":false', '"check":true'))) return false;

  requireTools();
  if (built && JSON.parse(built).torch !== torch.root) rmSync(join(root, 'build/cmake'), { recursive: true, force: true });
  // cmake-js configures only where there is no cache: a changed option would not reach CMake.
  if (built && JSON.parse(built).check !== check) rmSync(join(root, 'build/cmake/CMakeCache.txt'), { force: true });
  say(`building the addon against libtorch ${torch.version} (${torch.source}); the first time takes a few minutes`);
  const started = Date.now();
  const ninja = probe('ninja', ['--version']) !== null;
  // cmake-js finds the N-API headers in node-api-headers: nothing is downloaded.
  runStep(process.execPath, [join(root, 'node_modules/cmake-js/bin/cmake-js'), 'build', '--out', join(root, 'build/cmake'),
    ...(ninja ? ['-G', 'Ninja'] : []), '--parallel', String(availableParallelism()),
    `--CDTORCH_ROOT=${torch.root}`, `--CDNODE_ADDON_API_DIR=${join(root, 'node_modules/node-addon-api')}`,
    `--CDCREAM_CHECK=${check ? 'ON' : 'OFF'}`], { quiet: !process.env.CREAM_VERBOSE });
  mkdirSync(join(root, 'build'), { recursive: true });
  writeFileSync(stampFile, stamp);
  say(`addon built in ${Math.round((Date.now() - started) / 1000)} s`);
  return true;
}

function requireTools() {
  const cmake = /(\d+)\.(\d+)/.exec(probe('cmake', ['--version']) ?? '');
  if (!cmake) throw new SetupError(`CMake was not found. ${INSTALL.cmake}`);
  if (Number(cmake[1]) < 3 || (Number(cmake[1]) === 3 && Number(cmake[2]) < 18)) throw new SetupError(`CMake ${cmake[0]} is too old. ${INSTALL.cmake}`);
  const compiler = process.env.CXX || 'c++';
  if (probe(compiler, ['--version']) === null) throw new SetupError(`The C++ compiler '${compiler}' was not found. ${INSTALL.compiler}`);
}

/** Compiles src/ to dist/ if it changed. */
export function buildTypeScript() {
  const stamp = join(root, 'dist/.built');
  if (existsSync(stamp) && newest(stamp) > newest(join(root, 'src'), join(root, 'tsconfig.json'))) return false;
  say('compiling TypeScript');
  runStep(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json']);
  writeFileSync(stamp, '');
  return true;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runMain(() => {
    buildAddon({ check: process.argv.includes('--check') });
    // binding.gyp asks for the addon alone: npm may not have installed the compiler of TypeScript yet.
    if (!process.argv.includes('--addon-only')) buildTypeScript();
  });
}
