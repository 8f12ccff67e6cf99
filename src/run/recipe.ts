/**
 * The recipe's schema: every setting of a run with its range, default and documentation. Defaults
 * are defined only here.
 *
 * Keys are named as in TRL and transformers where these have one, in snake_case. `recipe-file.ts`
 * validates a YAML file against the schema, scripts/recipes-doc.mjs generates docs/recipes.md from
 * it, and a snapshot test freezes its keys.
 */
import { z } from 'zod';
import { MOST_SEQS } from '../engine/plan.js';
import { CPU_AUTO } from '../engine/requests.js';
import { LENGTH_CONTROLS } from '../reward/length.js';
import {
  EXTERNAL_REWARDS,
  JUDGED_REWARDS,
  REWARD_SOURCES,
  SELF_REWARDS,
} from '../reward/reward.js';
import { evaluate } from './recipe-evaluation.js';
import { rank, rankEval, temporal } from './recipe-ranking.js';
import { contradictions } from './recipe-rules.js';
import { lora, sft, train } from './recipe-training.js';
import {
  columns,
  count,
  fromFile,
  onBadRow,
  only,
  otherColumns,
  OWN_PAIRS,
  source,
  text,
} from './recipe-types.js';

const JUDGE = { 'reward.source': JUDGED_REWARDS } as const;

const prompts = z.strictObject({
  source: source().describe(
    '`builtin` (generated word problems and short questions), a JSONL, JSON, CSV or ' +
      'Parquet file, a data set of the hub (`hub:org/name/config:split`), a list of files and ' +
      'data sets, or `program` (what a Node program passes to run()). Rows have `prompt` (text ' +
      'or messages), `messages`, `instruction` or `question` (docs/data.md). Duplicates are ' +
      'dropped.',
  ),
  columns: only(
    fromFile('prompts'),
    columns().describe(
      'Renamed columns, each as `ours=theirs`: `prompt=query` reads the column `query` ' +
        'as `prompt`. `ignore=context` leaves out the column `context`.',
    ),
  ),
  on_bad_row: only(fromFile('prompts'), onBadRow('rows')),
  count: count(0, 48).describe(
    'Prompts per iteration. 0 takes the whole source: `subsets` divides it evenly ' +
      'among the iterations, `resample` uses all of it in each.',
  ),
  split: z
    .enum(['subsets', 'resample'])
    .default('subsets')
    .describe(
      '`subsets`: the iterations use disjoint prompts, as in the paper. `resample`: ' +
        'each iteration draws anew from all prompts.',
    ),
});

const sample = z
  .strictObject({
    samples: only(
      OWN_PAIRS,
      z.int().min(2).max(1024).default(5).describe("Completions per prompt (the paper's N)."),
    ),
    temperature: only(
      OWN_PAIRS,
      z.number().gt(0).max(100).default(0.8).describe('Sampling temperature.'),
    ),
    top_p: only(
      OWN_PAIRS,
      z
        .number()
        .gt(0)
        .max(1)
        .default(0.95)
        .describe(
          'Nucleus sampling: only the smallest set of tokens with at least this total ' +
            'probability is sampled from.',
        ),
    ),
    top_k: only(
      OWN_PAIRS,
      count(0, 0).describe('Only the k most probable tokens are sampled from; 0 keeps all.'),
    ),
    min_new_tokens: only(
      OWN_PAIRS,
      count(0, 1).describe('End-of-turn tokens are masked until this many tokens are sampled.'),
    ),
    max_new_tokens: only(
      OWN_PAIRS,
      count(1, 768).describe('Maximum length of a completion in tokens.'),
    ),
    stop: only(
      OWN_PAIRS,
      z
        .array(z.string().min(1))
        .max(64)
        .default([])
        .describe(
          'Stop strings: a completion ends at the first of them, or at the end-of-turn ' + 'token.',
        ),
    ),
    save_prompts: only(
      OWN_PAIRS,
      z
        .int()
        .min(1)
        .max(1_000_000)
        .default(16)
        .describe(
          'Prompts that are saved together, as a block. The next block begins once fewer than ' +
            '`max_num_seqs` completions are unfinished; a killed run loses the blocks that it ' +
            'was working on.',
        ),
    ),
    max_num_seqs: z
      .union([z.literal('auto'), z.int().min(1).max(65_536)])
      .default('auto')
      .describe(
        'Sequences that are decoded together, which bounds the memory of the KV cache; ' +
          "fewer where the GPU runs short of memory. `auto`: as many as the GPU's memory " +
          `allows, at most ${MOST_SEQS} (\`cream plan\`); ` +
          `${CPU_AUTO.maxNumSeqs} on the CPU.`,
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
      'Tokens of one scoring pass; fewer where the GPU runs short of memory. The ' +
        'completions of one prompt that exceed it are scored in a pass of their own. ' +
        "`auto`: as many as the GPU's memory allows, at most 16384 (`cream plan`); " +
        `${CPU_AUTO.maxNumBatchedTokens} on the CPU.`,
    ),
  save_prompts: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(16)
    .describe('Prompts between two saves, as in `sample`.'),
  noise_prompts: only(
    { dtype: ['bfloat16'], 'reward.source': ['implicit', 'likelihood'], ...OWN_PAIRS },
    count(0, 0).describe(
      'Prompts whose completions θ_t and θ_0 also score in float32. The agreement of the ' +
        'bfloat16 and the float32 ranking of θ_t is reported beside C: two models whose C is as ' +
        'high agree as far as bfloat16 can tell. Needs memory for one more model, in float32; 0 ' +
        'measures nothing.',
    ),
  ),
});

