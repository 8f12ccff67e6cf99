/**
 * The schema of a recipe: every setting of a run, its range, its default and its documentation. No
 * default lives anywhere else.
 *
 * Key names are the field's (TRL's and transformers' where they have one), in snake_case.
 * `recipe-file.ts` reads a YAML file against it, scripts/recipes-doc.mjs makes docs/recipes.md of
 * it, and a snapshot test holds its keys.
 */
import { z } from 'zod';
import { CONSISTENCY_METHODS } from '../preference/consistency.js';
import { WEIGHTINGS } from '../preference/weight.js';
import { REWARD_SOURCES } from '../reward/reward.js';
import { contradictions } from './recipe-rules.js';

const count = (minimum: number, fallback: number) =>
  z.int().min(minimum).max(1_000_000_000).default(fallback);
/** Text that may be left out. */
const text = () => z.string().min(1).nullable().default(null);
/** Where rows come from: one source, or several, read one after the other. */
const source = () =>
  z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(64)]).default('builtin');
const columns = () =>
  z
    .array(z.string().regex(/^[^=]+=.+$/, 'must be of the form ours=theirs, such as prompt=query'))
    .max(64)
    .default([]);
const positive = (fallback: number) => z.number().gt(0).default(fallback);

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

const prompts = z.strictObject({
  source: source().describe(
    '`builtin` (generated word problems and short questions), a JSONL, JSON or Parquet ' +
      'file, a data set of the hub (`hub:org/name/config:split`), or a list of files and ' +
      'data sets. Rows have `prompt` (text or messages), `messages`, `instruction` or ' +
      '`question` (docs/data.md); of rows that say the same the first counts.',
  ),
  columns: columns().describe(
    'Other names of columns, each `ours=theirs`: `prompt=query` reads the column `query` ' +
      'as `prompt`.',
  ),
  count: count(0, 48).describe(
    'Prompts an iteration. 0 takes the whole file: divided evenly with `subsets`, all of ' +
      'it each time with `resample`.',
  ),
  split: z
    .enum(['subsets', 'resample'])
    .default('subsets')
    .describe(
      '`subsets`: every iteration has prompts of its own, as in the paper. `resample`: ' +
        'each iteration draws anew from all.',
    ),
});

