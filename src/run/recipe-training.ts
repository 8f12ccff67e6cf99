/** The training sections of the recipe: `sft`, `lora` and `train`. */
import { z } from 'zod';
import { LOSSES } from '../engine/requests.js';
import { CPU_AUTO } from '../engine/requests.js';
import {
  columns,
  count,
  fromFile,
  onBadRow,
  only,
  onlyAll,
  positive,
  source,
  text,
} from './recipe-types.js';

/** Optimisation settings that SFT and preference training share; their defaults differ. */
const optimisation = (defaults: {
  section: 'sft' | 'train';
  learningRate: number;
  epochs: number;
  batchSize: number;
  unit: string;
}) => ({
  learning_rate: positive(defaults.learningRate).describe(
    'Peak learning rate of AdamW. Master weights are fp32, so updates at 1.0e-6 are ' +
      'not lost to rounding.',
  ),
  epochs: z
    .int()
    .min(1)
    .max(1000)
    .default(defaults.epochs)
    .describe(
      `Passes over the ${defaults.unit}. The order of each depends only on seed, iteration and ` +
        'epoch.',
    ),
  batch_size: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(defaults.batchSize)
    .describe(`${defaults.unit[0]!.toUpperCase()}${defaults.unit.slice(1)} per optimizer step.`),
  micro_batch_tokens: z
    .union([z.literal('auto'), z.int().min(64).max(10_000_000)])
    .default('auto')
    .describe(
      'Tokens of one forward and backward pass; a batch is split into micro-batches of ' +
        "at most this size, which bounds memory. `auto`: as many as the GPU's memory " +
        `allows (\`cream plan\`); ${CPU_AUTO.microBatchTokens} on the CPU.`,
    ),
  weight_decay: z
    .number()
    .min(0)
    .max(10)
    .default(0.01)
    .describe('AdamW weight decay; it is not applied to norm weights.'),
  max_grad_norm: z
    .number()
    .min(0)
    .default(1)
    .describe('Gradients are clipped to this global norm; 0 turns clipping off.'),
  schedule: z
    .enum(['constant', 'linear', 'cosine'])
    .default('cosine')
    .describe('Learning-rate schedule after warm-up.'),
  warmup_ratio: z
    .number()
    .min(0)
    .max(1)
    .default(0.1)
    .describe(
      'Fraction of the optimizer steps over which the learning rate rises linearly from ' +
        '0. As in transformers, the first warm-up step has learning rate 0 and changes ' +
        'nothing; set 0 or `warmup_start: first_step` if an iteration has only a few steps.',
    ),
  warmup_start: only(
    { [`${defaults.section}.warmup_ratio`]: { not: [0] } },
    z
      .enum(['zero', 'first_step'])
      .default('zero')
      .describe(
        'Start of warm-up. `zero`: the n-th of W warm-up steps has (n − 1) / W of the peak, ' +
          'as in transformers. `first_step`: it has n / (W + 1), so that no step is wasted.',
      ),
  ),
  activation_checkpointing: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe(
      "Keep only each layer's input and recompute its activations in the backward pass: " +
        'less memory for more time (BENCHMARKS.md). `auto`: only on a GPU, and only if ' +
        'training does not fit otherwise.',
    ),
  optimizer_states: z
    .enum(['float32', '8bit'])
    .default('float32')
    .describe(
      "Format of AdamW's two moments. `8bit`: blocks of 256 values with one scale each " +
        '(`adamw_8bit` in transformers), 2 bytes per parameter instead of 8 ' +
        '(docs/memory.md).',
    ),
  master_weights: only(
    { dtype: ['bfloat16'] },
    z
      .enum(['float32', 'split'])
      .default('float32')
      .describe(
        'Format of the master weights of bfloat16 weights. `split`: the 16 bits of the ' +
          'float32 master that the bfloat16 weight lacks, 2 bytes per parameter instead of ' +
          '4, with the same values up to the last bit. Not with LoRA, whose master weights ' +
          'are small.',
      ),
  ),
  gradient_dtype: z
    .enum(['float32', 'bfloat16'])
    .default('float32')
    .describe(
      "The dtype in which the gradients of a step's micro-batches are accumulated. " +
        '`bfloat16` takes 2 bytes per parameter instead of 4 and rounds every addition, ' +
        'so use few micro-batches per step.',
    ),
  shard: z
    .enum(['optimizer', 'weights'])
    .default('optimizer')
    .describe(
      'The tensors that are sharded when several GPUs train all weights (docs/scale.md). ' +
        '`optimizer`: gradients, master weights and moments (ZeRO-2). `weights`: the weights too ' +
        '(ZeRO-3), ' +
        'for models that do not fit otherwise; each layer is gathered when it is computed. The ' +
        'results are the same on GPUs, and within rounding on CPUs. In one process it has no ' +
        'effect.',
    ),
  save_steps: count(0, 100).describe(
    'Optimizer steps between two saves of the trainer state (12 bytes per parameter). ' +
      'A killed run loses at most this many steps; 0 saves only on Ctrl-C.',
  ),
  checkpoint_dtype: z
    .enum(['float32', 'bfloat16'])
    .default('float32')
    .describe(
      'The dtype of saved weights. float32 keeps the master weights; bfloat16 halves ' +
        'the file and rounds the weights that the next iteration starts from.',
    ),
});