const reward = z.strictObject({
  source: z
    .enum(REWARD_SOURCES)
    .default('implicit')
    .describe(
      'The reward of a completion. Computed by θ_t and by θ_{t−1}: `implicit` (log π − ' +
        'log π_θ0), `likelihood` (mean log-prob per token), `judge` (points in words), ' +
        '`judge_implicit` (points and implicit reward, each standardised within its prompt). ' +
        'From outside the policy: `model` (a reward model), `file` (scores), ' +
        '`gold` (1 if the known answer is given, else 0), `function` (of a Node program).',
    ),
  length: only(
    [
      { 'reward.source': ['implicit', 'likelihood', 'judge_implicit'] },
      { 'reward.against': ['implicit', 'likelihood', 'own_implicit'] },
    ],
    z
      .enum(LENGTH_CONTROLS)
      .default('sum')
      .describe(
        "The implicit reward is the `sum` of log-ratios over the completion's tokens (as in " +
          'the paper), their `mean`, or `controlled`: the part of the sum that the length does ' +
          'not explain, by a regression over all completions of the iteration. `controlled` ' +
          'also applies to `likelihood` and to θ_0 in iteration 1: the linear ' +
          'influence of length is removed from both rankings.',
      ),
  ),
  against: only(
    { 'reward.source': [...EXTERNAL_REWARDS, 'judge'] },
    z
      .enum(['none', 'implicit', 'likelihood', 'own_implicit'])
      .default('none')
      .describe(
        'The second ranking, with which that of `reward.source` is compared for C. `implicit`, ' +
          '`likelihood`: the ranking of θ_{t−1} by this reward; not with `judge`, as θ_{t−1} ' +
          'judges too. `own_implicit`: the ranking of θ_t by its implicit reward, so that C is ' +
          'the agreement of two rewards of one model. ' +
          '`none`: with `judge` the judgements of θ_{t−1}; with an external reward no C is ' +
          'measured, and `rank.weighting` must be `fixed`.',
      ),
  ),
  judgements: only(
    JUDGE,
    z
      .int()
      .min(1)
      .max(1024)
      .default(3)
      .describe('Judgements per completion; the reward is their mean.'),
  ),
  reasons: only(
    JUDGE,
    z
      .boolean()
      .default(true)
      .describe(
        'Ask for reasons before the score. With false the line `Score:` is begun for the judge, ' +
          'which writes only the number, for models that do not keep to the format.',
      ),
  ),
  temperature: only(
    JUDGE,
    z.number().gt(0).max(100).default(0.7).describe('Sampling temperature of a judgement.'),
  ),
  top_p: only(
    JUDGE,
    z.number().gt(0).max(1).default(0.95).describe('Nucleus sampling of a judgement.'),
  ),
  max_new_tokens: only(JUDGE, count(1, 256).describe('Maximum length of a judgement in tokens.')),
  model: only(
    { 'reward.source': ['model'] },
    text().describe(
      'A sequence-classification model, as a Hugging Face folder or a hub ' +
        'id. It reads completions through its own chat template.',
    ),
  ),
  label: only(
    { 'reward.source': ['model'] },
    z
      .int()
      .min(0)
      .nullable()
      .default(null)
      .describe(
        'The label (from 0) whose log-prob is the reward. A model with one ' +
          'label needs none: its logit is the reward.',
      ),
  ),
  file: only(
    { 'reward.source': ['file'] },
    text().describe(
      'JSONL, JSON, CSV or Parquet with `prompt_id`, `sample` (or `completion`) ' +
        'and `reward`, and optionally `reward_previous` from a second source. `{t}` in the ' +
        'path is the iteration. If the file is missing, the run stops and names the ' +
        'completions that need scores.',
    ),
  ),
});

