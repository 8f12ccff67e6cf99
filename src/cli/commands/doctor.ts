/**
 * `cream doctor`: describes what the program finds on this machine. It also works, and says so, if
 * the addon is not built.
 */
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import type { Command } from 'commander';
import {
  engineInfo,
  freeDeviceMemory,
  type CudaInfo,
  type EngineInfo,
} from '../../engine/addon.js';
import { creamCache } from '../../files/cache.js';
import { DEFAULT_MODEL, resolveModel } from '../../models/resolve.js';
import type { Cli } from '../cli.js';
import { printJson, printLine } from '../table.js';

interface Finding {
  what: string;
  found: string;
  ok: boolean;
}

export function addDoctor(program: Command, _cli: Cli): void {
  program
    .command('doctor')
    .description('describe this machine: CPU, libtorch, GPUs, cache, model')
    .option('--json', 'as JSON')
    .action(async (flags: { json?: boolean }) => {
      const findings = [...machine(), ...engine(), await model()];
      if (flags.json) printJson(findings);
      else
        for (const { what, found, ok } of findings)
          printLine(`${ok ? 'ok ' : '-- '} ${what.padEnd(9)} ${found}`);
      if (findings.some((finding) => !finding.ok)) process.exitCode = 1;
    });
}

function machine(): Finding[] {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const current = major > 20 || (major === 20 && minor >= 19);
  return [
    {
      what: 'node',
      found: `${process.versions.node}${current ? '' : ', older than the 20.19 that is needed'}`,
      ok: current,
    },
    {
      what: 'machine',
      found:
        `${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB memory, ` +
        `${process.platform} ${process.arch}`,
      ok: true,
    },
    { what: 'cache', found: creamCache(), ok: true },
  ];
}

function engine(): Finding[] {
  let info: EngineInfo;
  try {
    info = engineInfo();
  } catch (error) {
    return [{ what: 'addon', found: (error as Error).message, ok: false }];
  }
  return [
    { what: 'addon', found: `cream-lm ${info.version}, ready`, ok: true },
    { what: 'libtorch', found: `${info.torch}${libtorchPath()}`, ok: true },
    {
      what: 'cpu',
      found:
        `${info.cpu.model}: ` +
        `${info.cpu.features.join(' ') || 'none of the features that our kernels look for'}`,
      ok: true,
    },
    {
      what: 'kernels',
      found: `${info.cpu.level}${info.cpu.loss && `. ${info.cpu.loss}`}`,
      ok: true,
    },
    { what: 'threads', found: `${info.threads}`, ok: true },
    ...cuda(info.cuda),
  ];
}

/** A missing GPU is not a fault; a GPU that the addon was built for and cannot use is one. */
function cuda({ built, toolkit, architectures, problem, gpus }: CudaInfo): Finding[] {
  if (!built)
    return [{ what: 'cuda', found: `no: ${problem} (docs/cuda.md); device: cpu works`, ok: true }];
  return [
    {
      what: 'cuda',
      found:
        `kernels of CUDA ${toolkit} for ` +
        `${architectures}${problem && `; no GPU: ${problem}; device: cpu works`}`,
      ok: problem === '',
    },
    ...gpus.map((gpu) => ({
      what: `cuda:${gpu.index}`,
      found:
        `${gpu.name}, compute capability ${gpu.computeCapability}, ${gpu.multiprocessors} ` +
        `multiprocessors, ${memory(gpu)}`,
      ok: true,
    })),
  ];
}

/** A GPU that other processes fill, or use exclusively, may refuse even this query. */
function memory({ index, memoryBytes }: CudaInfo['gpus'][number]): string {
  const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
  try {
    return `${gib(freeDeviceMemory(index))} of ${gib(memoryBytes)} GiB free`;
  } catch (error) {
    return `${gib(memoryBytes)} GiB, which cannot be used now: ${(error as Error).message}`;
  }
}

/** The path of the loaded libtorch as reported by the system; empty if it reports none. */
function libtorchPath(): string {
  const maps = '/proc/self/maps';
  const line = existsSync(maps)
    ? readFileSync(maps, 'utf8')
        .split('\n')
        .find((entry) => /libtorch_cpu\.so/.test(entry))
    : undefined;
  return line ? ` in ${line.slice(line.indexOf('/')).replace(/\/libtorch_cpu\.so.*$/, '')}` : '';
}

async function model(): Promise<Finding> {
  try {
    const { path, licence } = await resolveModel(DEFAULT_MODEL, { offline: true });
    return {
      what: 'model',
      found: `${DEFAULT_MODEL}${licence ? ` (${licence})` : ''} in ${path}`,
      ok: true,
    };
  } catch {
    return {
      what: 'model',
      found: `${DEFAULT_MODEL} is not in the cache; the first run fetches it (about 100 MB)`,
      ok: true,
    };
  }
}
