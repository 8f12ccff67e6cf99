// A model of a run on many GPUs: where each stage stops scaling, and why. It multiplies figures of
// one GPU with the traffic of several; nothing in it was measured on more than one GPU.
//   node scripts/scale-model.mjs [--json]
import { pathToFileURL } from 'node:url';

/** Measured with this engine on one H100 80GB HBM3 (November 2026; BENCHMARKS.md, docs/cuda.md). */
const H100 = {
  '1b': { sample: 28_500, score: 233_000, train: 50_700 }, // tokens per second and GPU
  '8b': { sample: 9_500, score: 40_800, train: 9_080 },
};
/** Not measured: the 8B's rates in proportion to the parameters. */
const SHAPES = {
  // `vocabulary`: embedding or head; `outside`: all parameters outside the layers.
  '1b': { parameters: 1.24e9, layers: 16, vocabulary: 0.26e9, outside: 0.26e9, ...H100['1b'] },
  '8b': { parameters: 8.03e9, layers: 32, vocabulary: 0.53e9, outside: 1.05e9, ...H100['8b'] },
  '70b': {
    parameters: 70.6e9,
    layers: 80,
    vocabulary: 1.05e9,
    outside: 2.1e9,
    ...Object.fromEntries(Object.entries(H100['8b']).map(([k, v]) => [k, (v * 8.03) / 70.6])),
  },
};

/** Nominal figures of NVIDIA's DGX H100, and the part of them that large NCCL collectives reach. */
const NETWORK = {
  gpusPerNode: 8,
  nvlink: 450e9, // bytes per second, GPU and direction (NVLink 4, 900 GB/s both ways)
  link: 50e9, // 400 Gb/s InfiniBand or Ethernet per GPU, each with a ring of its own
  efficiency: 0.8,
  hop: 5e-6, // seconds per step of a ring within a node, and of a tree between nodes
};
/** Assumed: shared storage, and what Node parses and writes of JSON on rank 0. */
const STORAGE = 50e9; // bytes per second, of all readers together
const RANK_0_JSON = 100e6; // bytes per second
const JSON_BYTES_PER_TOKEN = 12; // ids and text of a completion, as completions.jsonl has them

/** One iteration of CREAM as the paper's: prompts, samples, tokens. */
const WORK = {
  prompts: 20_000,
  samples: 5,
  prompt: 128,
  completion: 256,
  batchRows: 16_384, // per GPU and step
  microBatchRows: 8_192,
};
const UNITS_PER_RANK = 4; // src/run/team.ts

/**
 * Bytes that a GPU sends: fp32 gradients in each micro-batch, bf16 weights in each step, or, where
 * they are sharded, in each forward and each backward pass.
 */
export function stepBytes(parameters, gpus) {
  const part = (gpus - 1) / gpus;
  return { gradients: 4 * parameters * part, weights: 2 * parameters * part };
}

/**
 * Bytes per GPU while a step is taken: gradients and states are sharded (`train.shard: optimizer`,
 * ZeRO-2), or the weights too (`weights`, ZeRO-3), of which two layers, or one and the vocabulary,
 * are then whole.
 */
export function stateBytes({ parameters, layers, vocabulary, outside }, gpus, shard) {
  if (gpus === 1) return 18 * parameters;
  const layer = (parameters - outside) / layers;
  const shards = (4 + 12) * (parameters / gpus); // fp32 gradients, master weights, m and v
  // Whole gradients under way, as native/engine/plan.cpp counts them.
  const sent = (4 + 4 / gpus) * layer;
  const tied = outside === vocabulary;
  const exchange =
    4 * layer + (tied ? 4 * vocabulary + sent : Math.max((4 + 4 / gpus) * vocabulary, sent));
  const gathered = 2 * (layer + Math.max(layer, vocabulary));
  const weights = shard === 'weights' ? (2 * parameters) / gpus + gathered : 2 * parameters;
  return weights + shards + exchange;
}

function collectiveSeconds(bytes, gpus) {
  if (gpus === 1) return 0;
  const within = gpus <= NETWORK.gpusPerNode;
  const between = Math.min(NETWORK.nvlink, NETWORK.gpusPerNode * NETWORK.link);
  const rate = (within ? NETWORK.nvlink : between) * NETWORK.efficiency;
  const hops = within
    ? gpus - 1
    : NETWORK.gpusPerNode - 1 + 2 * Math.log2(gpus / NETWORK.gpusPerNode);
  return bytes / rate + hops * NETWORK.hop;
}

