// The driver of `cream bench`: fresh processes take turns (roofline, cream-lm and each peer), round
// after round; it reports medians with min–max.
//   node bench/index.mjs [work | roofline | curves | ranks] [--peers] [--json FILE] [--levels]
//   [--quick] [--kernels] [--model NAME] [--shape NAME] [--device NAME] [--repeat N] [--markdown]
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { creamCache } from '../dist/files/cache.js';
import { curveTables, measureCurves } from './curves.mjs';
import { BenchError, findLlama, findPython, ggufFormats, hasModule, UsageError } from './peers.mjs';
import { nominalPeak } from './gpus.mjs';
import { kernelLibrary, kernelTable, readKernels, recording } from './kernels.mjs';
import { measureRanks, ranksTable } from './ranks.mjs';
import { shapeNamed, SHAPES, trainingBytes } from './shapes.mjs';
import { short, summarise } from './statistics.mjs';
import { caseTable, notes, ROOFLINE, rooflineTable } from './tables.mjs';
import { WORKS } from './works.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const say = (text) => process.stderr.write(`[bench] ${text}\n`);
const print = (text) => process.stdout.write(`${text}\n`);

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: 'boolean' },
    json: { type: 'string' },
    levels: { type: 'boolean' },
    kernels: { type: 'boolean' },
    quick: { type: 'boolean' },
    markdown: { type: 'boolean' },
    model: { type: 'string' },
    repeat: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    shape: { type: 'string' },
  },
});
/** Works of their own kind, which are measured only if they are named. */
const APART = ['roofline', 'curves', 'ranks'];
const model = flags.model ?? 'smollm2-135m-instruct';
const onGpu = flags.device !== 'cpu';
let current;

/** Runs one trial to its end and returns its result. */
function trial(program, args, env = {}) {
  return new Promise((resolve, reject) => {
    current = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let out = '';
    let err = '';
    current.stdout.on('data', (data) => (out += data));
    current.stderr.on('data', (data) => (err = (err + data).slice(-20_000)));
    current.on('error', reject);
    current.on('close', (code, signal) => {
      const line = out.split('\n').findLast((text) => text.startsWith('{') && text.endsWith('}'));
      if (code === 0 && line) return resolve(JSON.parse(line));
      reject(
        new BenchError(
          `${basename(args[0])} ended with ${signal ?? `exit code ${code}`}: ` +
            `${err.trim().split('\n').slice(-3).join(' / ') || 'it said nothing'}`,
        ),
      );
    });
  });
}

async function main() {
  const { work, repeat, shape, library } = checkedFlags();
  const folder = ownFolder();
  const prepared = await prepare(work, shape, folder);
  const measured = await measure(work, repeat, { ...prepared, folder, library });
  const result = {
    format: 1,
    made: new Date().toISOString(),
    quick: Boolean(flags.quick),
    machine: prepared.machine,
    model: prepared.model,
    sizes: prepared.size,
    ...measured,
  };
  if (flags.json === '-') return print(JSON.stringify(result, null, 2));
  if (flags.json) writeFileSync(flags.json, `${JSON.stringify(result, null, 2)}\n`);
  describe(result);
}

/** The work that is asked for, its rounds and shape, and the library that records kernels. */
function checkedFlags() {
  const work = positionals[0] ?? 'all';
  if (positionals.length > 1 || !(work === 'all' || APART.includes(work) || work in WORKS))
    throw new UsageError(
      `There is no work '${positionals.join(' ')}'; choose one of ${APART.join(', ')}, ` +
        `${Object.keys(WORKS).join(', ')}.`,
    );
  const repeat = flags.repeat === undefined ? undefined : Number(flags.repeat);
  if (repeat !== undefined && !(Number.isInteger(repeat) && repeat >= 1))
    throw new UsageError(`--repeat ${flags.repeat} is no whole number of at least 1.`);
  const shape = flags.shape && shapeNamed(flags.shape);
  if (flags.shape !== undefined && !shape)
    throw new UsageError(
      `There is no shape '${flags.shape}'; choose one of ${Object.keys(SHAPES).join(', ')}.`,
    );
  const library = flags.kernels ? kernelLibrary() : undefined;
  if (flags.kernels && !onGpu)
    throw new UsageError('--kernels records kernels of a GPU: name one with --device cuda.');
  if (flags.kernels && !library)
    throw new BenchError(
      '--kernels needs kernel_times.so beside the addon: build where CUPTI is there, which comes ' +
        "with the CUDA toolkit and with torch's NVIDIA packages.",
    );
  return { work, repeat, shape, library };
}

