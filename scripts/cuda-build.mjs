// `npm run build:cuda`: builds the engine and its native tests for NVIDIA GPUs into build-cuda/, so
// that the CPU build stays. No GPU is needed: the addon is loaded here and describes itself, and
// its file is searched for every kernel that the sources launch.
//   LIBTORCH=…/site-packages/torch npm run build:cuda
//       uses an existing libtorch; otherwise the pinned one is fetched (several GB)
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildAddon, buildTypeScript } from './build.mjs';
import { findLibtorch } from './libtorch.mjs';
import { probe, root, runMain, SetupError } from './steps.mjs';

export const FOLDER = 'build-cuda';
export const ADDON = join(root, FOLDER, 'Release/cream.node');

export function buildForCuda() {
  return buildAddon({
    check: true,
    folder: FOLDER,
    cuda: true,
    torch: findLibtorch({ cuda: true }),
  });
}

/**
 * The kernels that native/**\/*.cu launch: blocks by launch(XBlock…), and kernels written for nvcc.
 */
function launchedKernels() {
  const text = readdirSync(join(root, 'native'), { recursive: true })
    .filter((name) => /\.cuh?$/.test(name))
    .map((name) => readFileSync(join(root, 'native', name), 'utf8'))
    .join('\n');
  const found = (pattern) =>
    [...new Set([...text.matchAll(pattern)].map((match) => match[1]))].sort();
  const bounds = String.raw`(?:__launch_bounds__\([^)]*\)\s*)?`;
  return {
    blocks: found(/\blaunch\(\s*(?:\w+::)*(\w+)\s*[<{]/g),
    own: found(new RegExp(String.raw`__global__\s+${bounds}void\s+${bounds}(\w+)\(`, 'g')),
  };
}

/**
 * Name → number of its instances in the addon: nvcc leaves the mangled name of every kernel in the
 * file, each identifier preceded by its length.
 */
function linkedKernels({ blocks, own }) {
  const symbols = [
    ...new Set(
      readFileSync(ADDON)
        .toString('latin1')
        .match(/_Z[\w$.]{4,}/g) ?? [],
    ),
  ].filter((symbol) => !symbol.includes('__device_stub__'));
  const ofBlocks = symbols.filter((symbol) => symbol.includes('9run_blockI'));
  const count = (among, name) =>
    among.filter((symbol) => symbol.includes(`${name.length}${name}`)).length;
  return new Map([
    ...blocks.map((name) => [name, count(ofBlocks, name)]),
    ...own.map((name) => [name, count(symbols, name)]),
  ]);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runMain(async () => {
    buildForCuda();
    buildTypeScript();
    process.env.CREAM_ADDON = ADDON;
    const { engineInfo } = await import('../dist/index.js');
    const { torch, cuda } = engineInfo();
    if (!cuda.built) throw new SetupError(`${ADDON} loads, but was not built for CUDA.`);
    const kernels = linkedKernels(launchedKernels());
    const missing = [...kernels].filter(([, count]) => count === 0).map(([name]) => name);
    console.log(`addon     ${ADDON} loads, libtorch ${torch}`);
    console.log(`toolkit   CUDA ${cuda.toolkit}`);
    console.log(`compiled  ${cuda.architectures}`);
    console.log(
      `kernels   ${kernels.size - missing.length} of ${kernels.size}: ${[...kernels]
        .filter(([, count]) => count > 0)
        .map(([name, count]) => `${name} ×${count}`)
        .join(', ')}`,
    );
    console.log(
      'tests     ' + `${nativeCases(join(root, FOLDER, 'Release/cream_check'))} ` + 'native cases',
    );
    for (const gpu of cuda.gpus)
      console.log(
        `cuda:${gpu.index}    ${gpu.name}, compute capability ${gpu.computeCapability}, ` +
          `${(gpu.memoryBytes / 2 ** 30).toFixed(0)} GiB`,
      );
    if (cuda.gpus.length === 0) console.log(`no GPU    ${cuda.problem}`);
    if (missing.length > 0)
      throw new SetupError(
        `Not in the addon: ${missing.join(', ')}. Nothing that the addon links launches ` +
          `${missing.length === 1 ? 'it' : 'them'}.`,
      );
  });
}

function nativeCases(program) {
  return (probe(program, ['--list']) ?? '').split('\n').filter(Boolean).length;
}
