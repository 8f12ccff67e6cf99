/**
 * Every request that src/engine hands to the addon, each field described once. The parameter types,
 * the accepted keys and the checks follow from these tables; test/engine/boundary.test.ts compares
 * their names with those that native/binding/convert.cc reads.
 */
import { randomBytes } from 'node:crypto';
import {
  integer,
  invalid,
  list,
  nonEmptyString,
  tokenIds,
  unsigned64,
  type TokenIds,
} from './arguments.js';
import {
  auto,
  checkFields,
  choice,
  flag,
  flagOrAuto,
  maybe,
  optional,
  real,
  seed,
  tokens,
  whole,
  type CheckedOf,
  type Field,
  type FieldsOf,
  type OptionalField,
} from './fields.js';
import { tokenBytes } from './token-bytes.js';

const UINT32_MAX = 2 ** 32 - 1;
const TOP_LOGPROBS = 20;

interface Vocabulary {
  vocabSize: number;
}

export const PROMPT_FIELDS = {
  /** Token ids of the prompt, at least one. */
  tokens,
  /**
   * Identifies the prompt to the random number generator, e.g. a 64-bit hash of its id. Default:
   * its position in the request.
   */
  key: {
    check: (value: bigint, where: string) => unsigned64(value, where),
    default: ({ index }: { index: number }) => BigInt(index),
  },
  /** Completions of this prompt, default 1. */
  samples: optional(whole(1, UINT32_MAX), 1),
  /** Sample number of the first completion, default 0. */
  firstSample: optional(whole(0, UINT32_MAX), 0),
};

/** A prompt of a generation, with its number of samples. */
export type GenerationPrompt = FieldsOf<typeof PROMPT_FIELDS>;

function checkPrompt(
  prompt: GenerationPrompt,
  index: number,
  { vocabSize }: Vocabulary,
): CheckedOf<typeof PROMPT_FIELDS> {
  const what = `[generate] prompt ${index}`;
  const checked = checkFields(PROMPT_FIELDS, prompt, {
    what,
    place: (name) => (name === 'tokens' ? what : `${what}: ${name}`),
    context: { vocabSize, index },
  });
  // Sample numbers are unsigned 32-bit integers, the last one included.
  whole(0, UINT32_MAX - checked.samples + 1).check(checked.firstSample, `${what}: firstSample`, 0);
  return checked;
}

const stopIds: OptionalField<
  readonly number[],
  Int32Array,
  Vocabulary & { eosTokenIds: readonly number[] }
> = {
  check: (value, where, { vocabSize }) =>
    list(value, where).length === 0 ? new Int32Array() : tokenIds(value, vocabSize, where),
  default: ({ eosTokenIds }) => eosTokenIds,
};

/** The meaning of `auto` on the CPU; native code has its own, which a test compares with these. */
export const CPU_AUTO = { maxNumSeqs: 128, maxNumBatchedTokens: 4096, microBatchTokens: 1024 };

