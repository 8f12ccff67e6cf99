/** Loads the native addon; no other file does. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseJsonInSteps } from '../files/json-steps.js';
import { inTurns } from '../files/steps.js';
import { nonEmptyString, oneOf, positiveInteger } from './arguments.js';
import { CreamError, fromNative } from './errors.js';
import { loadLibtorch, type AddonBuild } from './libtorch.js';
import type { Addon, EngineInfo, NativeDType } from './native-types.js';
import { runJob } from './signal.js';

export type * from './native-types.js';

/** The package's folder, two levels above src/engine/ and dist/engine/ alike. */
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/** The prebuilt addon of this machine, an optional package that npm installs beside this one. */
const PREBUILT =
  `@cream-lm/${process.platform}-${process.arch}` + (process.platform === 'linux' ? '-gnu' : '');

/**
 * The addon, loaded at its first use, so that `cream --help` and `cream doctor` run without it. The
 * environment variable CREAM_ADDON names another file, for tests. Throws CreamError ERR_ADDON if it
 * is missing or does not load.
 */
export function addon(): Addon {
  if (loaded) return loaded;
  checkLevel(process.env['CREAM_CPU_LEVEL']);
  return (loaded = load(addonPath()));
}

/** The file of CREAM_ADDON, else the addon that was built here, else the prebuilt one. */
export function addonPath(): string {
  const given = process.env['CREAM_ADDON'];
  const built = given === undefined ? join(root, 'build/Release/cream.node') : resolve(given);
  if (existsSync(built)) return built;
  if (given !== undefined)
    throw new CreamError(
      'ERR_ADDON',
      `CREAM_ADDON names no file (${built}): unset it, or name the file of an addon.`,
    );
  const prebuilt = prebuiltAddon();
  if (prebuilt !== null) return prebuilt;
  throw new CreamError(
    'ERR_ADDON',
    `The native addon is missing (${built} or ${PREBUILT}): run \`npx cream setup\`, which ` +
      'builds it and fetches libtorch.',
  );
}

/** The kernels of native/ops/dispatch.cpp, which takes any other name for no bound. */
const LEVELS = ['plain', 'avx2', 'avx512', 'avx512_bf16', 'amx'];

function checkLevel(given = ''): void {
  if (given === '' || LEVELS.includes(given)) return;
  throw new CreamError(
    'ERR_INVALID_ARGUMENT',
    `CREAM_CPU_LEVEL is '${given}', which names no kernels: give one of ${LEVELS.join(', ')}, or ` +
      'unset it.',
  );
}

/** The prebuilt addon of this machine, or null. Throws CreamError if it has another version. */
export function prebuiltAddon(): string | null {
  let description: string;
  try {
    description = require.resolve(`${PREBUILT}/package.json`);
  } catch {
    return null;
  }
  const { version } = require(description) as { version: string };
  const own = packageVersion();
  if (version === own) return join(dirname(description), 'cream.node');
  throw new CreamError(
    'ERR_ADDON',
    `${PREBUILT} is version ${version} and cream-lm is ${own}: run \`npm install ` +
      `${PREBUILT}@${own}\`, or build the addon with \`npx cream setup --build\`.`,
  );
}

function packageVersion(): string {
  return (require(join(root, 'package.json')) as { version: string }).version;
}

function load(path: string): Addon {
  // OpenMP reads this once, when libtorch loads. Without it, idle OpenMP threads spin on the cores
  // that our own loops use (native/support/parallel.h).
  const policy = process.env['OMP_WAIT_POLICY'];
  process.env['OMP_WAIT_POLICY'] ??= 'passive';
  try {
    const build = path.replace(/\.node$/, '.json');
    if (existsSync(build)) loadLibtorch(JSON.parse(readFileSync(build, 'utf8')) as AddonBuild);
    return require(path) as Addon;
  } catch (error) {
    if (error instanceof CreamError) throw error;
    throw new CreamError(
      'ERR_ADDON',
      `The native addon ${path} does not load (${(error as Error).message}); run \`npx cream ` +
        `setup --build\` to build it for this machine.`,
      { cause: error },
    );
  } finally {
    if (policy === undefined) delete process.env['OMP_WAIT_POLICY'];
  }
}