/**
 * Seconds per step that a GPU waits for others. Gradients move behind the backward pass, two thirds
 * of computing, but for the last ones, the embedding's. Sharded weights move behind both passes but
 * for the first ones, the embedding's too.
 */
function waiting({ parameters, vocabulary, train }, gpus, shard) {
  const { gradients, weights } = stepBytes(parameters, gpus);
  const seconds = (bytes) => collectiveSeconds(bytes, gpus);
  const edge = (bytes) => (seconds(bytes) * vocabulary) / parameters;
  const computing = WORK.microBatchRows / train;
  const microBatches = WORK.batchRows / WORK.microBatchRows;
  const backward = (bytes) => Math.max(edge(gradients), seconds(bytes) - (2 / 3) * computing);
  if (shard === 'optimizer') return microBatches * backward(gradients) + seconds(weights);
  const forward = Math.max(edge(weights), seconds(weights) - computing / 3);
  return microBatches * (forward + backward(gradients + weights));
}

/** Seconds of each stage of one iteration, and the share of the GPUs' time that is computation. */
export function iteration(shape, gpus, shard = 'optimizer') {
  const { parameters, sample, score, train } = SHAPES[shape];
  const completions = WORK.prompts * WORK.samples;
  const sampled = completions * WORK.completion;
  // The last units end at different times: half a unit of the four to eight of a rank.
  const units = Math.min(UNITS_PER_RANK, WORK.prompts / gpus);
  const dealing = gpus === 1 ? 1 : units / (units + 0.5);
  const json = gpus === 1 ? 0 : (sampled * JSON_BYTES_PER_TOKEN) / RANK_0_JSON;
  const dealt = (tokens, rate) => Math.max(tokens / rate / gpus / dealing, json);
  const scored = 2 * (sampled + WORK.prompts * WORK.prompt);
  const rows = WORK.prompts * (WORK.prompt + 2 * WORK.completion);
  const step = waiting(SHAPES[shape], gpus, shard);
  const steps = Math.max(1, rows / (WORK.batchRows * gpus));
  const computed = rows / train / gpus;
  // Every rank reads the fp32 checkpoint once; rank 0 gathers and writes it.
  const loading = (4 * parameters * gpus) / STORAGE + (4 * parameters) / 2e9;
  return {
    sample: { seconds: dealt(sampled, sample), computing: sampled / sample / gpus },
    score: { seconds: dealt(scored, score), computing: scored / score / gpus },
    train: { seconds: computed + steps * step, computing: computed },
    load: { seconds: loading, computing: 0 },
  };
}

function table() {
  const lines = [
    ['model', 'GPUs', 'sample', 'score', 'train', '(ZeRO-3)', 'load, save', 'GiB', '(ZeRO-3)'],
  ];
  for (const shape of Object.keys(SHAPES))
    for (const gpus of [1, 8, 64, 1024]) {
      const stages = iteration(shape, gpus);
      const told = ({ seconds, computing }) =>
        `${seconds.toFixed(1)} s, ${Math.round((100 * computing) / seconds)} %`;
      const sharded = iteration(shape, gpus, 'weights');
      const gib = (shard) => (stateBytes(SHAPES[shape], gpus, shard) / 2 ** 30).toFixed(1);
      const several = (text) => (gpus > 1 ? text : '');
      lines.push([
        shape,
        String(gpus),
        told(stages.sample),
        told(stages.score),
        told(stages.train),
        several(told(sharded.train)),
        `${stages.load.seconds.toFixed(1)} s`,
        gib('optimizer'),
        several(gib('weights')),
      ]);
    }
  return lines;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--json')) {
    const all = Object.keys(SHAPES).flatMap((shape) =>
      [1, 8, 64, 1024].flatMap((gpus) =>
        ['optimizer', 'weights'].map((shard) => ({
          shape,
          gpus,
          shard,
          ...iteration(shape, gpus, shard),
        })),
      ),
    );
    console.log(JSON.stringify(all, null, 2));
  } else {
    const rows = table();
    const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
    for (const row of rows)
      console.log(
        row
          .map((cell, i) => cell.padEnd(widths[i]))
          .join('  ')
          .trimEnd(),
      );
  }
}