export const GENERATION_FIELDS = {
  /** The prompts; an empty list gives no completions. */
  prompts: {
    check: (value: readonly GenerationPrompt[], where: string, model: Vocabulary) =>
      list(value, where).map((prompt, index) => checkPrompt(prompt, index, model)),
  },
  /** Softmax temperature, default 1; 0 is greedy decoding. */
  temperature: optional(real({ min: 0 }), 1),
  /**
   * Nucleus sampling: keeps the smallest set of tokens whose probability reaches topP. In (0, 1];
   * default 1, which keeps all.
   */
  topP: optional(real({ min: 0, aboveMin: true, max: 1 }), 1),
  /** Keeps the topK most likely tokens; default 0, which keeps all. */
  topK: optional(whole(0, UINT32_MAX), 0),
  /** Stop ids are masked until this many tokens are sampled; default 0, at most maxNewTokens. */
  minNewTokens: optional(whole(0), 0),
  /** Most tokens per completion, default 128. */
  maxNewTokens: optional(whole(1, UINT32_MAX), 128),
  /**
   * A sampled stop id ends the completion and is its last token. Default: the model's
   * end-of-sequence ids.
   */
  stopIds,
  /** The completion ends with the token that completes one of these strings; needs tokenBytes. */
  stopStrings: optional(
    {
      check: (value: readonly string[], where: string) =>
        list(value, where).map((text, i) => nonEmptyString(text, `[generate] stop string ${i}`)),
    },
    [],
  ),
  /** Bytes of every token: the arrays of the tokenizer's tokenBytes(), which must not change. */
  tokenBytes: maybe(tokenBytes),
  /**
   * Unsigned 64-bit seed of the random numbers. Default: a random one, returned as Generation.seed.
   */
  seed: { ...seed, default: () => randomBytes(8).readBigUInt64LE() },
  /** Training iteration, which also enters the random numbers; default 0. */
  iteration: optional(whole(0, UINT32_MAX), 0),
  /**
   * Sequences of this request that are decoded together; a GPU that is short of memory takes
   * fewer. Default `auto`: 128 on the CPU, on a GPU as many as its memory allows, at most 512.
   * Changes speed and memory only (on a GPU within rounding).
   */
  maxNumSeqs: auto(65_536),
  /**
   * Number of most likely tokens returned for each token, at most 20 (OpenAI's and vLLM's limit);
   * default 0. On a GPU, steps with such a request are not replayed as graphs and take longer.
   */
  topLogprobs: optional(
    {
      check: (value: number, where: string, { vocabSize }: Vocabulary) =>
        integer(value, where, 0, Math.min(TOP_LOGPROBS, vocabSize)),
    },
    0,
  ),
};

export const GROUP_FIELDS = {
  /** Token ids, at least one. */
  prompt: tokens,
  /** Token ids of each completion, at least one each. */
  completions: {
    check: (
      value: readonly TokenIds[],
      where: string,
      { vocabSize, group }: Vocabulary & { group: number },
    ) =>
      list(value, where).map((completion, c) =>
        tokenIds(completion, vocabSize, `[score] completion ${c} of group ${group}`),
      ),
  },
};

/** A prompt with the completions to score. */
export type ScoringGroup = FieldsOf<typeof GROUP_FIELDS>;

export const SCORING_FIELDS = {
  /** Prompts with their completions; each prompt is computed once. */
  groups: {
    check: (value: readonly ScoringGroup[], where: string, { vocabSize }: Vocabulary) =>
      list(value, where).map((item, group) =>
        checkFields(GROUP_FIELDS, item, {
          what: `[score] group ${group}`,
          place: (name) => `[score] the ${name} of group ${group}`,
          context: { vocabSize, group },
        }),
      ),
  },
  /**
   * Tokens of one forward pass; a GPU that is short of memory takes fewer, and a longer group is
   * computed alone. Default `auto`: 4096 on the CPU, on a GPU as many as its memory allows, at most
   * 16384. Changes speed and memory only (on a GPU within rounding).
   */
  maxNumBatchedTokens: auto(),
};

export const CLASSIFICATION_FIELDS = {
  /** Token ids of each sequence, at least one each. */
  sequences: {
    check: (value: readonly TokenIds[], where: string, { vocabSize }: Vocabulary) =>
      list(value, where).map((sequence, i) =>
        tokenIds(sequence, vocabSize, `[classify] sequence ${i}`),
      ),
  },
  /** Tokens of one forward pass, as in score(). */
  maxNumBatchedTokens: auto(),
};

const optimizerStates = choice('float32', '8bit');
const masterWeights = choice('float32', 'split');
const gradientDtype = choice('float32', 'bfloat16');
const shard = choice('optimizer', 'weights');

/** Losses of a preference step; formulas and sources: docs/method.md. */
export const LOSSES = ['dpo', 'ipo', 'simpo', 'kto', 'robust'] as const;
export type Loss = (typeof LOSSES)[number];

