/** The native addon: the only file that loads it. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { oneOf, positiveInteger } from './arguments.js';
import { CreamError, fromNative } from './errors.js';
import type { Addon, EngineInfo, NativeDType } from './native-types.js';
import { runJob } from './signal.js';

export type * from './native-types.js';

/** From src/engine/ and dist/engine/ alike. */
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/**
 * Loaded at first use, so that `cream --help` and `cream doctor` run without it. CREAM_ADDON names
 * another file, for tests.
 */
export function addon(): Addon {
  return (loaded ??= load(
    resolve(process.env['CREAM_ADDON'] ?? join(root, 'build/Release/cream.node')),
  ));
}

function load(path: string): Addon {
  if (!existsSync(path))
    throw new CreamError(
      'ERR_ADDON',
      `The native addon is not built: ${path} does not exist; run \`npm run setup\`.`,
    );
  // OpenMP reads this once, as libtorch loads. Its threads would spin for work on the cores that
  // our own loops use (native/support/parallel.h).
  const policy = process.env['OMP_WAIT_POLICY'];
  process.env['OMP_WAIT_POLICY'] ??= 'passive';
  try {
    return require(path) as Addon;
  } catch (error) {
    throw new CreamError(
      'ERR_ADDON',
      `The native addon ${path} does not load (${(error as Error).message}); run \`npm run ` +
        `setup\` to build it again.`,
      { cause: error },
    );
  } finally {
    if (policy === undefined) delete process.env['OMP_WAIT_POLICY'];
  }
}

/**
 * What the machine, libtorch and this build are. Throws CreamError where the addon does not load.
 */
export function engineInfo(): EngineInfo {
  const { version } = require(join(root, 'package.json')) as { version: string };
  return { version, ...addon().engineInfo() };
}

/**
 * Free bytes of a GPU of engineInfo(), now. Opens a context on it, which takes some hundred MB
 * until the process ends.
 */
export function freeDeviceMemory(index: number): number {
  return addon().freeDeviceMemory(index);
}

/** Threads for work that begins from now on, in every model of this process. */
export function setThreads(threads: number): void {
  addon().setThreads(positiveInteger(threads, '[setThreads] threads', 4096));
}

/**
 * Gives memory that freed tensors left for the next ones back to the operating system; so does
 * disposing of the last model.
 */
export function releaseMemory(): void {
  addon().releaseMemory();
}

/**
 * Locks the file `path` between processes and writes `contents` into it. Returns the function that
 * removes the file and releases the lock, or null where another holder has it. The system releases
 * the lock when the process ends. @throws CreamError `ERR_IO` where `path` is no regular file.
 */
export function lockFile(path: string, contents: string): (() => void) | null {
  const caller = new Error();
  try {
    return addon().lockFile(path, contents);
  } catch (error) {
    throw fromNative(error, caller);
  }
}

/** All metadata of a GGUF file; 64-bit integers beyond 2^53 lose their last digits. */
export async function readGguf(path: string): Promise<{ metadata: Record<string, unknown> }> {
  const json = await runJob(() => addon().readGguf(resolve(path)));
  return { metadata: JSON.parse(json) as Record<string, unknown> };
}

/**
 * Seconds of one GEMM [m × k] · [k × n] through libtorch, the mean of `repeats` after a warm-up:
 * what `cream bench` compares with.
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
 * Seconds of one copy of `bytes` in the device's memory, on a CPU by all threads, likewise; a copy
 * reads and writes them.
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
