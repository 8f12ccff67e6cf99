// `--kernels`: where a trial's GPU time goes, by CUPTI (kernel_times.cpp).
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { addonPath, engineInfo } from '../dist/engine/addon.js';
import { markdownTable, plainTable } from './tables.mjs';

const prefix = process.env.CREAM_KERNEL_TIMES;
const SHOWN = 20;
const PATIENCE_MS = 20_000;

/** Where a build for GPUs leaves the library; undefined where CUPTI was not there. */
export function kernelLibrary() {
  const path = join(dirname(addonPath()), 'kernel_times.so');
  return existsSync(path) ? path : undefined;
}

/** The environment in which a trial's kernels are recorded under `folder`. */
export const recording = (library, folder) => ({
  CUDA_INJECTION64_PATH: library,
  CREAM_KERNEL_TIMES: join(folder, 'kernels'),
});

/** In the trial: marks the start (`start`) or end (`stop`) of what is recorded. */
export async function mark(which) {
  if (!prefix) return;
  engineInfo(); // what records begins with CUDA, which a trial may begin only after its start
  const file = `${prefix}.${which}`;
  writeFileSync(file, '');
  for (const began = Date.now(); existsSync(file) && Date.now() - began < PATIENCE_MS;)
    await sleep(20);
}

/** What a trial's recording holds, the longest first; undefined where CUPTI recorded nothing. */
export function readKernels(folder) {
  const file = join(folder, 'kernels.tsv');
  if (!existsSync(file)) return undefined;
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  rmSync(file);
  const [busy, ...kernels] = lines.map((line) => {
    const [nanoseconds, launches, ...name] = line.split('\t');
    return {
      name: shortName(name.join('\t')),
      seconds: Number(nanoseconds) / 1e9,
      launches: Number(launches),
    };
  });
  const sums = new Map();
  for (const { name, seconds, launches } of kernels) {
    const sum = sums.get(name) ?? { name, seconds: 0, launches: 0 };
    sums.set(name, {
      name,
      seconds: sum.seconds + seconds,
      launches: sum.launches + launches,
    });
  }
  const sorted = [...sums.values()].sort((a, b) => b.seconds - a.seconds);
  return sorted.length > 0 ? { busySeconds: busy.seconds, kernels: sorted } : undefined;
}

/** `void cream::run_block<cream::ops::RopeBlock<unsigned short, 8>>(…)` → `RopeBlock<bf16, 8>` */
export function shortName(name) {
  const own = /run_block<\s*(.*?)\s*>\s*\(/.exec(name)?.[1];
  return (own ?? name)
    .replace(/\b(?:void|at::native::|cream::|ops::|\(anonymous namespace\)::)\s*/g, '')
    .replaceAll('unsigned short', 'bf16')
    .slice(0, 90);
}

export function kernelTable({ busySeconds, kernels }, asMarkdown) {
  const rows = kernels
    .slice(0, SHOWN)
    .map(({ name, seconds, launches }) => [
      name,
      `${((100 * seconds) / busySeconds).toFixed(1)} %`,
      (1000 * seconds).toFixed(2),
      String(launches),
      ((1e6 * seconds) / launches).toFixed(1),
    ]);
  const rest = kernels.slice(SHOWN);
  if (rest.length > 0) {
    const seconds = rest.reduce((sum, kernel) => sum + kernel.seconds, 0);
    rows.push([
      `${rest.length} others`,
      `${((100 * seconds) / busySeconds).toFixed(1)} %`,
      (1000 * seconds).toFixed(2),
      String(rest.reduce((sum, { launches }) => sum + launches, 0)),
      '',
    ]);
  }
  const header = ['kernel', 'of busy time', 'ms', 'launches', 'µs each'];
  return (asMarkdown ? markdownTable : plainTable)(header, rows);
}