/** A folder for this call's files, which goes with the process, as does a trial in progress. */
function ownFolder() {
  // Not the system's temporary folder, which may be in memory.
  mkdirSync(creamCache(), { recursive: true });
  const folder = mkdtempSync(join(creamCache(), 'bench-'));
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])
    process.on(signal, () => process.exit(code));
  process.on('exit', () => {
    current?.kill('SIGKILL');
    // A killed trial may still be writing.
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  return folder;
}

/** Makes the specifications of the cases in `folder`; describes machine, model and sizes. */
function prepare(work, shape, folder) {
  const specification = join(folder, 'prepare.json');
  writeFileSync(
    specification,
    JSON.stringify({
      model,
      shape,
      device: flags.device,
      quick: Boolean(flags.quick),
      iteration: ['all', 'iteration'].includes(work),
      folder,
    }),
  );
  say(`preparing ${shape ?? model}`);
  return trial(process.execPath, [here('prepare.mjs'), specification]);
}

/** The roofline, and what `work` asks for; tables of cases are printed as they are measured. */
async function measure(work, repeat, { machine, model, source, folder, library }) {
  const works = APART.includes(work)
    ? []
    : (work === 'all' ? Object.keys(WORKS) : [work]).filter((name) =>
        possible(name, work, model, machine),
      );
  const peers = flags.peers && works.length > 0 ? preparePeers(works, source, folder) : undefined;
  const rooflines = [];
  const cases = [];
  const measureRoofline = async () => {
    const { peakRss: _, ...sample } = await trial(process.execPath, [
      here('machine.mjs'),
      join(folder, 'machine.json'),
    ]);
    rooflines.push(sample);
    return sample;
  };
  for (let i = 0; i < (flags.quick || works.length > 0 ? 1 : (repeat ?? 5)); i++)
    await measureRoofline();
  for (const each of works.flatMap((name) => WORKS[name].map((one) => ({ ...one, work: name })))) {
    const rounds = flags.quick ? 1 : (repeat ?? each.repeat);
    const measured = await measureCase(
      each,
      contendersOf(each, peers, machine.level),
      rounds,
      measureRoofline,
      { folder, machine },
    );
    cases.push(
      library ? { ...measured, kernels: await kernelsOf(each, library, folder) } : measured,
    );
    if (flags.json !== '-') show(cases.at(-1));
  }
  const apart = await measureApart(work, repeat, folder);
  const roofline = Object.fromEntries(
    Object.keys(ROOFLINE).map((key) => [key, summarise(rooflines.map((sample) => sample[key]))]),
  );
  return { roofline, cases, ...apart };
}

/** The works of their own kind, with their tables. */
async function measureApart(work, repeat, folder) {
  const quick = Boolean(flags.quick);
  const rounds = (standard) => (quick ? 1 : (repeat ?? standard));
  const shown = flags.json !== '-';
  if (work === 'curves') {
    const run = pointOf(folder, flags.device);
    const curves = await measureCurves({ quick, rounds: rounds(2), folder, say, run });
    if (shown) print(`\n${curveTables(curves, flags.markdown)}`);
    return { curves };
  }
  if (work === 'ranks') {
    const ranks = await measureRanks({ quick, rounds: rounds(3), folder, model, say });
    if (shown) print(`\n${ranksTable(ranks, flags.markdown)}`);
    return { ranks };
  }
  return {};
}

/** Prints the machine, the versions and the roofline. */
function describe({ machine, model, roofline }) {
  if (machine.gpu)
    print(
      `\n${machine.gpu.name}, ${short(machine.gpu.memoryBytes / 2 ** 30)} GiB; CUDA ` +
        `${machine.gpu.toolkit}, kernels for ${machine.gpu.architectures}`,
    );
  print(
    `\n${machine.cpu}, ${machine.level} kernels, ${machine.threads} threads, libtorch ` +
      `${machine.libtorch}, Node ${machine.node}, cream-lm ${machine.creamLm}; ` +
      `${model.name}, ${short(model.parameters / 1e6)} M parameters\n`,
  );
  if (!machine.gpu && machine.loss) print(`${machine.loss}\n`);
  print(rooflineTable(roofline, flags.markdown, machine.gpu));
  if (flags.quick) print('\n--quick: sizes too small to measure anything.');
}

/** One more trial of cream-lm, with its kernels recorded. */
async function kernelsOf({ id, contenders }, library, folder) {
  const { program, script, setting = {} } = contenders[0];
  await trial(
    program,
    [here(`cases/${script}`), join(folder, `${id}.json`), JSON.stringify(setting)],
    recording(library, folder),
  );
  const found = readKernels(folder);
  if (!found) say(`${id}: CUPTI recorded no kernels`);
  return found;
}

/** Runs one point of a cost curve. */
const pointOf = (folder, device) => (specification) => {
  const file = join(folder, 'point.json');
  writeFileSync(file, JSON.stringify({ ...specification, device }));
  return trial(process.execPath, [here('cases/curves/cream.mjs'), file]);
};

/** Whether the card can hold the work. If not, prints the reason, or throws it for a named work. */
function possible(name, asked, { parameters }, { gpu }) {
  const reason =
    gpu && ['train', 'iteration'].includes(name) && trainingBytes(parameters) > gpu.memoryBytes
      ? `training all of ${short(parameters / 1e9)} G parameters takes more than the card has`
      : undefined;
  if (!reason) return true;
  if (asked === name) throw new BenchError(`${name} cannot be measured: ${reason}.`);
  say(`${name} is left out: ${reason}`);
  return false;
}

function preparePeers(works, source, folder) {
  const python = findPython(say, onGpu);
  if (onGpu) return { python, formats: {}, vllm: hasModule(python, 'vllm') };
  if (!works.includes('generate')) return { python, formats: {} };
  const modules = findLlama(say);
  say('writing the formats of llama.cpp');
  const formats = ggufFormats(python, source, join(folder, 'gguf'));
  if (Object.keys(formats).length === 0) say(`llama.cpp is left out: ${source} is no .gguf file`);
  return { python, modules, formats };
}

/** The contenders that can run here: without peers only cream-lm, and llama.cpp once per format. */
function contendersOf({ contenders }, peers, best) {
  const chosen = contenders.filter(
    ({ name, gpu, level }) =>
      (level !== 'avx512_bf16' || best === 'AMX') &&
      (level ? flags.levels && !onGpu : peers || name.startsWith('cream-lm')) &&
      (!gpu || (onGpu && peers.vllm)),
  );
  return chosen.flatMap((contender) => {
    const program = contender.program === 'python' ? peers.python : contender.program;
    if (!contender.formats) return [{ ...contender, program }];
    return Object.entries(peers.formats).map(([format, gguf]) => ({
      ...contender,
      program,
      name: `${contender.name} ${format}`,
      setting: { modules: peers.modules, gguf },
    }));
  });
}

async function measureCase(each, contenders, rounds, measureRoofline, { folder, machine }) {
  const threads = String(machine.threads);
  const env = {
    OMP_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    ...(!machine.gpu && { CUDA_VISIBLE_DEVICES: '' }),
    HF_HUB_OFFLINE: '1',
    HF_DATASETS_CACHE: join(folder, 'datasets'),
    TOKENIZERS_PARALLELISM: 'false',
    TQDM_DISABLE: '1',
    TRANSFORMERS_VERBOSITY: 'error',
  };
  const found = contenders.map(() => []);
  const errors = contenders.map(() => undefined);
  const peaks = [];
  for (let round = -(flags.quick ? 0 : (each.discard ?? 0)); round < rounds; round++) {
    if (round >= 0) peaks.push(await measureRoofline());
    for (const [i, { name, program, script, level, setting = {} }] of contenders.entries()) {
      if (errors[i]) continue;
      try {
        const sample = await trial(
          program,
          [here(`cases/${script}`), join(folder, `${each.id}.json`), JSON.stringify(setting)],
          program !== process.execPath ? env : level ? { CREAM_CPU_LEVEL: level } : {},
        );
        if (round < 0) continue;
        found[i].push(sample);
        say(`${each.id} ${round + 1}/${rounds} ${name}: ${short(sample.seconds)} s`);
        if (sample.graphFailure) say(`${each.id} ${name}: no CUDA graph: ${sample.graphFailure}`);
      } catch (error) {
        errors[i] = error.message;
        say(`${each.id} ${name}: ${error.message}`);
        if (i === 0) throw error; // without cream-lm there is nothing to compare
      }
    }
  }
  return {
    work: each.work,
    case: each.id,
    title: (machine.gpu && each.titleOnGpu) ?? each.title,
    counts: each.counts,
    rounds,
    contenders: contenders.map(({ name, note }, i) => ({
      name,
      note,
      ...(errors[i]
        ? { error: errors[i] }
        : results(found[i], found[0], peaks, name, nominalPeak(machine.gpu?.name))),
    })),
  };
}

/**
 * Results of a contender's samples, round by round relative to cream-lm and to the roofline of the
 * same round.
 */
function results(samples, cream, peaks, name, nominal) {
  const rate = ({ tokens, seconds }) => tokens / seconds;
  const over = (value) =>
    samples.every((sample, i) => Number.isFinite(value(sample, i)))
      ? summarise(samples.map(value))
      : undefined;
  const speed = (sample, i) =>
    sample.tokens > 0 ? rate(cream[i]) / rate(sample) : sample.seconds / cream[i].seconds;
  const own = name.startsWith('cream-lm');
  return JSON.parse(
    JSON.stringify({
      seconds: over(({ seconds }) => seconds),
      readySeconds: over(({ readySeconds }) => readySeconds),
      tokens: samples[0].tokens,
      tokensPerSecond: samples[0].tokens > 0 ? over(rate) : undefined,
      flopsPerSecond: over(({ flops, seconds }) => flops / seconds),
      shareOfPeak: over(({ flops, seconds }, i) => flops / seconds / peaks[i].bf16),
      decodeShareOfRows: over(
        ({ decodeFlopsPerSecond }, i) => decodeFlopsPerSecond / peaks[i].bf16ModelRows,
      ),
      shareOfNominal: over(({ flops, seconds }) => flops / seconds / nominal),
      decodeShareOfCopy: over(
        ({ decodeBytesPerSecond }, i) => decodeBytesPerSecond / peaks[i].copy,
      ),
      peakDevice: over(({ peakDevice }) => peakDevice),
      peakRss: over(({ peakRss }) => peakRss),
      creamSpeed: own ? undefined : over(speed),
      creamReady: own
        ? undefined
        : over(({ readySeconds }, i) => readySeconds / cream[i].readySeconds),
      creamMemory: own ? undefined : over(({ peakRss }, i) => cream[i].peakRss / peakRss),
      samples,
    }),
  );
}

function show(result) {
  print(`\n${flags.markdown ? '### ' : ''}${result.work}: ${result.title}\n`);
  print(caseTable(result, flags.markdown));
  print('');
  for (const note of notes(result)) print(flags.markdown ? `- ${note}` : `  ${note}`);
  if (!result.kernels) return;
  print(`\ncream-lm's kernels, ${short(result.kernels.busySeconds)} s busy\n`);
  print(kernelTable(result.kernels, flags.markdown));
}

try {
  await main();
} catch (error) {
  process.stderr.write(`cream: ${error instanceof BenchError ? error.message : error.stack}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
