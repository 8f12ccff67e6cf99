/** The recipe's sections of training: `sft`, `lora` and `train`. */
import { z } from 'zod';
import { columns, count, positive, source, text } from './recipe-types.js';

/** Optimisation settings that SFT and preference training share; their defaults differ. */
const optimisation = (defaults: {
  learningRate: number;
  epochs: number;
  batchSize: number;
  unit: string;
}) => ({
  learning_rate: positive(defaults.learningRate).describe(
    'Peak learning rate of AdamW. Master weights are fp32, so a rate of 1.0e-6 is not lost ' +
      'in rounding.',
  ),
  epochs: z
    .int()
    .min(1)
    .max(1000)
    .default(defaults.epochs)
    .describe(
      `Passes over the ${defaults.unit}, each in an order of its own that depends on seed, ` +
        'iteration and epoch only.',
    ),
  batch_size: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(defaults.batchSize)
    .describe(`${defaults.unit[0]!.toUpperCase()}${defaults.unit.slice(1)} an optimizer step.`),
  micro_batch_tokens: z
    .union([z.literal('auto'), z.int().min(64).max(10_000_000)])
    .default('auto')
    .describe(
      'Token rows of one forward and backward pass; a batch is cut into as many as it ' +
        "needs. Bounds memory. `auto`: as many as the GPU's memory allows (`cream plan`), " +
        '1024 on the CPU.',
    ),
  weight_decay: z
    .number()
    .min(0)
    .max(10)
    .default(0.01)
    .describe('AdamW weight decay; norms are left out.'),
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
      'Share of the optimizer steps over which the rate rises from 0. As in transformers ' +
        'the first step of a warm-up has rate 0 and moves nothing: where an iteration has a ' +
        'handful of steps, 0 gives that step back.',
    ),
  activation_checkpointing: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe(
      'Keep layer inputs only and recompute the rest in the backward pass: less memory for ' +
        'about a third more time. `auto`: on a GPU where it would not fit otherwise, never ' +
        'on the CPU.',
    ),
  optimizer_states: z
    .enum(['float32', '8bit'])
    .default('float32')
    .describe(
      "AdamW's two moments. `8bit`: blocks of 256 with one scale each (what `adamw_8bit` " +
        'is elsewhere), 2 bytes a parameter instead of 8 (docs/memory.md).',
    ),
  master_weights: z
    .enum(['float32', 'split'])
    .default('float32')
    .describe(
      'Of bfloat16 weights. `split`: the rest of a float32 master in 16 bits beside the ' +
        'weight, 2 bytes a parameter instead of 4, the same values but for a last bit. Not ' +
        'with LoRA, whose masters are small.',
    ),
  gradient_dtype: z
    .enum(['float32', 'bfloat16'])
    .default('float32')
    .describe(
      "What the gradients of a step's micro-batches are added up in. `bfloat16` is 2 bytes " +
        'a parameter instead of 4 and rounds every addition: few micro-batches a step.',
    ),
  save_steps: count(0, 100).describe(
    'Optimizer steps between saves of the trainer state (12 bytes a parameter). A killed ' +
      'run loses at most these; 0 saves only when it is interrupted by Ctrl-C.',
  ),
  checkpoint_dtype: z
    .enum(['float32', 'bfloat16'])
    .default('float32')
    .describe(
      'Type of the saved weights. float32 keeps the master weights; bfloat16 halves the ' +
        'file and rounds what the next iteration starts from.',
    ),
});

export const sft = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Fine-tune the base model on demonstrations first (M0 → M1). Without it M1 = M0 and ' +
        'the first iteration has C = 1.',
    ),
  checkpoint: text().describe(
    'An M1 made before, such as `runs/mine/sft/checkpoint`, to begin from instead: it is ' +
      'copied into the run, and no demonstration is read. So several methods start from the ' +
      'same M1.',
  ),
  source: source().describe(
    '`builtin`, or files and data sets as in `prompts`, of demonstrations: `messages`, ' +
      '`prompt` and `completion`, or `instruction` and `output`.',
  ),
  columns: columns().describe('Other names of columns, as in `prompts`.'),
  count: count(0, 64).describe('Demonstrations used; 0 takes the whole file.'),
  ...optimisation({ learningRate: 5e-6, epochs: 1, batchSize: 8, unit: 'demonstrations' }),
});

export const lora = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Train low-rank adapters on frozen weights instead of all weights. Checkpoints are ' +
        'PEFT folders; `cream merge` folds one into its base.',
    ),
  rank: z.int().min(1).max(65_536).default(32).describe('Rank r of each adapter.'),
  alpha: z
    .number()
    .gt(0)
    .max(1_000_000)
    .default(64)
    .describe('Scale: an adapter is multiplied by α / r.'),
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0.1)
    .describe('Dropout before an adapter, in training alone.'),
  target_modules: z
    .array(z.string().min(1))
    .max(64)
    .default([])
    .describe(
      'Linear layers that get one, by their Hugging Face names such as `q_proj`; an empty ' +
        'list means all of the blocks.',
    ),
});

export const train = z.strictObject({
  beta: z
    .number()
    .gt(0)
    .max(1000)
    .default(0.1)
    .describe('β of DPO: how closely the policy is held to its reference.'),
  reference: z
    .enum(['current', 'base'])
    .default('current')
    .describe(
      'Reference of DPO: `current` is θ_t, from which the step starts; `base` is θ_0, as ' +
        'the official code has it with LoRA (adapter off).',
    ),
  kl_coefficient: z
    .number()
    .min(0)
    .max(1000)
    .default(0)
    .describe(
      'Weight of a penalty on ½·(log π_θ − log π_θ0)² of chosen and rejected, an estimate ' +
        'of the KL divergence from θ_0: SRLM + KL.',
    ),
  ...optimisation({ learningRate: 1e-6, epochs: 1, batchSize: 8, unit: 'pairs' }),
});
