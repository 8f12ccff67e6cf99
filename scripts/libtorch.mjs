// Finds libtorch, or fetches a pinned wheel once into the user's cache. In order:
//   LIBTORCH                a folder with include/ and lib/: an unpacked libtorch or
//                           site-packages/torch
//   LIBTORCH_USE_PYTORCH=1  the torch package of the Python on PATH
//   the cache               <cache>/libtorch-<version>, with CREAM_CUDA=1
//                           <cache>/libtorch-<version>-cuda/torch
//   pip                     the pinned wheel: include/ and lib/ of the CPU wheel, or the CUDA wheel
//                           with NVIDIA's packages
// CREAM_CUDA=1 chooses CUDA, and the build remembers it (build/stamp.json) until CREAM_CUDA=0.
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheDir, probe, root as project, runMain, runStep, say, SetupError } from './steps.mjs';

export const TORCH_VERSION = '2.13.0';
export const CUDA_TORCH_VERSION = '2.14.1';
/** PyTorch's index of wheels with CPU libraries only; PyPI has them for some platforms. */
const CPU_INDEX = 'https://download.pytorch.org/whl/cpu';
/** The sizes that the plan shows before fetching. */
export const CPU_SIZE = 'about 200 MB to download, 480 MB on disk';
export const CUDA_SIZE = 'about 2.5 GB to download, 4.4 GB on disk';
export const python = process.env.PYTHON || 'python3';

/** Whether the user asked for CUDA, now or when the addon was built last. */
export function cudaChosen() {
  if (process.env.CREAM_CUDA !== undefined) return process.env.CREAM_CUDA === '1';
  const stamp = join(project, 'build/stamp.json');
  return existsSync(stamp) && readFileSync(stamp, 'utf8').includes('"chosen":"cuda"');
}

/**
 * → { root, version, source, cuda, chosen }: root contains include/ and lib/; cuda is the version
 * of CUDA it was built with, or null.
 */
export function findLibtorch({ fetch = true, cuda = cudaChosen() } = {}) {
  if (process.env.LIBTORCH) return checked(process.env.LIBTORCH, 'LIBTORCH');
  if (process.env.LIBTORCH_USE_PYTORCH === '1') {
    // find_spec does not import torch, which takes seconds.
    const path = probe(python, [
      '-c',
      "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])",
    ]);
    if (!path)
      throw new SetupError(
        `LIBTORCH_USE_PYTORCH=1, but ${python} has no torch. Run '${python} -m pip install ` +
          `torch==${TORCH_VERSION}', or unset it.`,
      );
    return checked(path, `the torch of ${python}`);
  }
  const cached = join(
    cacheDir(),
    cuda ? `libtorch-${CUDA_TORCH_VERSION}-cuda` : `libtorch-${TORCH_VERSION}`,
  );
  const damaged = !cuda && existsSync(cached) ? damagedLibrary(cached) : null;
  if (damaged !== null && fetch) {
    say(`libtorch in ${cached} is damaged: ${damaged} is not as it was fetched; fetching it again`);
    rmSync(cached, { recursive: true, force: true });
  } else if (damaged !== null)
    throw new SetupError(
      `libtorch in ${cached} is damaged: ${damaged} is not as it was fetched; delete that folder ` +
        'and run the set-up again.',
    );
  if (!existsSync(cached)) {
    if (!fetch) return null;
    if (cuda) fetchCuda(cached);
    else fetchWheel(cached);
  }
  return {
    ...checked(cuda ? join(cached, 'torch') : cached, 'the cache'),
    ...(cuda && { chosen: 'cuda' }),
  };
}

function checked(root, source) {
  for (const part of [
    'include/ATen/ATen.h',
    `lib/${libraryName('torch_cpu')}`,
    `lib/${libraryName('c10')}`,
  ]) {
    if (existsSync(join(root, part))) continue;
    throw new SetupError(
      `libtorch from ${source} (${root}) is not usable: ${part} is missing. ` +
        (source === 'the cache'
          ? 'Delete that folder and run the set-up again.'
          : 'Point LIBTORCH to the folder that holds include/ and lib/, or unset it.'),
    );
  }
  return { root, version: readVersion(root), source, cuda: cudaOf(root) };
}

