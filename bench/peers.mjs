// The peers' installations: a Python virtual environment and a folder of Node modules with pinned
// versions, made once in the current folder. CREAM_BENCH_PYTHON and CREAM_BENCH_NODE name an
// existing Python and an existing folder with node_modules instead.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const PYTHON_PACKAGES = [
  'transformers==5.23.0',
  'trl==1.16.0',
  'peft==0.21.2',
  'accelerate==1.15.0',
  'datasets==5.2.0',
  'gguf==0.19.0',
];
const TORCH = '2.13.0';
const CUDA_TORCH = '2.14.1';
const LLAMA = '3.22.1';

export class BenchError extends Error {}

/** The command line is used wrongly. */
export class UsageError extends BenchError {}

function command(program, args, { cwd, hint } = {}) {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ['ignore', 2, 2] });
  if (error || status !== 0)
    throw new BenchError(
      `${program} ${args.join(' ')} failed${error ? ` (${error.message})` : ''}. ${hint}`,
    );
}

/** Runs `make` unless the folder was completed before with these pins. */
function once(folder, pins, make) {
  const stamp = join(folder, 'pins.json');
  const wanted = JSON.stringify(pins);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  make();
  writeFileSync(stamp, wanted);
}

/** A Python with torch, transformers and TRL. */
export function findPython(say, onGpu = false) {
  if (process.env.CREAM_BENCH_PYTHON) return process.env.CREAM_BENCH_PYTHON;
  const folder = resolve(onGpu ? '.venv-bench-cuda' : '.venv-bench');
  const torch = onGpu ? CUDA_TORCH : TORCH;
  const python = join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
  const hint =
    'Give CREAM_BENCH_PYTHON a Python that has torch, transformers, trl and gguf, or leave ' +
    'out --peers.';
  once(folder, [torch, ...PYTHON_PACKAGES], () => {
    say(`making ${folder} with torch ${torch}, transformers and TRL (once; some minutes)`);
    command('python3', ['-m', 'venv', folder], { hint });
    const pip = (...args) =>
      command(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...args], {
        hint,
      });
    try {
      pip(onGpu ? `torch==${torch}` : `torch==${torch}+cpu`);
    } catch (error) {
      if (onGpu) throw error;
      pip(`torch==${torch}`);
    }
    pip(...PYTHON_PACKAGES);
  });
  return python;
}

/** Whether a Python has a package, tested without importing it. */
export const hasModule = (python, name) =>
  spawnSync(python, [
    '-c',
    `import importlib.util, sys; sys.exit(importlib.util.find_spec('${name}') is None)`,
  ]).status === 0;

/** A folder whose node_modules has node-llama-cpp with its CPU build. */
export function findLlama(say) {
  if (process.env.CREAM_BENCH_NODE) return resolve(process.env.CREAM_BENCH_NODE);
  const folder = resolve('.node-bench');
  // Without this, npm also installs the builds for GPUs: 700 MB.
  const build =
    process.platform === 'linux' && process.arch === 'x64'
      ? [`@node-llama-cpp/linux-x64@${LLAMA}`]
      : process.platform === 'linux' && process.arch === 'arm64'
        ? [`@node-llama-cpp/linux-arm64@${LLAMA}`]
        : [];
  mkdirSync(folder, { recursive: true });
  once(folder, [LLAMA, ...build], () => {
    say(`installing node-llama-cpp ${LLAMA} into ${folder} (once)`);
    writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
    command(
      'npm',
      [
        'install',
        '--no-audit',
        '--no-fund',
        '--ignore-scripts',
        ...(build.length > 0 ? ['--omit=optional'] : []),
        `node-llama-cpp@${LLAMA}`,
        ...build,
      ],
      {
        cwd: folder,
        hint:
          'Give CREAM_BENCH_NODE a folder whose node_modules has node-llama-cpp, or leave ' +
          'out --peers.',
      },
    );
  });
  return folder;
}

/**
 * The model's .gguf in the formats for which llama.cpp is fast, by name; empty if the model did not
 * come as a .gguf.
 */
export function ggufFormats(python, source, folder) {
  if (!source.toLowerCase().endsWith('.gguf')) return {};
  command(python, [new URL('formats.py', import.meta.url).pathname, source, folder], {
    hint: 'The formats of llama.cpp could not be written.',
  });
  return {
    ...Object.fromEntries(
      ['BF16', 'Q8_0', 'Q4_0'].map((name) => [name, join(folder, `${name}.gguf`)]),
    ),
    'as it came': source,
  };
}
