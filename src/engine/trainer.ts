/** Trains a model, or its adapter, in place; each call is one optimizer step. */
import { resolve } from 'node:path';
import type { NativeJob, NativeStepMetrics, NativeTrainer, NativeTrainerParams } from './addon.js';
import { knownKeys, list, nonEmptyString } from './arguments.js';
import type { CallOrder } from './call-order.js';
import { checkFields, type FieldsOf } from './fields.js';
import { EXAMPLE_FIELDS, PAIR_FIELDS, TRAINER_FIELDS, type Loss } from './requests.js';
import { runJob } from './signal.js';

/** Settings of the optimizer, the loss and the memory that training takes. */
export type TrainerParams = FieldsOf<typeof TRAINER_FIELDS>;

/**
 * A preference pair as token ids. It carries the log-probs of the reference model (θ_t before
 * training), so that training needs no second model.
 */
export type PairInput = FieldsOf<typeof PAIR_FIELDS>;

/** A prompt and its completion as token ids, for SFT. */
export type ExampleInput = FieldsOf<typeof EXAMPLE_FIELDS>;

/** Metrics of one step, averaged over its pairs or examples; names as TRL logs them. */
export type StepMetrics = Omit<NativeStepMetrics, 'kl'> & {
  /**
   * Mean of ½·(log π − log π_0)² over chosen and rejected, in nats. Present if klCoefficient is
   * above 0.
   */
  kl?: number;
};

/** Checks the parameters and fills in the defaults. Throws CreamError. */
export function checkTrainerParams(params: TrainerParams): NativeTrainerParams {
  return checkFields(TRAINER_FIELDS, params, {
    what: '[trainer] the parameters',
    place: (name) => `[trainer] ${name}`,
    context: undefined,
  });
}

/**
 * An optimizer for one model, made by Model.trainer(). Until dispose() it holds master weights, two
 * moments and a gradient: 16 bytes per trained parameter in float32, down to 6 in the forms that
 * save memory (`optimizerStates`, `masterWeights`, `gradientDtype`). Its steps and the model's
 * other calls run in the order in which they were made.
 */
export class Trainer {
  readonly #native: NativeTrainer;
  /** That of the model. */
  readonly #order: CallOrder;
  readonly #vocabSize: number;
  readonly #of: { penalty: boolean; loss: Loss };
  #disposed: Promise<void> | undefined;

  /** @internal */
  constructor(
    native: NativeTrainer,
    vocabSize: number,
    params: NativeTrainerParams,
    order: CallOrder,
  ) {
    this.#native = native;
    this.#order = order;
    this.#vocabSize = vocabSize;
    this.#of = { penalty: params.klCoefficient > 0, loss: params.loss };
  }

  /**
   * One optimizer step on the pairs' mean loss, weighted by C. A step that is aborted or fails
   * changes nothing. Rejects with CreamError: ERR_INVALID_ARGUMENT, ERR_OUT_OF_MEMORY,
   * ERR_NON_FINITE (a loss or gradient is NaN or infinite), ERR_DISPOSED; an aborted `signal`
   * rejects with its reason.
   */
  async preferenceStep(
    pairs: readonly PairInput[],
    options: { signal?: AbortSignal } = {},
  ): Promise<StepMetrics> {
    knownKeys(options, ['signal'], '[train] the options');
    const context = { vocabSize: this.#vocabSize, ...this.#of };
    const checked = list(pairs, '[train] pairs', { empty: false }).map((pair, i) => {
      const what = `[train] pair ${i}`;
      const place = (name: string): string => `${what}: ${name}`;
      return checkFields(PAIR_FIELDS, pair, { what, place, context });
    });
    return this.#metrics(
      await this.#alter(() => this.#native.preferenceStep(checked), options.signal),
    );
  }