/**
 * Describes the machine, libtorch and this build: versions, CPU features, threads, GPUs, and the
 * bytes of all loaded weights. Throws CreamError ERR_ADDON if the addon does not load.
 */
export function engineInfo(): EngineInfo {
  return { version: packageVersion(), ...addon().engineInfo() };
}

/**
 * Free memory of a GPU in bytes, at the time of the call; `index` is that of engineInfo(). Opens a
 * CUDA context on the GPU, which takes some hundred MB until the process ends.
 */
export function freeDeviceMemory(index: number): number {
  return addon().freeDeviceMemory(index);
}

/**
 * Sets how many CPU threads one computation uses, 1 to 4096. Applies to work that begins after the
 * call, in every model of this process. Throws CreamError ERR_INVALID_ARGUMENT.
 */
export function setThreads(threads: number): void {
  addon().setThreads(positiveInteger(threads, '[setThreads] threads', 4096));
}

/**
 * Returns memory that the allocator caches for later tensors to the operating system. Disposing of
 * the last model does the same.
 */
export function releaseMemory(): void {
  addon().releaseMemory();
}

/**
 * Locks the file `path` between processes and writes `contents` into it. Returns the function that
 * removes the file and releases the lock, or null if another holder has it. The system releases the
 * lock when the process ends. @throws CreamError `ERR_IO` if `path` is not a regular file.
 */
export function lockFile(path: string, contents: string): (() => void) | null {
  const caller = new Error();
  try {
    return addon().lockFile(path, contents);
  } catch (error) {
    throw fromNative(error, caller);
  }
}

/**
 * Reads all metadata of a GGUF file, by key. 64-bit integers above 2^53 are rounded to doubles.
 * Rejects with CreamError: ERR_NOT_FOUND, ERR_INVALID_FILE.
 */
export async function readGguf(path: string): Promise<{ metadata: Record<string, unknown> }> {
  const absolute = resolve(nonEmptyString(path, '[readGguf] the path'));
  const json = await runJob(() => addon().readGguf(absolute));
  const metadata = await inTurns(parseJsonInSteps(Buffer.from(json)));
  return { metadata: metadata as Record<string, unknown> };
}

/**
 * Seconds per GEMM [m × k] · [k × n] through libtorch, the mean of `repeats` runs after a warm-up.
 * `cream bench` compares the engine's throughput with it.
 */
export function benchmarkGemm({
  m,
  k,
  n,
  dtype,
  device = 'cpu',
  repeats,
}: {
  m: number;
  k: number;
  n: number;
  dtype: NativeDType;
  device?: string;
  repeats: number;
}): Promise<number> {
  const [rows, inner, columns] = [m, k, n].map((size) =>
    positiveInteger(size, '[benchmarkGemm] a size', 2 ** 20),
  ) as [number, number, number];
  return runJob(() =>
    addon().benchmarkGemm(
      rows,
      inner,
      columns,
      oneOf(dtype, ['float32', 'bfloat16'], '[benchmarkGemm] dtype'),
      device,
      positiveInteger(repeats, '[benchmarkGemm] repeats'),
    ),
  );
}

/**
 * Seconds per copy of `bytes` bytes within the device's memory, the mean of `repeats` runs after a
 * warm-up; on a CPU, all threads copy. A copy reads and writes `bytes` each.
 */
export function benchmarkCopy({
  bytes,
  device = 'cpu',
  repeats,
}: {
  bytes: number;
  device?: string;
  repeats: number;
}): Promise<number> {
  return runJob(() =>
    addon().benchmarkCopy(
      positiveInteger(bytes, '[benchmarkCopy] bytes', 2 ** 36),
      device,
      positiveInteger(repeats, '[benchmarkCopy] repeats'),
    ),
  );
}
