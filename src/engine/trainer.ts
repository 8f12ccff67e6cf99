/** Training a model in place, or its adapter: one call is one optimizer step. */
import { resolve } from 'node:path';
import type { NativeStepMetrics, NativeTrainer, NativeTrainerParams } from './addon.js';
import {
  finiteNumber,
  integer,
  knownKeys,
  list,
  nonEmptyString,
  oneOf,
  orAuto,
  positiveInteger,
  tokenIds,
  unsigned64,
  type TokenIds,
} from './arguments.js';
import { runJob } from './signal.js';

export interface TrainerParams {
  learningRate: number;
  /** AdamW; defaults 0.9, 0.999, 1e-8. */
  beta1?: number;
  beta2?: number;
  epsilon?: number;
  /** On matrices, not on norms; default 0.01. */
  weightDecay?: number;
  /** Clips the global gradient norm; default 1, 0 turns it off. */
  maxGradNorm?: number;
  /** After warm-up; default cosine. */
  schedule?: 'constant' | 'linear' | 'cosine';
  /** Default 0. */
  warmupSteps?: number;
  totalSteps: number;
  /** DPO's β; default 0.1. */
  beta?: number;
  /**
   * Packed rows a forward and backward pass; default `auto`: what the device's memory allows, 1024
   * on the CPU. Changes speed and memory only, within rounding.
   */
  microBatchTokens?: number | 'auto';
  /**
   * Keep each layer's input only and recompute the rest; default `auto`: where it would not fit
   * otherwise, never on the CPU.
   */
  activationCheckpointing?: boolean | 'auto';
  /**
   * AdamW's two moments; `8bit`: in blocks of 256 with a scale each, a quarter of the memory.
   * Default float32.
   */
  optimizerStates?: 'float32' | '8bit';
  /**
   * `split`: 16 bits beside each bfloat16 weight in the place of a float32 master, half the memory,
   * the same values but for a last bit. Default float32.
   */
  masterWeights?: 'float32' | 'split';
  /** What a step's micro-batches add their gradients up in; default float32. */
  gradientDtype?: 'float32' | 'bfloat16';
  /**
   * Factor of the KL penalty to θ_0 (SRLM + KL), ½·(log π − log π_0)² a response, averaged over
   * chosen and rejected; default 0: none.
   */
  klCoefficient?: number;
  /** Of an adapter's dropout masks; default 0. */
  dropoutSeed?: bigint | number;
}

/**
 * A preference pair. The references are summed log-probs under θ_t, so that training needs no
 * second model.
 */
export interface PairInput {
  prompt: TokenIds;
  chosen: TokenIds;
  rejected: TokenIds;
  referenceChosen: number;
  referenceRejected: number;
  /** C in [0, 1]: the loss is C·DPO + (1 − C)·DPO with the roles reversed. */
  weight: number;
  /** Summed log-probs under θ_0, needed where klCoefficient is above 0. */
  baseChosen?: number;
  baseRejected?: number;
}

export interface ExampleInput {
  prompt: TokenIds;
  /** The loss is on these alone. */
  completion: TokenIds;
}

export type StepMetrics = Omit<NativeStepMetrics, 'kl'> & {
  /**
   * Mean of ½·(log π − log π_0)² over chosen and rejected, nats; there where klCoefficient is above
   * 0.
   */
  kl?: number;
};

const PARAM_KEYS = [
  'learningRate',
  'beta1',
  'beta2',
  'epsilon',
  'weightDecay',
  'maxGradNorm',
  'schedule',
  'warmupSteps',
  'totalSteps',
  'beta',
  'microBatchTokens',
  'activationCheckpointing',
  'optimizerStates',
  'masterWeights',
  'gradientDtype',
  'klCoefficient',
  'dropoutSeed',
];
const PAIR_KEYS = [
  'prompt',
  'chosen',
  'rejected',
  'referenceChosen',
  'referenceRejected',
  'weight',
  'baseChosen',
  'baseRejected',
];

/** Checks the parameters and fills in the defaults. Throws CreamError. */
export function checkTrainerParams(params: TrainerParams): NativeTrainerParams {
  knownKeys(params, PARAM_KEYS, '[trainer] the parameters');
  return {
    learningRate: finiteNumber(params.learningRate, '[trainer] learningRate', { min: 0 }),
    beta1: finiteNumber(params.beta1 ?? 0.9, '[trainer] beta1', { min: 0, max: 1, belowMax: true }),
    beta2: finiteNumber(params.beta2 ?? 0.999, '[trainer] beta2', {
      min: 0,
      max: 1,
      belowMax: true,
    }),
    epsilon: finiteNumber(params.epsilon ?? 1e-8, '[trainer] epsilon', { min: 0, aboveMin: true }),
    weightDecay: finiteNumber(params.weightDecay ?? 0.01, '[trainer] weightDecay', { min: 0 }),
    maxGradNorm: finiteNumber(params.maxGradNorm ?? 1, '[trainer] maxGradNorm', { min: 0 }),
    schedule: oneOf(
      params.schedule ?? 'cosine',
      ['constant', 'linear', 'cosine'],
      '[trainer] schedule',
    ),
    warmupSteps: integer(params.warmupSteps ?? 0, '[trainer] warmupSteps', 0),
    totalSteps: positiveInteger(params.totalSteps, '[trainer] totalSteps'),
    beta: finiteNumber(params.beta ?? 0.1, '[trainer] beta', { min: 0, aboveMin: true }),
    microBatchTokens: orAuto(params.microBatchTokens, (value) =>
      positiveInteger(value, '[trainer] microBatchTokens'),
    ),
    activationCheckpointing:
      params.activationCheckpointing === 'auto' ? undefined : params.activationCheckpointing,
    optimizerStates: oneOf(
      params.optimizerStates ?? 'float32',
      ['float32', '8bit'],
      '[trainer] optimizerStates',
    ),
    masterWeights: oneOf(
      params.masterWeights ?? 'float32',
      ['float32', 'split'],
      '[trainer] masterWeights',
    ),
    gradientDtype: oneOf(
      params.gradientDtype ?? 'float32',
      ['float32', 'bfloat16'],
      '[trainer] gradientDtype',
    ),
    klCoefficient: finiteNumber(params.klCoefficient ?? 0, '[trainer] klCoefficient', { min: 0 }),
    dropoutSeed: unsigned64(params.dropoutSeed ?? 0n, '[trainer] dropoutSeed'),
  };
}

