// Makes the inputs of all contenders: the model as a folder saved by cream, and one specification
// per case, fixed by seed. Texts are the built-in prompts; completions to score and train on are
// slices of their worked solutions, of drawn lengths.
import { copyFileSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { builtinDemonstrations, builtinPrompts } from '../dist/data/builtin.js';
import { engineInfo, loadModel, Model } from '../dist/index.js';
import { generateFlops, scoreFlops, trainFlops } from './flops.mjs';
import { writeModel } from './shapes.mjs';
import { report, spec } from './trial.mjs';

const SEED = 5;
/**
 * [full, quick, on a GPU], and the number of rows that the GPU gets at once, the same for cream-lm
 * and peers. The titles in works.mjs state the same numbers.
 */
const SIZES = {
  generate: { prompts: [8, 2, 64], samples: [5, 2, 5], tokens: [64, 4, 256], together: [8, 8, 64] },
  ragged: { prompts: [64, 3, 64], samples: [5, 2, 5], tokens: [128, 6, 512], together: [8, 8, 64] },
  score: {
    prompts: [64, 2, 64],
    samples: [5, 2, 5],
    shortest: [32, 4, 128],
    longest: [128, 8, 512],
    together: [8, 8, 64],
  },
  train: {
    pairs: [48, 2, 48],
    warmUp: [8, 1, 8],
    batch: [8, 1, 8],
    shortest: [56, 4, 128],
    longest: [144, 8, 512],
  },
  iteration: { prompts: [16, 2, 16], samples: [5, 3, 5], tokens: [96, 8, 256], batch: [8, 2, 8] },
};
const onGpu = spec.device !== 'cpu';
const column = spec.quick ? 1 : onGpu ? 2 : 0;
const size = Object.fromEntries(
  Object.entries(SIZES).map(([name, sizes]) => [
    name,
    Object.fromEntries(Object.entries(sizes).map(([key, value]) => [key, value[column]])),
  ]),
);

/** mulberry32 */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const language = await loadModel(spec.model);
mkdirSync(spec.folder, { recursive: true });
const folder = spec.shape ? writeModel(spec.folder, spec.shape) : join(spec.folder, 'model');
if (!spec.shape) await language.save(folder);
else copyTokenizer(language.source.path, folder);
// The reference log-probs of a shape are its own too; it is loaded for them on the device where it
// runs.
const policy = spec.shape ? await Model.load(folder, { device: spec.device }) : language.model;
const { config } = policy;
const threads = engineInfo().threads;
const next = random(SEED);
const between = (shortest, longest) => shortest + Math.floor(next() * (longest - shortest + 1));
const prompts = builtinPrompts({ seed: SEED, split: 'train', count: 64 });
// A model with a short context (as in tests) gets the ends of the prompts.
const promptTokens = [];
for (const { prompt } of prompts)
  promptTokens.push(
    (await language.encodePrompt(prompt))
      .slice(-Math.floor(config.maxPositionEmbeddings / 3))
      .map((id) => id % config.vocabSize),
  );
const text = builtinDemonstrations({ seed: SEED, count: spec.quick ? 20 : 400 }).flatMap(
  ({ completion }) =>
    language.tokenizer.encode(`${completion[0].content}\n`).map((id) => id % config.vocabSize),
);

function completion({ shortest, longest }) {
  const length = between(shortest, longest);
  const start = between(0, text.length - length - 1);
  return text.slice(start, start + length);
}

/** TRL requires a tokenizer beside the weights, and a run a chat template. */
function copyTokenizer(from, to) {
  if (statSync(from).isDirectory())
    for (const name of readdirSync(from))
      if (/token|merges|vocab|chat_template/.test(name))
        copyFileSync(join(from, name), join(to, name));
}

/** What an iteration runs on: of a shape, with a vocabulary whose every id its tokenizer knows. */
async function iterationModel() {
  if (!spec.shape || !spec.iteration) return { model: folder, config };
  const { vocabSize } = language.model.config;
  const model = writeModel(spec.folder, spec.shape, vocabSize);
  // A GGUF file holds its tokenizer: saved, it lies in files.
  const saved = join(spec.folder, 'saved');
  await language.save(saved);
  copyTokenizer(saved, model);
  return { model, config: { ...config, vocabSize } };
}

const common = {
  model: folder,
  device: spec.device,
  threads,
  eos: spec.shape ? config.eosTokenIds : language.stopIds,
  seed: SEED,
  sampling: { temperature: 0.8, topP: 0.95 },
};
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

function write(name, content) {
  writeFileSync(join(spec.folder, `${name}.json`), JSON.stringify({ name, ...common, ...content }));
}

function generation(name, { prompts: count, samples, tokens, together }, ragged) {
  const tokenIds = promptTokens.slice(0, count);
  const flops = generateFlops(
    config,
    tokenIds.map((prompt) => ({ prompt: prompt.length, lengths: Array(samples).fill(tokens) })),
  );
  write(name, {
    prompts: tokenIds,
    samples,
    newTokens: tokens,
    minNewTokens: ragged ? 0 : tokens,
    batchPrompts: together,
    config,
    ...(onGpu && { maxNumSeqs: together * samples }),
    ...(!ragged && { flops: flops.all }),
  });
}

function scoring() {
  const groups = promptTokens.slice(0, size.score.prompts).map((prompt) => ({
    prompt,
    completions: Array.from({ length: size.score.samples }, () => completion(size.score)),
  }));
  write('score', {
    groups,
    batch: size.score.together,
    ...(onGpu && { maxNumBatchedTokens: 32_768 }),
    tokens: sum(
      groups.map(({ prompt, completions }) =>
        sum(completions.map((tokens) => prompt.length + tokens.length)),
      ),
    ),
    flops: scoreFlops(
      config,
      groups.map(({ prompt, completions }) => ({
        prompt: prompt.length,
        lengths: completions.map((tokens) => tokens.length),
      })),
    ),
  });
}

async function training() {
  const { pairs: count, warmUp, batch } = size.train;
  const pairs = Array.from({ length: warmUp + count }, (_, i) => ({
    prompt: promptTokens[i],
    chosen: completion(size.train),
    rejected: completion(size.train),
  }));
  const { sums } = await policy.score({
    groups: pairs.map(({ prompt, chosen, rejected }) => ({
      prompt,
      completions: [chosen, rejected],
    })),
  });
  pairs.forEach((pair, i) =>
    Object.assign(pair, { referenceChosen: sums[2 * i], referenceRejected: sums[2 * i + 1] }),
  );
  const measured = pairs.slice(warmUp);
  write('train', {
    pairs,
    batch,
    ...(onGpu && { microBatchTokens: 16_384 }),
    warmUpSteps: warmUp / batch,
    learningRate: 1e-6,
    beta: 0.1,
    tokens: sum(
      measured.map(
        ({ prompt, chosen, rejected }) => 2 * prompt.length + chosen.length + rejected.length,
      ),
    ),
    flops: trainFlops(
      config,
      measured.map(({ prompt, chosen, rejected }) => ({
        prompt: prompt.length,
        lengths: [chosen.length, rejected.length],
      })),
    ),
  });
}

/** Sampling, log-probs under two models, and one epoch on a pair of every prompt. */
async function iteration() {
  const { prompts: count, samples, tokens, batch } = size.iteration;
  const all = promptTokens
    .slice(0, count)
    .map((prompt) => ({ prompt: prompt.length, lengths: Array(samples).fill(tokens) }));
  const pairs = all.map(({ prompt }) => ({ prompt, lengths: [tokens, tokens] }));
  const { model, config } = await iterationModel();
  write('iteration', {
    model,
    prompts: prompts.slice(0, count).map(({ id, prompt }) => ({ id, prompt })),
    samples,
    newTokens: tokens,
    minNewTokens: tokens,
    batchPrompts: size.generate.together,
    batch,
    learningRate: 1e-6,
    beta: 0.1,
    tokens: count * samples * tokens,
    flops: generateFlops(config, all).all + 2 * scoreFlops(config, all) + trainFlops(config, pairs),
  });
}

write('machine', {
  config,
  quick: spec.quick,
  ...(onGpu && !spec.quick && { rows: size.generate.together * size.generate.samples }),
});
generation('generate', size.generate, false);
generation('generate-ragged', size.ragged, true);
scoring();
await training();
write('load', { prompt: promptTokens[0].slice(0, 8), tokens: 0 });
await iteration();

const { version, torch, cpu, cuda } = engineInfo();
const gpu = onGpu
  ? cuda.gpus.find(({ index }) => index === Number(spec.device.split(':')[1] ?? 0))
  : undefined;
report({
  machine: {
    cpu: cpu.model,
    features: cpu.features,
    level: cpu.level,
    loss: cpu.loss,
    cores: cpus().length,
    threads,
    memoryBytes: totalmem(),
    node: process.versions.node,
    creamLm: version,
    libtorch: torch,
    ...(gpu && { gpu: { ...gpu, toolkit: cuda.toolkit, architectures: cuda.architectures } }),
  },
  model: { name: spec.shape ?? spec.model, parameters: config.parameters, ...config },
  source: language.source.path,
  size,
});
if (policy !== language.model) await policy.dispose();
await language.dispose();