export function libraryName(name) {
  return process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`;
}

function readVersion(root) {
  const file = join(root, 'version.py');
  const match = existsSync(file)
    ? /__version__ = '([^']+)'/.exec(readFileSync(file, 'utf8'))
    : null;
  if (match) return match[1];
  const header = join(root, 'include/torch/headeronly/version.h');
  const text = existsSync(header) ? readFileSync(header, 'utf8') : '';
  const part = (name) => new RegExp(`#define TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1];
  return part('MAJOR') ? `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` : 'unknown';
}

/** "13.0" for a libtorch with CUDA, null for one without. */
function cudaOf(root) {
  if (!['torch_cuda', 'c10_cuda'].every((name) => existsSync(join(root, 'lib', libraryName(name)))))
    return null;
  const file = join(root, 'version.py');
  const match = existsSync(file)
    ? /^cuda\b.*= '(\d+\.\d+)'/m.exec(readFileSync(file, 'utf8'))
    : null;
  if (match) return match[1];
  // An archive names its runtime by version: libcudart-0123abcd.so.13, or libcudart.so.13.
  return /libcudart\S*\.so\.(\d+)/.exec(readdirSync(join(root, 'lib')).join(' '))?.[1] ?? 'unknown';
}

/**
 * pip's arguments for the wheel without CUDA, to be tried in turn, and its SHA-256. The wheel does
 * not depend on the user's Python: any tag with the library will do. On Linux the wheel of the
 * default index is the CUDA build of several hundred MB, which is never requested here.
 */
function wheels() {
  const linux = (platform) =>
    [[], ['--extra-index-url', CPU_INDEX, '--retries', '1']].map((index) => [
      '--platform',
      platform,
      ...index,
      `torch==${TORCH_VERSION}+cpu`,
    ]);
  const known = {
    'linux-x64': {
      choices: linux('manylinux_2_28_x86_64'),
      sha256: '6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b',
    },
    'linux-arm64': {
      choices: linux('manylinux_2_28_aarch64'),
      sha256: '84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7',
    },
    'darwin-arm64': {
      choices: [['--platform', 'macosx_14_0_arm64', `torch==${TORCH_VERSION}`]],
      sha256: 'e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8',
    },
  }[`${process.platform}-${process.arch}`];
  if (known) return known;
  throw new SetupError(
    `There is no pinned libtorch for ${process.platform}-${process.arch}. Install one and ` +
      'set LIBTORCH to the folder that holds include/ and lib/.',
  );
}