export const TRAINER_FIELDS = {
  /** Peak learning rate. */
  learningRate: real({ min: 0 }),
  /** AdamW's β₁ in [0, 1), default 0.9. */
  beta1: optional(real({ min: 0, max: 1, belowMax: true }), 0.9),
  /** AdamW's β₂ in [0, 1), default 0.999. */
  beta2: optional(real({ min: 0, max: 1, belowMax: true }), 0.999),
  /** AdamW's ε, default 1e-8. */
  epsilon: optional(real({ min: 0, aboveMin: true }), 1e-8),
  /** Decoupled weight decay of matrices, not of norms; default 0.01. */
  weightDecay: optional(real({ min: 0 }), 0.01),
  /** Clips the global gradient norm to this; default 1, 0 turns clipping off. */
  maxGradNorm: optional(real({ min: 0 }), 1),
  /** Learning rate after warm-up, down to 0 at totalSteps unless constant; default cosine. */
  schedule: optional(choice('constant', 'linear', 'cosine'), 'cosine'),
  /** Steps of linear warm-up, default 0. */
  warmupSteps: optional(whole(0), 0),
  /**
   * Whether the learning rate of the first warm-up step is 0, as in transformers (the default), or
   * that of the n-th of W warm-up steps is n / (W + 1) of the peak.
   */
  warmupStart: optional(choice('zero', 'first_step'), 'zero'),
  /** Steps that the schedule spans. */
  totalSteps: whole(1),
  /** Loss of preferenceStep(), default dpo. Each is regularised by the pair's weight C. */
  loss: optional(choice(...LOSSES), 'dpo'),
  /** β of the loss, default 0.1. */
  beta: optional(real({ min: 0, aboveMin: true }), 0.1),
  /** SimPO's target margin γ, default 0.5; other losses ignore it. */
  simpoGamma: optional(real({ min: 0 }), 0.5),
  /** The rate ε of flipped labels that `robust` assumes, in [0, 0.5); default 0.1. */
  labelSmoothing: optional(real({ min: 0, max: 0.5, belowMax: true }), 0.1),
  /**
   * Tokens of one forward and backward pass. Default `auto`: 1024 on the CPU, on a GPU as many as
   * its memory allows. Changes speed and memory only, within rounding.
   */
  microBatchTokens: auto(),
  /**
   * Activation checkpointing: keeps each layer's input only and recomputes the rest. Default
   * `auto`: on a GPU where training would not fit otherwise, never on the CPU.
   */
  activationCheckpointing: flagOrAuto,
  /**
   * Dtype of AdamW's two moments. `8bit` quantises them in blocks of 256 with one scale per block,
   * which takes a quarter of the memory. Default float32.
   */
  optimizerStates: optional(optimizerStates, 'float32'),
  /**
   * Form of the master weights. `split` keeps 16 bits beside each bfloat16 weight instead of a
   * float32 copy, which takes half the memory; the values are the same but for the last bit.
   * Default float32.
   */
  masterWeights: optional(masterWeights, 'float32'),
  /** Dtype in which the gradients of a step's micro-batches are summed, default float32. */
  gradientDtype: optional(gradientDtype, 'float32'),
  /**
   * The tensors that are sharded when several ranks train all weights. `optimizer`: gradients,
   * master weights and moments (ZeRO-2). `weights`: the weights too (ZeRO-3), with less memory and
   * more traffic; the results are the same within rounding. Default optimizer.
   */
  shard: optional(shard, 'optimizer'),
  /**
   * Coefficient of the KL penalty to θ_0 (SRLM + KL): ½·(log π − log π_0)² per completion, averaged
   * over chosen and rejected. Default 0, which turns it off.
   */
  klCoefficient: optional(real({ min: 0 }), 0),
  /** Unsigned 64-bit seed of an adapter's dropout masks, default 0. */
  dropoutSeed: optional(seed, 0n),
};

/** The setting besides the vocabulary that a pair's fields depend on: which loss reads them. */
interface PairContext {
  penalty: boolean;
  loss: Loss;
}

/** A number that is required where the loss reads it and 0 elsewhere. */
const whereRead = (
  read: (context: PairContext) => boolean,
  range = {},
): OptionalField<number, number, PairContext> => ({
  check: (value, where) => real(range).check(value, where, 0),
  default: (context) => (read(context) ? undefined : 0),
});
const baseLogp = whereRead(({ penalty }) => penalty);
const referenceLogp = whereRead(({ loss }) => loss !== 'simpo');