export const sft = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Fine-tune the base model on demonstrations first (M0 → M1). Without it M1 = M0, ' +
        'and C = 1 in the first iteration.',
    ),
  checkpoint: text().describe(
    'An existing M1 to start from, such as `runs/mine/sft/checkpoint`. It is copied ' +
      'into the run and no demonstrations are read, so several methods can start from ' +
      "the same M1. `--set sft.checkpoint` takes the place of the file's own fine-tuning: its " +
      'other keys of `sft` are left out.',
  ),
  ...onlyAll(
    { 'sft.checkpoint': 'absent' },
    {
      source: source().describe(
        'Demonstrations: `builtin`, or files and data sets as in `prompts`. Rows have ' +
          '`messages`, `prompt` and `completion`, or `instruction` and `output`.',
      ),
      columns: only(fromFile('sft'), columns().describe('Renamed columns, as in `prompts`.')),
      on_bad_row: only(fromFile('sft'), onBadRow('demonstrations')),
      count: count(0, 64).describe('Demonstrations used; 0 takes the whole source.'),
      ...optimisation({
        section: 'sft',
        learningRate: 5e-6,
        epochs: 1,
        batchSize: 8,
        unit: 'demonstrations',
      }),
    },
  ),
});

export const lora = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Train low-rank adapters on frozen weights instead of all weights. Checkpoints ' +
        'are PEFT folders; `cream merge` merges one into its base model.',
    ),
  rank: z.int().min(1).max(65_536).default(32).describe('Rank r of the adapters.'),
  alpha: z
    .number()
    .gt(0)
    .max(1_000_000)
    .default(64)
    .describe("Scaling: the adapter's output is multiplied by α / r."),
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0.1)
    .describe("Dropout on the adapter's input, in training only."),
  target_modules: z
    .array(z.string().min(1))
    .max(64)
    .default([])
    .describe(
      'Linear layers that get an adapter, by their Hugging Face names such as `q_proj`; ' +
        'an empty list means all linear layers of the blocks.',
    ),
});

export const train = z.strictObject({
  loss: z
    .enum(LOSSES)
    .default('dpo')
    .describe(
      'The preference loss: `dpo`, `ipo` (a squared margin per token), `simpo` (mean log-probs, ' +
        'no reference), `kto` (each completion by itself) or `robust` (DPO for flipped labels). ' +
        'Each is C times the loss plus 1 − C times the loss with the roles reversed ' +
        '(docs/method.md).',
    ),
  beta: z
    .number()
    .gt(0)
    .max(1000)
    .default(0.1)
    .describe(
      'β of the loss: a larger β keeps the policy closer to its reference. SimPO multiplies ' +
        'mean log-probs per token by it, so it takes 2 to 10 there.',
    ),
  simpo_gamma: only(
    { 'train.loss': ['simpo'] },
    z
      .number()
      .min(0)
      .max(1000)
      .default(0.5)
      .describe('γ of SimPO, its target reward margin; about half of β is usual.'),
  ),
  label_smoothing: only(
    { 'train.loss': ['robust'] },
    z
      .number()
      .min(0)
      .lt(0.5)
      .default(0.1)
      .describe('The share ε of pairs whose labels are assumed to be flipped.'),
  ),
  reference: only(
    { 'train.loss': { not: ['simpo'] } },
    z
      .enum(['current', 'base'])
      .default('current')
      .describe(
        "Reference model of the loss: `current` is θ_t, the policy before this iteration's " +
          'training; `base` is θ_0, as in the official code with LoRA (adapter off).',
      ),
  ),
  kl_coefficient: z
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe(
      'Coefficient of the penalty ½·(log π_θ − log π_θ0)² on the chosen and the ' +
        'rejected completion, an estimate of the KL divergence from θ_0: SRLM + KL.',
    ),
  ...optimisation({ section: 'train', learningRate: 1e-6, epochs: 1, batchSize: 8, unit: 'pairs' }),
});
