// Shared by the Node trials: the specification, peak memory, and the output line.
import { existsSync, readFileSync, writeSync } from 'node:fs';
import { engineInfo, freeDeviceMemory } from '../dist/engine/addon.js';
import { mark } from './kernels.mjs';

/** The case's specification, written by prepare.mjs: the same file for cream and its peers. */
export const spec = process.argv[2] ? JSON.parse(readFileSync(process.argv[2], 'utf8')) : {};

/** The settings of this contender. */
export const setting = JSON.parse(process.argv[3] ?? '{}');

/** Peak resident set of this process in bytes; touched pages of mapped files count. */
export function peakRss() {
  const status = '/proc/self/status';
  const line = existsSync(status)
    ? /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(status, 'utf8'))
    : null;
  return line ? Number(line[1]) * 1024 : process.resourceUsage().maxRSS * 1024;
}

/**
 * Bytes of the device in use by the driver's count. At the end of a trial this is its peak, because
 * the allocator keeps its memory. undefined on the CPU.
 */
export function deviceInUse() {
  const gpu =
    spec.device === 'cpu'
      ? undefined
      : engineInfo().cuda.gpus.find(
          ({ index }) => index === Number(spec.device.split(':')[1] ?? 0),
        );
  return gpu && gpu.memoryBytes - freeDeviceMemory(gpu.index);
}

export async function seconds(work) {
  await mark('start');
  const began = performance.now();
  const result = await work();
  const seconds = (performance.now() - began) / 1000;
  await mark('stop');
  return { seconds, result };
}

/** The trial's result; the driver takes the last line that is JSON. */
export function report(result) {
  writeSync(1, `\n${JSON.stringify({ ...result, peakRss: peakRss() })}\n`);
}