function fetchWheel(target) {
  const { choices, sha256 } = wheels();
  mkdirSync(cacheDir(), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), 'libtorch-download-'));
  try {
    download(work, choices);
    const wheel = readdirSync(work).find((name) => name.endsWith('.whl'));
    verifyWheel(join(work, wheel), sha256);
    say(`unpacking ${wheel}`);
    runStep(python, ['-c', UNPACK, join(work, wheel), work], { quiet: true });
    noteLibraries(join(work, 'torch'));
    try {
      renameSync(join(work, 'torch'), target);
    } catch (error) {
      if (!existsSync(target)) throw error; // another set-up was faster
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Refuses to unpack a wheel that is not the published one. @throws SetupError */
export function verifyWheel(path, sha256) {
  const found = sha256Of(path);
  if (found === sha256) return;
  throw new SetupError(
    `${basename(path)} has SHA-256 ${found}, expected ${sha256}: the download is damaged or not ` +
      "the published package; check pip's index settings (`pip cache purge` removes what pip " +
      'kept) and run this again.',
  );
}

const NOTE = 'verified.json';

/** Notes the libraries by name with their size, time and SHA-256. */
export function noteLibraries(root) {
  const libraries = {};
  for (const name of readdirSync(join(root, 'lib'))) {
    const path = join(root, 'lib', name);
    const info = statSync(path);
    if (!info.isFile()) continue; // lib/pkgconfig and the like
    const { size, mtimeMs } = info;
    libraries[name] = { size, mtimeMs, sha256: sha256Of(path) };
  }
  writeFileSync(join(root, NOTE), `${JSON.stringify(libraries)}\n`);
}

/**
 * A library of the cache that has changed since it was unpacked, or null. Only one whose size or
 * time changed is hashed. A cache of an earlier version has no note and is trusted.
 */
export function damagedLibrary(root) {
  if (!existsSync(join(root, NOTE))) return null;
  let libraries;
  try {
    libraries = Object.entries(JSON.parse(readFileSync(join(root, NOTE), 'utf8')));
  } catch {
    return NOTE;
  }
  for (const [name, noted] of libraries) {
    const path = join(root, 'lib', name);
    const info = statSync(path, { throwIfNoEntry: false });
    if (info?.size !== noted.size) return `lib/${name}`;
    if (info.mtimeMs !== noted.mtimeMs && sha256Of(path) !== noted.sha256) return `lib/${name}`;
  }
  return null;
}

function sha256Of(path) {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(1 << 20);
    for (let n; (n = readSync(file, chunk)) > 0;) hash.update(chunk.subarray(0, n));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}

function download(work, choices) {
  say(`fetching libtorch ${TORCH_VERSION} for the CPU with pip (${CPU_SIZE}, once)`);
  for (const [index, wheel] of choices.entries()) {
    const last = index === choices.length - 1;
    try {
      runStep(
        python,
        [
          ...['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:'],
          ...['--python-version', '3.11', '--implementation', 'cp', '--abi', 'cp311'],
          ...['--disable-pip-version-check', '-q', '-d', work],
          ...wheel,
        ],
        {
          quiet: true,
          silent: !last,
          hint:
            `pip could not fetch libtorch: check the network and that pip reaches PyTorch's ` +
            `index of CPU builds (${CPU_INDEX}) or a mirror of it (PIP_EXTRA_INDEX_URL), or set ` +
            'LIBTORCH to a libtorch you have.',
        },
      );
      return;
    } catch (error) {
      if (!(error instanceof SetupError) || last) throw error;
    }
  }
}

/**
 * The parts of the CUDA wheel and its dependencies that are kept; Triton and Python's own are not.
 */
const CUDA_KEPT = ['torch', 'nvidia'];
const CUDA_DISK = 8e9;

function fetchCuda(target) {
  if (`${process.platform}-${process.arch}` !== 'linux-x64')
    throw new SetupError(
      `There is no pinned libtorch with CUDA for ${process.platform}-${process.arch}. ` +
        'Install one and set LIBTORCH to the folder that holds include/ and lib/.',
    );
  mkdirSync(cacheDir(), { recursive: true });
  const { bavail, bsize } = statfsSync(cacheDir());
  if (bavail * bsize < CUDA_DISK)
    throw new SetupError(
      `libtorch with CUDA needs ${CUDA_DISK / 1e9} GB while it is installed and 4.4 GB ` +
        `after that, and ${cacheDir()} has ${((bavail * bsize) / 1e9).toFixed(1)}: make ` +
        'room, set CREAM_CACHE to a larger disk, or set LIBTORCH to a libtorch you have.',
    );
  const work = mkdtempSync(join(cacheDir(), 'libtorch-download-'));
  try {
    say(
      `fetching libtorch ${CUDA_TORCH_VERSION} with CUDA and NVIDIA's libraries with pip ` +
        `(${CUDA_SIZE}, once)`,
    );
    runStep(
      python,
      [
        '-m',
        'pip',
        'install',
        '--only-binary=:all:',
        '--no-compile',
        '--disable-pip-version-check',
        '-q',
        '--target',
        work,
        `torch==${CUDA_TORCH_VERSION}`,
      ],
      {
        env: { TMPDIR: work },
        hint:
          'pip could not install torch with CUDA: check the network and that this Python has ' +
          'a wheel of it, or set LIBTORCH to a libtorch you have.',
      },
    );
    for (const name of readdirSync(work))
      if (!CUDA_KEPT.includes(name)) rmSync(join(work, name), { recursive: true, force: true });
    if (cudaOf(join(work, 'torch')) === null)
      throw new SetupError(
        `pip found only the CPU build of torch ${CUDA_TORCH_VERSION} (is an index of CPU ` +
          'builds configured?). Set PIP_INDEX_URL to an index with the CUDA build, or ' +
          'LIBTORCH to a libtorch you have.',
      );
    try {
      renameSync(work, target);
    } catch (error) {
      if (!existsSync(target)) throw error; // another set-up was faster
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

// Headers and the CPU libraries only: a fifth of the wheel's files.
const UNPACK = `
import sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for name in z.namelist():
        library = name.startswith('torch/lib/') and 'python' not in name
        if name == 'torch/version.py' or name.startswith('torch/include/') or library:
            z.extract(name, target)
`;

if (import.meta.url === pathToFileURL(process.argv[1]).href)
  await runMain(() => console.log(JSON.stringify(findLibtorch())));