const pairs = z.strictObject({
  source: text().describe(
    "Preference pairs to train on instead of the model's own: a file of preferences " +
      'or `hub:…`. Nothing is sampled or ranked, and `iterations` must be 1. null: ' +
      'CREAM.',
  ),
  columns: only({ 'pairs.source': 'given' }, otherColumns()),
  on_bad_row: only({ 'pairs.source': 'given' }, onBadRow('pairs')),
  count: only({ 'pairs.source': 'given' }, count(0, 0).describe('Pairs used; 0 takes all.')),
});

export const recipeSchema = z
  .strictObject({
    model: z
      .string()
      .min(1)
      .default('smollm2-135m-instruct')
      .describe('The base model: an alias, a Hugging Face folder, a GGUF file, or a hub id.'),
    dtype: z
      .enum(['bfloat16', 'float32'])
      .default('bfloat16')
      .describe(
        'The dtype of the forward and backward pass. Master weights are float32 either ' + 'way.',
      ),
    device: z
      .string()
      .regex(/^(cpu|cuda|cuda:\d{1,3})$/, 'must be cpu, cuda or cuda:N such as cuda:1')
      .default('cpu')
      .describe(
        'The device: `cpu`, `cuda` (the first NVIDIA GPU) or `cuda:N` (docs/cuda.md). ' +
          'Results differ between devices in their last bits, so the device is never chosen ' +
          'automatically.',
      ),
    seed: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(42)
      .describe('Seed of every random choice.'),
    iterations: z
      .int()
      .min(0)
      .max(1000)
      .default(2)
      .describe('Iterations of sample, score, rank, train and evaluate. 0 is SFT alone.'),
    keep: z
      .union([z.literal('all'), z.int().min(2).max(1000)])
      .default(2)
      .describe(
        'Number of newest iteration checkpoints that stay on disk, besides the one with the best ' +
          "accuracy and SFT's. An older one is removed once the new one is verified. " +
          '`all` keeps every checkpoint.',
      ),
    threads: z.int().min(0).max(4096).default(0).describe('CPU threads; 0 uses all cores.'),
    system_prompt: z
      .string()
      .nullable()
      .default(null)
      .describe('System message for every prompt that has none; null adds none.'),
    prompts: only(
      OWN_PAIRS,
      prompts
        .prefault({})
        .describe(
          'Prompts to sample completions for. Their answers, if any, are read only by ' +
            '`reward.source: gold` and by the report.',
        ),
    ),
    sft: only(
      { 'sft.enabled': [true] },
      sft.prefault({}).describe('Supervised fine-tuning before the first iteration.'),
    ),
    sample: sample.prefault({}).describe('Sampling of completions.'),
    score: score
      .prefault({})
      .describe('Log-probs of the completions under the current, the previous and the base model.'),
    reward: only(OWN_PAIRS, reward.prefault({}).describe('Rewards of the completions.')),
    rank: only(
      OWN_PAIRS,
      rank.prefault({}).describe('Rankings, consistency and preference pairs.'),
    ),
    temporal: only(
      { 'reward.source': [...SELF_REWARDS, 'model', 'gold'], ...OWN_PAIRS },
      temporal
        .prefault({})
        .describe(
          'Temporal Self-Rewarding (arXiv 2508.06026): chosen and rejected completions of ' +
            'different models.',
        ),
    ),
    rank_eval: rankEval
      .prefault({})
      .describe('A check of the reward on given preference pairs (`cream rank-eval`).'),
    pairs: pairs.prefault({}).describe('DPO on given preference pairs.'),
    train: train.prefault({}).describe('Consistency-regularised preference training.'),
    lora: only(
      { 'lora.enabled': [true] },
      lora.prefault({}).describe('Low-rank adapters, in SFT and in preference training.'),
    ),
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
  'enabled' | 'checkpoint' | 'source' | 'columns' | 'on_bad_row' | 'count'
>;
