// Finds libtorch, or fetches the pinned CPU wheel once into the user's cache. In order:
//   LIBTORCH                     a folder with include/ and lib/ (an unpacked libtorch, or site-packages/torch)
//   LIBTORCH_USE_PYTORCH=1       the torch package of the Python on PATH
//   the cache                    <cache>/libtorch-<version>
//   pip download                 the pinned wheel, of which only include/ and lib/ are unpacked
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheDir, probe, runMain, runStep, say, SetupError } from './steps.mjs';

export const TORCH_VERSION = '2.13.0';
/** Where PyTorch publishes the wheels with CPU libraries only; PyPI has them for some platforms. */
const CPU_INDEX = 'https://download.pytorch.org/whl/cpu';
export const python = process.env.PYTHON || 'python3';

/** → { root, version, source }: root holds include/ and lib/. */
export function findLibtorch({ fetch = true } = {}) {
  if (process.env.LIBTORCH) return checked(process.env.LIBTORCH, 'LIBTORCH');
  if (process.env.LIBTORCH_USE_PYTORCH === '1') {
    // find_spec does not import torch, which takes seconds.
    const path = probe(python, ['-c', "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"]);
    if (!path) throw new SetupError(`LIBTORCH_USE_PYTORCH=1, but ${python} has no torch. Run '${python} -m pip install torch==${TORCH_VERSION}', or unset it.`);
    return checked(path, `the torch of ${python}`);
  }
  const cached = join(cacheDir(), `libtorch-${TORCH_VERSION}`);
  if (!existsSync(cached)) {
    if (!fetch) return null;
    fetchWheel(cached);
  }
  return checked(cached, 'the cache');
}

function checked(root, source) {
  for (const part of ['include/ATen/ATen.h', `lib/${libraryName('torch_cpu')}`, `lib/${libraryName('c10')}`]) {
    if (existsSync(join(root, part))) continue;
    throw new SetupError(`libtorch from ${source} (${root}) is not usable: ${part} is missing. ` +
      (source === 'the cache' ? 'Delete that folder and run the set-up again.' : 'Point LIBTORCH to the folder that holds include/ and lib/, or unset it.'));
  }
  return { root, version: readVersion(root), source };
}

export function libraryName(name) {
  return process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`;
}

function readVersion(root) {
  const file = join(root, 'version.py');
  const match = existsSync(file) ? /__version__ = '([^']+)'/.exec(readFileSync(file, 'utf8')) : null;
  if (match) return match[1];
  const header = join(root, 'include/torch/headeronly/version.h');
  const text = existsSync(header) ? readFileSync(header, 'utf8') : '';
  const part = (name) => new RegExp(`#define TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1];
  return part('MAJOR') ? `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` : 'unknown';
}

/** The wheel does not depend on the user's Python: any tag that holds the library will do. */
function wheelPlatform() {
  const known = {
    'linux-x64': ['manylinux_2_28_x86_64', ['+cpu', '']],
    'linux-arm64': ['manylinux_2_28_aarch64', ['+cpu', '']],
    'darwin-arm64': ['macosx_11_0_arm64', ['']],
  }[`${process.platform}-${process.arch}`];
  if (known) return known;
  throw new SetupError(`There is no pinned libtorch for ${process.platform}-${process.arch}. Install one and set LIBTORCH to the folder that holds include/ and lib/.`);
}

function fetchWheel(target) {
  const [platform, builds] = wheelPlatform();
  mkdirSync(cacheDir(), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), 'libtorch-download-'));
  try {
    download(work, platform, builds);
    const wheel = readdirSync(work).find((name) => name.endsWith('.whl'));
    say(`unpacking ${wheel}`);
    runStep(python, ['-c', UNPACK, join(work, wheel), work], { quiet: true });
    if (existsSync(join(work, 'torch/lib', libraryName('torch_cuda')))) {
      throw new SetupError(`pip found only the CUDA build of torch ${TORCH_VERSION}, whose libraries need NVIDIA's. ` +
        `Set PIP_EXTRA_INDEX_URL=${CPU_INDEX} (PyTorch's index of CPU builds) and run this again, or set LIBTORCH to a libtorch you have.`);
    }
    try {
      renameSync(join(work, 'torch'), target);
    } catch (error) {
      if (!existsSync(target)) throw error;  // another set-up was faster
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function download(work, platform, builds) {
  say(`fetching libtorch ${TORCH_VERSION} for the CPU with pip (about 200 MB, once)`);
  for (const [index, build] of builds.entries()) {
    try {
      runStep(python, ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--python-version', '3.11', '--implementation', 'cp',
        '--abi', 'cp311', '--platform', platform, '--disable-pip-version-check', '-q', '-d', work, `torch==${TORCH_VERSION}${build}`],
      { quiet: index < builds.length - 1, hint: `pip could not fetch libtorch: check the network, name PyTorch's index of CPU builds (PIP_EXTRA_INDEX_URL=${CPU_INDEX}), or set LIBTORCH to a libtorch you have.` });
      return;
    } catch (error) {
      if (!(error instanceof SetupError) || index === builds.length - 1) throw error;
    }
  }
}

// Headers and the CPU libraries only: a fifth of the wheel's files.
const UNPACK = `
import sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for name in z.namelist():
        if name == 'torch/version.py' or name.startswith('torch/include/') or (name.startswith('torch/lib/') and 'python' not in name):
            z.extract(name, target)
`;

if (import.meta.url === pathToFileURL(process.argv[1]).href) await runMain(() => console.log(JSON.stringify(findLibtorch())));
