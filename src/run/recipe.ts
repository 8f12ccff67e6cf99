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
import { lora, sft, train } from './recipe-training.js';
import { columns, count, source, text } from './recipe-types.js';

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
  columns: columns().describe(
    'Other names of columns, as in `prompts`: `prompt=question`, `chosen=good`.',
  ),
  count: count(0, 0).describe('Pairs used; 0 takes all.'),
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
