// Builds the parts that are out of date: the addon through cmake-js, the TypeScript through tsc.
// `--check` adds the native tests. The addon is built for NVIDIA GPUs if libtorch and nvcc support
// them (CREAM_CUDA=0: never; CREAM_CUDA=1: stop with the reason if they do not).
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { fetchGloo, findGloo } from './gloo.mjs';
import { findLibtorch } from './libtorch.mjs';
import {
  isClone,
  newest,
  packageFolder,
  probe,
  root,
  runMain,
  runStep,
  say,
  SetupError,
} from './steps.mjs';

const INSTALL = {
  cmake: 'Install CMake 3.18 or newer, e.g. `apt-get install cmake` or `pip install cmake`.',
  compiler:
    'Install a C++20 compiler, e.g. `apt-get install g++` (GCC 11 or newer) or ' +
    '`xcode-select --install`.',
};

/**
 * Builds the addon into `folder` if a source, libtorch or Node's ABI changed; returns whether it
 * did. `cuda`: true if it must be for GPUs, false if it must not, undefined if it should be when
 * possible.
 */
export function buildAddon({
  check = false,
  folder = 'build',
  cuda = { 0: false, 1: true }[process.env.CREAM_CUDA],
  torch = findLibtorch(),
} = {}) {
  const nvcc = findNvcc();
  const obstacle = cudaObstacle(torch, nvcc);
  if (cuda === undefined && torch.cuda !== null && obstacle)
    say(`building without CUDA: ${obstacle}`);
  if (cuda === true && obstacle)
    throw new SetupError(`The addon cannot be built for CUDA: ${obstacle}.`);
  const withCuda = cuda !== false && obstacle === null;
  const out = join(root, folder);
  const stampFile = join(out, 'stamp.json');
  const sources = [
    'native',
    'CMakeLists.txt',
    'package.json',
    ...(check ? ['test/native'] : []),
  ].map((path) => join(root, path));
  const now = {
    torch: torch.root,
    version: torch.version,
    node: process.versions.modules,
    newest: newest(...sources),
    check,
    cuda: withCuda ? nvcc.version : null,
    chosen: torch.chosen ?? 'cpu',
    gloo: findGloo(),
    unity: process.env.CREAM_UNITY !== '0',
  };
  const built = existsSync(stampFile) ? readFileSync(stampFile, 'utf8') : '';
  const same = (checked) => built === JSON.stringify({ ...now, check: checked });
  if (existsSync(join(out, 'Release/cream.node')) && (same(check) || same(true))) return false;

  requireTools();
  now.gloo = fetchGloo();
  const before = built ? JSON.parse(built) : undefined;
  if (before && (before.torch !== now.torch || (before.cuda ?? null) !== now.cuda))
    rmSync(join(out, 'cmake'), { recursive: true, force: true });
  // cmake-js configures only if there is no cache: a changed option would not reach CMake. A build
  // that failed left a cache but no stamp.
  if (!before || ['check', 'gloo', 'unity'].some((key) => before[key] !== now[key]))
    rmSync(join(out, 'cmake/CMakeCache.txt'), { force: true });
  say(
    `building the addon against libtorch ${torch.version} (${torch.source}) for ` +
      `${withCuda ? `the CPU and CUDA, kernels by nvcc ${nvcc.version}` : 'the CPU'}; the ` +
      'first time takes a few minutes',
  );
  const started = Date.now();
  const ninja = probe('ninja', ['--version']) !== null;
  // cmake-js finds the N-API headers in node-api-headers, so nothing is downloaded.
  runStep(
    process.execPath,
    [
      join(packageFolder('cmake-js'), 'bin/cmake-js'),
      'build',
      '--out',
      join(out, 'cmake'),
      ...(ninja ? ['-G', 'Ninja'] : []),
      '--parallel',
      String(availableParallelism()),
      `--CDTORCH_ROOT=${torch.root}`,
      `--CDNODE_ADDON_API_DIR=${packageFolder('node-addon-api')}`,
      `--CDCREAM_OUTPUT=${join(out, 'Release')}`,
      `--CDCREAM_CHECK=${check ? 'ON' : 'OFF'}`,
      `--CDCREAM_CUDA=${withCuda ? 'ON' : 'OFF'}`,
      `--CDCREAM_UNITY=${now.unity ? 'ON' : 'OFF'}`,
      `--CDGLOO_INCLUDE=${now.gloo ?? ''}`,
      ...(nvcc ? [`--CDNVCC=${nvcc.path}`] : []),
    ],
    { quiet: !process.env.CREAM_VERBOSE },
  );
  mkdirSync(out, { recursive: true });
  writeFileSync(stampFile, JSON.stringify(now));
  say(`addon built in ${Math.round((Date.now() - started) / 1000)} s`);
  return true;
}