/**
 * Made by Model.trainer(). Holds masters, two moments and a gradient: 16 bytes a parameter that
 * trains, or down to 6, until disposed of.
 */
export class Trainer {
  readonly #native: NativeTrainer;
  readonly #vocabSize: number;
  readonly #penalty: boolean;
  #disposed: Promise<void> | undefined;

  /** @internal */
  constructor(native: NativeTrainer, vocabSize: number, penalty: boolean) {
    this.#native = native;
    this.#vocabSize = vocabSize;
    this.#penalty = penalty;
  }

  /**
   * One step on the mean loss of the pairs. An aborted or failed step changes nothing; NaN rejects
   * with ERR_NON_FINITE.
   */
  async preferenceStep(
    pairs: readonly PairInput[],
    options: { signal?: AbortSignal } = {},
  ): Promise<StepMetrics> {
    const checked = list(pairs, '[train] pairs', { empty: false }).map((pair, i) => {
      const where = `[train] pair ${i}`;
      knownKeys(pair, PAIR_KEYS, where);
      return {
        prompt: tokenIds(pair.prompt, this.#vocabSize, `${where}: prompt`),
        chosen: tokenIds(pair.chosen, this.#vocabSize, `${where}: chosen`),
        rejected: tokenIds(pair.rejected, this.#vocabSize, `${where}: rejected`),
        referenceChosen: finiteNumber(pair.referenceChosen, `${where}: referenceChosen`),
        referenceRejected: finiteNumber(pair.referenceRejected, `${where}: referenceRejected`),
        weight: finiteNumber(pair.weight, `${where}: weight`, { min: 0, max: 1 }),
        // Checked where given; asked for where the penalty reads them.
        baseChosen: finiteNumber(
          pair.baseChosen ?? (this.#penalty ? undefined : 0),
          `${where}: baseChosen`,
        ),
        baseRejected: finiteNumber(
          pair.baseRejected ?? (this.#penalty ? undefined : 0),
          `${where}: baseRejected`,
        ),
      };
    });
    return this.#metrics(await runJob(() => this.#native.preferenceStep(checked), options.signal));
  }

  /** One step on the mean cross entropy of all completion tokens. */
  async sftStep(
    examples: readonly ExampleInput[],
    options: { signal?: AbortSignal } = {},
  ): Promise<StepMetrics> {
    const checked = list(examples, '[train] examples', { empty: false }).map((example, i) => {
      knownKeys(example, ['prompt', 'completion'], `[train] example ${i}`);
      return {
        prompt: tokenIds(example.prompt, this.#vocabSize, `[train] example ${i}: prompt`),
        completion: tokenIds(
          example.completion,
          this.#vocabSize,
          `[train] example ${i}: completion`,
        ),
      };
    });
    const { kl: _, ...metrics } = await runJob(() => this.#native.sftStep(checked), options.signal);
    return metrics;
  }

  /** Masters, moments and step count to one file, written whole or not at all. */
  async saveState(path: string): Promise<void> {
    const absolute = resolve(nonEmptyString(path, '[trainer] the path of saveState'));
    await runJob(() => this.#native.saveState(absolute));
  }

  /** Goes on exactly where saveState() was called, weights included. */
  async loadState(path: string): Promise<void> {
    const absolute = resolve(nonEmptyString(path, '[trainer] the path of loadState'));
    await runJob(() => this.#native.loadState(absolute));
  }

  /**
   * Frees the optimizer's memory for whatever the engine computes next (`releaseMemory()` gives it
   * back); the model keeps its trained weights. May be called again.
   */
  dispose(): Promise<void> {
    return (this.#disposed ??= this.#end());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #metrics({ kl, ...metrics }: NativeStepMetrics): StepMetrics {
    return this.#penalty ? { ...metrics, kl } : metrics;
  }

  async #end(): Promise<void> {
    await runJob(() => this.#native.dispose()).catch((error: unknown) => {
      // The model went first and took the trainer with it.
      if ((error as { code?: string }).code !== 'ERR_DISPOSED') throw error;
    });
  }
}