const sft = z.strictObject({
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

const sample = z
  .strictObject({
    samples: z.int().min(2).max(1024).default(5).describe("Responses a prompt (the paper's N)."),
    temperature: z.number().gt(0).max(100).default(0.8).describe('Sampling temperature.'),
    top_p: z
      .number()
      .gt(0)
      .max(1)
      .default(0.95)
      .describe('Nucleus sampling: the smallest set of tokens whose probability reaches this.'),
    top_k: count(0, 0).describe('Keep the k likeliest tokens; 0 keeps all.'),
    min_new_tokens: count(0, 1).describe(
      'End-of-turn tokens are masked until this many tokens are sampled.',
    ),
    max_new_tokens: count(1, 768).describe('Longest response in tokens.'),
    stop: z
      .array(z.string().min(1))
      .max(64)
      .default([])
      .describe('Texts that end a response, beside the end-of-turn token.'),
    save_prompts: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(16)
      .describe(
        'Prompts of one block of work. A finished block is on disk; a killed run loses at ' +
          'most one.',
      ),
    max_num_seqs: z
      .union([z.literal('auto'), z.int().min(1).max(65_536)])
      .default('auto')
      .describe(
        'Sequences decoded together, on a GPU fewer where its memory is short. Bounds the ' +
          "memory of the KV cache. `auto`: as many as the GPU's memory allows, 256 at most " +
          '(`cream plan`), 64 on the CPU.',
      ),
  })
  .refine((s) => s.min_new_tokens <= s.max_new_tokens, {
    path: ['min_new_tokens'],
    error: 'must not be larger than max_new_tokens',
  });

const score = z.strictObject({
  max_num_batched_tokens: z
    .union([z.literal('auto'), z.int().min(16).max(100_000_000)])
    .default('auto')
    .describe(
      'Token rows of one scoring pass, on a GPU fewer where its memory is short; a longer ' +
        "group of responses goes alone. `auto`: as many as the GPU's memory allows, 16384 at " +
        'most (`cream plan`), 4096 on the CPU.',
    ),
  save_prompts: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(16)
    .describe('Prompts of one block of work, as in `sample`.'),
});

const reward = z.strictObject({
  source: z
    .enum(REWARD_SOURCES)
    .default('implicit')
    .describe(
      'What a response is worth. By θ_t and θ_{t−1} each: `implicit` (log π − log π_θ0), ' +
        '`likelihood` (mean log-prob of a token), `judge` (points in words). By one judge ' +
        'outside: `model` (a reward model), `file` (scores), `gold` (known answers, 1 or 0), ' +
        '`function` (of a Node program).',
    ),
  length: z
    .enum(['sum', 'mean'])
    .default('sum')
    .describe(
      "Of the implicit reward: summed over the response's tokens (the paper's), or their mean.",
    ),
  against: z
    .enum(['none', 'implicit', 'likelihood'])
    .default('none')
    .describe(
      'With a judge outside: which reward of θ_{t−1} its ranking is compared with for C. ' +
        '`none` measures no C; `rank.weighting` must then be `fixed`.',
    ),
  judgements: z
    .int()
    .min(1)
    .max(1024)
    .default(3)
    .describe('With `judge`: judgements a response, whose points are averaged.'),
  reasons: z
    .boolean()
    .default(true)
    .describe(
      'With `judge`: ask for reasons before the score. false asks for the score alone, its ' +
        'line begun for the model: for small models, which forget the form.',
    ),
  temperature: z
    .number()
    .gt(0)
    .max(100)
    .default(0.7)
    .describe('With `judge`: sampling temperature of a judgement.'),
  top_p: z.number().gt(0).max(1).default(0.95).describe('With `judge`: nucleus of a judgement.'),
  max_new_tokens: count(1, 256).describe('With `judge`: longest judgement in tokens.'),
  model: text().describe(
    'With `model`: a sequence-classification model, a Hugging Face folder or a hub id. It ' +
      'reads responses through its own chat template.',
  ),
  label: z
    .int()
    .min(0)
    .nullable()
    .default(null)
    .describe(
      'With `model`: the label (from 0) whose log-probability is the reward. A model of ' +
        'one label needs none: its logit is the reward.',
    ),
  file: text().describe(
    'With `file`: JSONL, JSON or Parquet with `prompt_id`, `sample` (or `completion`) and ' +
      '`reward`, also `reward_previous` for a second judge; `{t}` in the path is the ' +
      'iteration. Where it is not there yet the run stops and says which completions wait ' +
      'for scores.',
  ),
});

const pairs = z.strictObject({
  source: text().describe(
    "Given preference pairs to learn from instead of the model's own: a file of " +
      'preferences or `hub:…`. Nothing is sampled or ranked, and `iterations` must be 1. ' +
      'null: CREAM.',
  ),
  count: count(0, 0).describe('Pairs used; 0 takes all.'),
});

const lora = z.strictObject({
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

const rank = z.strictObject({
  consistency: z
    .enum(CONSISTENCY_METHODS)
    .default('kendall')
    .describe(
      "How the agreement C of two rankings is measured: Kendall's τ, Spearman's ρ, or " +
        'whether best and worst agree.',
    ),
  weighting: z
    .enum(WEIGHTINGS)
    .default('avg')
    .describe(
      "C in the loss: `avg` the mean over the set (the paper's main setting), `dyn` each " +
        "prompt's own, `fixed` a number.",
    ),
  fixed_consistency: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('C where `weighting` is `fixed`: 1 is SRLM, plain self-rewarding DPO.'),
  min_margin: z
    .number()
    .min(0)
    .default(0)
    .describe(
      'A prompt whose best and worst rewards differ by less than this (nats for log-probs, ' +
        'points for `judge`) makes no pair.',
    ),
  min_consistency: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      'A prompt whose own C is below this makes no pair: a threshold for `dyn`, where such ' +
        'pairs would be turned round or count little.',
    ),
});

const train = z.strictObject({
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

const evaluate = z.strictObject({
  tasks: z
    .array(z.string().min(1))
    .max(64)
    .default(['builtin'])
    .describe(
      'What is measured after each iteration: `builtin`; `arc_easy`, `arc_challenge`, ' +
        '`openbookqa`, `siqa` or `gsm8k`, from the hub; or a task and its own source, a ' +
        'JSONL, JSON or Parquet file or a hub data set: `arc_easy:data/test.jsonl`, ' +
        '`siqa:hub:lighteval/siqa:validation`. An empty list measures nothing.',
    ),
  method: z
    .enum(['generate', 'loglikelihood'])
    .default('generate')
    .describe(
      '`generate`: a greedy answer, read from its text. `loglikelihood`: the likeliest ' +
        'choice, by sum and by mean over characters, as lm-evaluation-harness (`acc`, ' +
        '`acc_norm`); for tasks with choices.',
    ),
  apply_chat_template: z
    .boolean()
    .nullable()
    .default(null)
    .describe(
      "Put questions through the model's chat template. null: yes to generate, no for " +
        'log-likelihood, as is usual for each.',
    ),
  count: count(0, 100).describe(
    'Questions a task, the same ones each time; 0 takes all of a file.',
  ),
  max_new_tokens: count(1, 256).describe('Longest generated answer in tokens; decoding is greedy.'),
  save_prompts: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(32)
    .describe('Questions of one block of work, as in `sample`.'),
  baseline: z.boolean().default(true).describe('Also measure the base model, before any training.'),
});

export const recipeSchema = z
  .strictObject({
    model: z
      .string()
      .min(1)
      .default('smollm2-135m-instruct')
      .describe('The base model: a known name, a Hugging Face folder, a GGUF file, or a hub id.'),
    dtype: z
      .enum(['bfloat16', 'float32'])
      .default('bfloat16')
      .describe('Type the model computes in. Master weights in training are float32 either way.'),
    device: z
      .string()
      .regex(/^(cpu|cuda|cuda:\d{1,3})$/, 'must be cpu, cuda or cuda:N such as cuda:1')
      .default('cpu')
      .describe(
        'Where the model is and computes: `cpu`, `cuda` (the first NVIDIA GPU) or `cuda:N` ' +
          "(docs/cuda.md). The last bits of a run's numbers depend on it, so it is never " +
          'chosen for you.',
      ),
    seed: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(42)
      .describe('Every random choice derives from it.'),
    iterations: z
      .int()
      .min(0)
      .max(1000)
      .default(2)
      .describe('Rounds of sample, score, rank, train and evaluate. 0 is SFT alone.'),
    threads: z.int().min(0).max(4096).default(0).describe('CPU threads; 0 uses all cores.'),
    system_prompt: z
      .string()
      .nullable()
      .default(null)
      .describe('System message put before every prompt that has none; null adds none.'),
    prompts: prompts
      .prefault({})
      .describe(
        'Prompts the model answers and learns from. Their answers, if any, are read by ' +
          '`reward.source: gold` and the report alone.',
      ),
    sft: sft.prefault({}).describe('Supervised fine-tuning before the first iteration.'),
    sample: sample.prefault({}).describe('Sampling responses.'),
    score: score
      .prefault({})
      .describe(
        'Log-probabilities of the responses under the current, the previous and the base model.',
      ),
    reward: reward.prefault({}).describe('What a response is worth, and to whom.'),
    rank: rank.prefault({}).describe('Rankings, consistency and preference pairs.'),
    pairs: pairs.prefault({}).describe('DPO on given preference pairs.'),
    train: train.prefault({}).describe('Consistency-regularised DPO.'),
    lora: lora.prefault({}).describe('Low-rank adapters, in SFT and in preference training.'),
    evaluate: evaluate.prefault({}).describe('Accuracy on questions with known answers.'),
  })
  .superRefine((recipe, context) => {
    for (const { path, message } of contradictions(recipe))
      context.addIssue({ code: 'custom', path, message });
  });

/** A complete recipe: every key present. */
export type Recipe = z.output<typeof recipeSchema>;
export type OptimisationSettings = Omit<
  Recipe['sft'],
  'enabled' | 'checkpoint' | 'source' | 'columns' | 'count'
>;

/** One key of the schema, for the documentation and the snapshot test. */
export interface RecipeField {
  key: string;
  type: string;
  default: unknown;
  description: string;
}

/** All keys in the order of the schema, dotted; sections carry `type: 'section'`. */
export function recipeFields(): RecipeField[] {
  return fieldsOf(
    z.toJSONSchema(recipeSchema, { io: 'input' }) as JsonSchema,
    recipeSchema.parse({}),
    '',
  );
}

interface JsonSchema {
  type?: string | string[];
  anyOf?: JsonSchema[];
  enum?: unknown[];
  const?: string | number | boolean | null;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
}

function fieldsOf(schema: JsonSchema, defaults: unknown, prefix: string): RecipeField[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const key = prefix + name;
    const value = (defaults as Record<string, unknown>)[name];
    const field = {
      key,
      type: typeText(property),
      default: value,
      description: property.description ?? '',
    };
    return property.properties
      ? [{ ...field, type: 'section' }, ...fieldsOf(property, value, `${key}.`)]
      : [field];
  });
}

function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return String(schema.const);
  if (schema.enum) return schema.enum.join(' | ');
  if (schema.anyOf) return schema.anyOf.map(typeText).join(' or ');
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeText({ type })).join(' or ');
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  const name =
    { string: 'text', integer: 'whole number', boolean: 'true | false' }[schema.type ?? ''] ??
    schema.type ??
    '';
  const limits = [
    schema.exclusiveMinimum !== undefined
      ? `> ${schema.exclusiveMinimum}`
      : schema.minimum !== undefined
        ? `≥ ${schema.minimum}`
        : '',
    // Ceilings against typing errors say nothing to a reader.
    schema.maximum !== undefined && schema.maximum <= 1000 ? `≤ ${schema.maximum}` : '',
  ].filter(Boolean);
  return limits.length > 0 ? `${name} ${limits.join(', ')}` : name;
}