export const PAIR_FIELDS = {
  /** Token ids, at least one. */
  prompt: tokens,
  /** Token ids of the better completion, its end-of-turn token included. */
  chosen: tokens,
  /** Token ids of the worse completion, its end-of-turn token included. */
  rejected: tokens,
  /** Summed log-prob of `chosen` under the reference, in nats; simpo needs none. */
  referenceChosen: referenceLogp,
  /** Summed log-prob of `rejected` under the reference, in nats; simpo needs none. */
  referenceRejected: referenceLogp,
  /** C in [0, 1]: C times the loss plus 1 − C times the loss with the roles reversed. */
  weight: real({ min: 0, max: 1 }),
  /** Summed log-prob of `chosen` under θ_0, in nats; required where klCoefficient is above 0. */
  baseChosen: baseLogp,
  /** Summed log-prob of `rejected` under θ_0, in nats; required where klCoefficient is above 0. */
  baseRejected: baseLogp,
  /**
   * KTO's z_0, an estimate of KL(π ‖ π_ref) in nats that is the same for all pairs of a step;
   * required by the loss kto.
   */
  klBaseline: whereRead(({ loss }) => loss === 'kto', { min: 0 }),
};

export const EXAMPLE_FIELDS = {
  /** Token ids, at least one. */
  prompt: tokens,
  /** Token ids, at least one. The loss is computed on these alone. */
  completion: tokens,
};

export const LORA_FIELDS = {
  /** Rank r: A is [r × in], B is [out × r]. */
  rank: whole(1, 65_536),
  /** The adapter's output is scaled by alpha / rank. */
  alpha: real({ min: 0, aboveMin: true }),
  /** Dropout probability of the adapter's input during training, in [0, 1); default 0. */
  dropout: optional(real({ min: 0, max: 1, belowMax: true }), 0),
  /**
   * Hugging Face module names (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
   * Phi-3: qkv_proj, gate_up_proj), in the order of a layer. Default: all.
   */
  targetModules: {
    // The engine takes an empty list as all modules, and checks names against the model's.
    check: (value: readonly string[] | undefined, where: string): string[] => {
      if (value === undefined) return [];
      const names = list(value, where);
      if (names.length === 0)
        throw invalid(`${where} is empty; name at least one module, or leave it out for all.`);
      return names.map((name, i) => nonEmptyString(name, `[addAdapter] target module ${i}`));
    },
    default: () => undefined,
  },
  /** rsLoRA: scales by alpha / √rank instead; default false. */
  useRslora: optional(flag, false),
};

export const ADAPTER_FIELDS = {
  ...LORA_FIELDS,
  /** Unsigned 64-bit seed of A's random values, default 0. */
  seed: optional(seed, 0n),
};

const nonEmpty: Field<string, string> = { check: nonEmptyString };

/** A request of planMemory(). The engine chooses the settings that are missing. */
export const PLAN_FIELDS = {
  /** The text of the model's config.json. */
  configJson: nonEmpty,
  /** Names the config in messages. */
  source: nonEmpty,
  dtype: choice('float32', 'bfloat16'),
  stage: choice('sample', 'score', 'train'),
  /** Memory of the device, in bytes. */
  deviceBytes: real({ min: 0 }),
  /** The adapter that is trained; without one, all weights are. */
  lora: maybe({ check: (value: CheckedOf<typeof LORA_FIELDS>) => value }),
  /** Other models on the device with weights of their own. */
  otherModels: whole(0),
  /** Tokens of the longest prompt. */
  promptTokens: whole(1),
  /** Most tokens per completion. */
  newTokens: whole(1),
  /** Completions per prompt. */
  samples: whole(1),
  /** Devices that train together; absent: 1. Each keeps its shard of full weights' states. */
  ranks: maybe(whole(1)),
  /** The tensors that these devices shard; absent: the plan chooses. */
  shard: maybe(shard),
  microBatchTokens: maybe(whole(1)),
  maxNumBatchedTokens: maybe(whole(1)),
  maxNumSeqs: maybe(whole(1)),
  activationCheckpointing: maybe(flag),
  /** With masterWeights and gradientDtype: give all three or none. */
  optimizerStates: maybe(optimizerStates),
  masterWeights: maybe(masterWeights),
  gradientDtype: maybe(gradientDtype),
};