/** → { path, version }, or null. */
function findNvcc() {
  const known = [
    ...['CUDA_HOME', 'CUDA_PATH'].flatMap((name) =>
      process.env[name] ? [join(process.env[name], 'bin/nvcc')] : [],
    ),
    'nvcc',
    '/usr/local/cuda/bin/nvcc',
  ];
  for (const path of known) {
    const version = /release (\d+\.\d+)/.exec(probe(path, ['--version']) ?? '')?.[1];
    if (!version) continue;
    // The nvcc on the PATH may be a script that calls one elsewhere, for which CMake finds no
    // toolkit; nvcc itself prints its location.
    const here = /_HERE_=(.+)/.exec(
      probe('sh', ['-c', '"$0" --dryrun -c -x cu /dev/null -o /dev/null 2>&1', path]) ?? '',
    )?.[1];
    return { path: here ? join(here, 'nvcc') : path, version };
  }
  return null;
}

/**
 * The reason why the addon cannot be built for GPUs with these two, as a clause; null if it can.
 */
export function cudaObstacle(torch, nvcc) {
  if (torch.cuda === null)
    return (
      `the libtorch of ${torch.source} (${torch.version}) is for the CPU; run \`npx cream setup ` +
      `--cuda\`, or set LIBTORCH to one with CUDA`
    );
  if (nvcc === null)
    return `nvcc was not found; install the CUDA toolkit ${torch.cuda}, or set CUDA_HOME to it`;
  const major = (version) => version.split('.')[0];
  if (/^\d/.test(torch.cuda) && major(torch.cuda) !== major(nvcc.version))
    return (
      `libtorch was built with CUDA ${torch.cuda} and nvcc is of ${nvcc.version}; set ` +
      `CUDA_HOME to a toolkit ${major(torch.cuda)}.x`
    );
  return null;
}

function requireTools() {
  const cmake = /(\d+)\.(\d+)/.exec(probe('cmake', ['--version']) ?? '');
  if (!cmake) throw new SetupError(`CMake was not found. ${INSTALL.cmake}`);
  if (Number(cmake[1]) < 3 || (Number(cmake[1]) === 3 && Number(cmake[2]) < 18))
    throw new SetupError(`CMake ${cmake[0]} is too old. ${INSTALL.cmake}`);
  const compiler = process.env.CXX || 'c++';
  if (probe(compiler, ['--version']) === null)
    throw new SetupError(`The C++ compiler '${compiler}' was not found. ${INSTALL.compiler}`);
}

/**
 * Compiles src/ to dist/ if it changed, and removes files from dist/ whose sources no longer exist.
 */
export function buildTypeScript() {
  const stamp = join(root, 'dist/.built');
  if (existsSync(stamp) && newest(stamp) > newest(join(root, 'src'), join(root, 'tsconfig.json')))
    return false;
  say('compiling TypeScript');
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  runStep(process.execPath, [join(packageFolder('typescript'), 'bin/tsc'), '-p', 'tsconfig.json']);
  runStep(process.execPath, [join(root, 'scripts/commonjs.mjs')]);
  writeFileSync(stamp, '');
  return true;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runMain(() => {
    const only = (what) => process.argv.includes(`--${what}-only`);
    if (!only('typescript')) buildAddon({ check: process.argv.includes('--check') });
    // binding.gyp asks only for the addon, because npm may not have installed TypeScript yet.
    if (!only('addon') && isClone) buildTypeScript();
  });
}
