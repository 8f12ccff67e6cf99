/**
 * Finds libtorch at run time and loads it before the addon. The addon does not contain the path of
 * libtorch: the dynamic linker resolves it by name against the libraries that are loaded already.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { creamCache } from '../files/cache.js';
import { CreamError } from './errors.js';

/** The file that the build writes beside the addon. */
export interface AddonBuild {
  /** Version of libtorch that the addon was compiled against, such as 2.13.0. */
  torch: string;
  /** Whether it needs the CUDA libraries of libtorch. */
  cuda: boolean;
  /** Folder of that libtorch; absent in a prebuilt addon, which was compiled elsewhere. */
  root?: string;
}

interface Found {
  root: string;
  /** Where it was found, for messages. */
  source: string;
}

/** Keeps a library in memory after process.dlopen() closes it: <dlfcn.h>, which Node leaves out. */
const RTLD_NODELETE = process.platform === 'darwin' ? 0x80 : 0x1000;

/**
 * Loads the libraries of libtorch that `build` needs. Throws CreamError ERR_ADDON if there is no
 * libtorch, or one of another version.
 */
export function loadLibtorch(build: AddonBuild, env: NodeJS.ProcessEnv = process.env): void {
  const { root, source } = findLibtorch(build, env);
  const found = versionOf(root);
  if (found !== build.torch)
    throw new CreamError(
      'ERR_ADDON',
      `The native addon was built for libtorch ${build.torch}, and ${source} (${root}) is ` +
        `${found === null ? 'no libtorch' : found}: name a libtorch ${build.torch}, or build the ` +
        'addon for yours with `npx cream setup --build`.',
    );
  for (const file of librariesOf(root)) checkWhole(file, root);
  for (const name of ['torch_cpu', ...(build.cuda ? ['torch_cuda'] : [])]) open(root, name, source);
}

const librariesOf = (root: string): string[] => {
  const folder = join(root, 'lib');
  return existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => /\.so(?:\.\d+)*$/.test(name))
        .map((name) => join(folder, name))
    : [];
};

/**
 * Loading a truncated library ends the process with SIGBUS, so the file's size is compared with the
 * one in its header. An ELF file ends with or after its section header table. @throws CreamError
 */
function checkWhole(file: string, root: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  const head = Buffer.alloc(64);
  let read = 0;
  if (found?.isFile()) {
    const opened = openSync(file, 'r');
    try {
      read = readSync(opened, head, 0, head.length, 0);
    } finally {
      closeSync(opened);
    }
  }
  const isElf = read === head.length && head.readUInt32BE(0) === 0x7f454c46;
  const [at, size, count] = [
    Number(head.readBigUInt64LE(40)),
    head.readUInt16LE(58),
    head.readUInt16LE(60),
  ];
  if (isElf && at + size * count <= found!.size) return;
  throw new CreamError(
    'ERR_ADDON',
    `${file} is damaged (${isElf ? 'it is cut off' : 'it is no library'}): remove ${root} and ` +
      'run `npx cream setup`, which fetches libtorch again.',
  );
}

function open(root: string, name: string, source: string): void {
  const file = join(root, 'lib', libraryName(name));
  if (!existsSync(file))
    throw new CreamError(
      'ERR_ADDON',
      `libtorch from ${source} (${root}) has no lib/${libraryName(name)}, which the native addon ` +
        'needs: name another libtorch, or run `npx cream setup`.',
    );
  const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;
  try {
    process.dlopen({ exports: {} }, file, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  } catch (error) {
    // process.dlopen() expects an addon and complains, but the library is loaded by then.
    if (/did not self-register/.test((error as Error).message)) return;
    throw new CreamError(
      'ERR_ADDON',
      `libtorch from ${source} does not load (${(error as Error).message}); if its files are ` +
        `damaged, remove ${root} and run \`npx cream setup\`.`,
      { cause: error },
    );
  }
}

/**
 * Tries LIBTORCH, LIBTORCH_USE_PYTORCH=1, the cache, the folder of the build, and Python's torch.
 */
function findLibtorch(build: AddonBuild, env: NodeJS.ProcessEnv): Found {
  if (env['LIBTORCH']) return { root: env['LIBTORCH'], source: 'LIBTORCH' };
  if (env['LIBTORCH_USE_PYTORCH'] === '1') {
    const root = pythonTorch(env);
    if (root !== null) return { root, source: "Python's torch" };
    throw new CreamError(
      'ERR_ADDON',
      `LIBTORCH_USE_PYTORCH=1, but ${pythonOf(env)} has no torch: run \`${pythonOf(env)} -m pip ` +
        `install torch==${build.torch}\`, or unset it.`,
    );
  }
  const cached = build.cuda
    ? join(creamCache(env), `libtorch-${build.torch}-cuda`, 'torch')
    : join(creamCache(env), `libtorch-${build.torch}`);
  if (existsSync(cached)) return { root: cached, source: 'the cache' };
  if (build.root !== undefined && existsSync(build.root))
    return { root: build.root, source: 'the build' };
  const python = pythonTorch(env);
  if (python !== null && versionOf(python) === build.torch)
    return { root: python, source: "Python's torch" };
  throw new CreamError(
    'ERR_ADDON',
    `libtorch ${build.torch} is not on this machine: run \`npx cream setup\`, which fetches it ` +
      `(${build.cuda ? 'about 2.5 GB' : 'about 200 MB'}), or set LIBTORCH to a folder that has it.`,
  );
}

const pythonOf = (env: NodeJS.ProcessEnv): string => env['PYTHON'] || 'python3';

/** Folder of the torch package of Python, without importing it, which takes seconds. */
function pythonTorch(env: NodeJS.ProcessEnv): string | null {
  const code =
    "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
  const { status, stdout } = spawnSync(pythonOf(env), ['-c', code], { encoding: 'utf8', env });
  return status === 0 ? stdout.trim() : null;
}

/** "2.13.0" of a libtorch folder, without a suffix such as +cpu; null if it is none. */
function versionOf(root: string): string | null {
  const read = (name: string): string =>
    existsSync(join(root, name)) ? readFileSync(join(root, name), 'utf8') : '';
  const python = /__version__ = '([\d.]+)/.exec(read('version.py'))?.[1];
  if (python !== undefined) return python;
  const header = read('include/torch/headeronly/version.h');
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map(
    (name) => new RegExp(`#define TORCH_VERSION_${name} (\\d+)`).exec(header)?.[1],
  );
  return parts.every(Boolean) ? parts.join('.') : null;
}

function libraryName(name: string): string {
  return process.platform === 'darwin' ? `lib${name}.dylib` : `lib${name}.so`;
}