  /**
   * One optimizer step on the cross-entropy loss, averaged over all completion tokens of the batch.
   * Errors as for preferenceStep().
   */
  async sftStep(
    examples: readonly ExampleInput[],
    options: { signal?: AbortSignal } = {},
  ): Promise<StepMetrics> {
    knownKeys(options, ['signal'], '[train] the options');
    const context = { vocabSize: this.#vocabSize };
    const checked = list(examples, '[train] examples', { empty: false }).map((example, i) => {
      const what = `[train] example ${i}`;
      const place = (name: string): string => `${what}: ${name}`;
      return checkFields(EXAMPLE_FIELDS, example, { what, place, context });
    });
    const { kl: _, ...metrics } = await this.#alter(
      () => this.#native.sftStep(checked),
      options.signal,
    );
    return metrics;
  }

  /**
   * Writes master weights, moments and step count to one file, atomically. Ranks that share the
   * training of all weights write their shard each, every one to a path of its own. Rejects with
   * CreamError ERR_IO.
   */
  async saveState(path: string): Promise<void> {
    const absolute = resolve(nonEmptyString(path, '[trainer] the path of saveState'));
    await runJob(() => this.#native.saveState(absolute), undefined, this.#order.reading);
  }

  /**
   * Restores a state of saveState(), weights included; training then continues exactly from there,
   * on any number of ranks. `path`: the file, or those of all ranks that saved it, in their order.
   * Rejects with CreamError: ERR_NOT_FOUND, ERR_INVALID_FILE (damaged, or of another model),
   * ERR_INVALID_ARGUMENT (saved with other settings). An aborted `signal` rejects with its reason
   * while the files are checked; then nothing has changed.
   */
  async loadState(
    path: string | readonly string[],
    options: { signal?: AbortSignal } = {},
  ): Promise<void> {
    knownKeys(options, ['signal'], '[trainer] the options of loadState');
    const what = '[trainer] the path of loadState';
    const given = typeof path === 'object' ? list(path, what, { empty: false }) : [path];
    const absolute = given.map((one) => resolve(nonEmptyString(one, what)));
    await this.#alter(() => this.#native.loadState(absolute), options.signal);
  }

  /**
   * Gathers weights that are sharded over the ranks (`shard: 'weights'`): until the next step the
   * model can be used, and it keeps them if the trainer is disposed of before that. All ranks must
   * call it. Otherwise it does nothing.
   */
  async gatherWeights(): Promise<void> {
    await this.#alter(() => this.#native.gatherWeights());
  }

  /**
   * Frees the optimizer's memory for later work of the engine; `releaseMemory()` returns it to
   * the operating system. The model keeps its trained weights; if these are sharded over the
   * ranks and not gathered, it must be loaded again. With `keepMasters` a bfloat16 model whose
   * weights are all trained also keeps its float32 master weights, 4 bytes per parameter of the
   * host's memory: it and its snapshots then save them as float32, and the next trainer starts
   * from them. Further calls do nothing. Rejects with CreamError ERR_OUT_OF_MEMORY if memory
   * lacks for the master weights; the trainer then lives on.
   */
  dispose(options: { keepMasters?: boolean } = {}): Promise<void> {
    knownKeys(options, ['keepMasters'], '[trainer] the options of dispose', {
      flags: ['keepMasters'],
    });
    this.#disposed ??= this.#end(options.keepMasters ?? false).catch((error: unknown) => {
      this.#disposed = undefined;
      throw error;
    });
    return this.#disposed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #alter<T>(start: () => NativeJob<T>, signal?: AbortSignal): Promise<T> {
    return runJob(start, signal, this.#order.changing);
  }

  #metrics({ kl, ...metrics }: NativeStepMetrics): StepMetrics {
    return this.#of.penalty ? { ...metrics, kl } : metrics;
  }

  async #end(keepMasters: boolean): Promise<void> {
    await this.#alter(() => this.#native.dispose(keepMasters)).catch((error: unknown) => {
      // The trainer was disposed of together with its model.
      if ((error as { code?: string }).code !== 'ERR_DISPOSED') throw error;
    });
  }
}
