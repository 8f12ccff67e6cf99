/**
 * Columns of metrics.jsonl that depend on the machine and the time. Their names begin with `perf/`;
 * without them the rows of a run are the same, independent of interruptions and machine load.
 */
import { engineInfo, freeDeviceMemory } from '../engine/addon.js';
import { serialize } from '../data/jsonl.js';

const TIMING = 'perf/';
const GIB = 2 ** 30;

/** Duration and memory of one step. */
export interface StepTiming {
  /** Seconds of the step. */
  'perf/seconds': number;
  /** Tokens computed per second. */
  'perf/tokens_per_second': number;
  /** Resident memory of the process, GiB. */
  'perf/memory_gib': number;
  /** Memory in use on the GPU, by other processes too, GiB. */
  'perf/device_memory_gib'?: number;
}

/** `device` as in the recipe. */
export function measureStep(
  { tokens, seconds }: { tokens: number; seconds: number },
  device: string,
): StepTiming {
  return {
    'perf/seconds': seconds,
    'perf/tokens_per_second': seconds > 0 ? tokens / seconds : 0,
    'perf/memory_gib': process.memoryUsage.rss() / GIB,
    ...(device.startsWith('cuda') && { 'perf/device_memory_gib': usedMemory(device) / GIB }),
  };
}

function usedMemory(device: string): number {
  const index = Number(device.split(':')[1] ?? 0);
  const gpu = engineInfo().cuda.gpus.find((one) => one.index === index);
  return gpu ? gpu.memoryBytes - freeDeviceMemory(index) : 0;
}

/**
 * A line of metrics.jsonl without its timing columns; a line that is not as serialize() writes it
 * is unchanged.
 */
export function untimed(line: string): string {
  if (!line.includes(TIMING)) return line;
  try {
    const row = JSON.parse(line) as object;
    if (serialize(row) !== `${line}\n`) return line;
    const kept = Object.entries(row).filter(([column]) => !column.startsWith(TIMING));
    return serialize(Object.fromEntries(kept)).trimEnd();
  } catch {
    return line;
  }
}
