// `npm run fuzz`: builds the libFuzzer targets of test/fuzz with clang, under ASan and UBSan, and
// runs each on seeds from test/golden. `npm run fuzz -- --seconds 600 gguf` runs one target for
// longer. Findings and the grown corpus are kept in build/fuzz.
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { parseArgs } from 'node:util';
import { findLibtorch } from './libtorch.mjs';
import { newest, probe, root, runMain, runStep, say, SetupError } from './steps.mjs';

const CONFIG = ['model/config.cpp', 'model/families.cpp', 'support/json.cpp'];
const CONFIG_FILES = ['model/config_reader.cpp', 'model/config_writer.cpp'];
/** Sources that are compiled under the sanitizers; the rest is linked from the built core. */
const TARGETS = {
  adapter: {
    sources: ['weights/adapter.cpp', 'support/json.cpp'],
    seeds: /^adapter_config\.json$/,
  },
  adapter_weights: {
    sources: ['weights/adapter.cpp', 'weights/safetensors.cpp', 'support/json.cpp'],
    seeds: /^adapter_model\.safetensors$/,
  },
  config: { sources: [...CONFIG, ...CONFIG_FILES], seeds: /^config\.json$/ },
  gguf: { sources: ['weights/gguf.cpp', 'weights/dequantize.cpp'], seeds: /\.gguf$/ },
  safetensors: {
    sources: ['weights/safetensors.cpp', 'weights/dequantize.cpp', 'support/json.cpp'],
    seeds: /\.safetensors$/,
  },
};
const OUT = join(root, 'build/fuzz');
const HEADER = join(root, 'native/support/torch.h');
const FLAGS = [
  ...[
    '-std=c++20',
    '-gline-tables-only',
    '-O1',
    '-fno-omit-frame-pointer',
    '-D_GLIBCXX_USE_CXX11_ABI=1',
  ],
  '-fsanitize=fuzzer,address,undefined',
  '-fno-sanitize=vptr', // libtorch is built without run-time type checks of its classes
];

await runMain(() => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string', default: '10' } },
  });
  const clang = process.env.CLANGXX || 'clang++';
  if (probe(clang, ['--version']) === null)
    throw new SetupError(`${clang} was not found: install clang, or set CLANGXX to it.`);
  const names = positionals.length > 0 ? positionals : Object.keys(TARGETS);
  for (const name of names) {
    if (!TARGETS[name])
      throw new SetupError(
        `'${name}' is no fuzz target; known: ${Object.keys(TARGETS).join(', ')}.`,
      );
    const program = build(clang, name);
    const corpus = seed(name);
    say(`fuzzing ${name} for ${values.seconds} s`);
    runStep(
      program,
      [
        corpus,
        `-max_total_time=${values.seconds}`,
        '-timeout=10',
        '-rss_limit_mb=4096',
        '-print_final_stats=1',
        `-artifact_prefix=${OUT}/${name}-`,
      ],
      { quiet: true, env: { UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1' } },
    );
  }
  console.log(`${names.length} fuzz targets ran without a finding`);
});

function build(clang, name) {
  const torch = findLibtorch();
  const program = join(OUT, `fuzz_${name}`);
  const main = join(root, `test/fuzz/fuzz_${name}.cpp`);
  const core = join(root, 'build/cmake/libcream_core.a');
  if (!existsSync(core)) throw new SetupError('The addon is not built; run `npm run setup`.');
  if (isNewer(program, main)) return program;
  mkdirSync(OUT, { recursive: true });
  say(`building the fuzz target ${name}`);
  const sources = TARGETS[name].sources.map((source) => join(root, 'native', source));
  const objects = [main, ...sources].map((source) => compile(clang, torch, source));
  const openmp = readdirSync(join(torch.root, 'lib')).find((file) => /^lib(gomp|omp)/.test(file));
  runStep(
    clang,
    [
      ...FLAGS,
      ...objects,
      core,
      ...['libtorch_cpu.so', 'libc10.so', ...(openmp ? [openmp] : [])].map((file) =>
        join(torch.root, 'lib', file),
      ),
      `-Wl,-rpath,${join(torch.root, 'lib')}`,
      // Objects of the core hold several sources each, also some that were compiled here.
      '-Wl,-z,muldefs',
      '-lpthread',
      '-o',
      program,
    ],
    { quiet: true },
  );
  return program;
}

function isNewer(made, source) {
  return existsSync(made) && newest(made) > newest(join(root, 'native'), source);
}

/** The object of a source, which all targets that need it share. */
function compile(clang, torch, source) {
  const object = join(OUT, `${relative(root, source).replaceAll(sep, '-')}.o`);
  if (isNewer(object, source)) return object;
  const includes = ['include', 'include/torch/csrc/api/include'].flatMap((folder) => [
    '-isystem',
    join(torch.root, folder),
  ]);
  const flags = [...FLAGS, `-I${join(root, 'native')}`, ...includes];
  // Most of a source's time would go into libtorch's headers and their templates.
  const header = join(OUT, 'torch.pch');
  if (!isNewer(header, HEADER))
    runStep(
      clang,
      [...flags, '-fpch-instantiate-templates', '-x', 'c++-header', HEADER, '-o', header],
      { quiet: true },
    );
  runStep(clang, [...flags, '-include-pch', header, '-c', source, '-o', object], { quiet: true });
  return object;
}

/** Small files of test/golden that the target reads, and interesting inputs of earlier runs. */
function seed(name) {
  const corpus = join(OUT, `corpus-${name}`);
  mkdirSync(corpus, { recursive: true });
  const walk = (folder) =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)],
    );
  walk(join(root, 'test/golden'))
    .filter((file) => TARGETS[name].seeds.test(basename(file)))
    .forEach((file, i) => copyFileSync(file, join(corpus, `seed-${i}`)));
  return corpus;
}
