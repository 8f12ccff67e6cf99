/** A model on a native thread: it takes token ids, returns typed arrays, and never blocks Node. */
import { parseConfig } from '../files/json.js';
import { readText } from '../files/read.js';
import { join, resolve } from 'node:path';
import {
  adapterConfig,
  AdapterState,
  checkAdapterParams,
  type AdapterConfig,
  type AdapterParams,
} from './adapter.js';
import {
  addon,
  type NativeDType,
  type NativeJob,
  type NativeModel,
  type NativeModelInfo,
  type SavedFile,
} from './addon.js';
import { invalid, knownKeys, nonEmptyString, oneOf, tokenIds, type TokenIds } from './arguments.js';
import { configFile } from './config-file.js';
import { CallOrder } from './call-order.js';
import { CreamError, fromNative } from './errors.js';
import {
  checkGenerateRequest,
  CompletionStream,
  reporter,
  type GenerateRequest,
  type Generation,
  type Progress,
  type StreamedToken,
} from './generate.js';
import {
  checkClassifyRequest,
  checkScoreRequest,
  type ClassifyRequest,
  type ScoreRequest,
  type ScoreResult,
} from './score.js';
import { runJob, startJob } from './signal.js';
import { checkTrainerParams, Trainer, type TrainerParams } from './trainer.js';

export type { AdapterConfig, AdapterParams } from './adapter.js';
export type { SavedFile } from './addon.js';
export type { TokenIds } from './arguments.js';

/** Dtype of the weights. Training keeps fp32 master weights in either case. */
export type DType = NativeDType;

/** Sizes, limits and special tokens of a model; `parameters` is the number of its weights. */
export type ModelConfig = Readonly<Omit<NativeModelInfo, 'configJson' | 'device' | 'note'>>;

export const DTYPES = ['float32', 'bfloat16'] as const;

interface Parts {
  native: NativeModel;
  path: string;
  dtype: DType;
  device: string;
  config: ModelConfig;
  /** The config.json beside the weights; the engine's own for a GGUF file and a text part. */
  configJson: Record<string, unknown>;
  adapter: AdapterConfig | null;
}

/**
 * A causal language model or a sequence-classification model. Calls run on the model's own thread,
 * in the order in which they were made. Consecutive generations are decoded together: one that is
 * requested while others run joins them at the next decode step. Every other call waits until the
 * generations before it have ended, and generations after it wait for it. Different models run
 * concurrently. dispose() frees the weights; `await using` calls it. Every method rejects with
 * ERR_DISPOSED after that.
 */
export class Model {
  /** Absolute path of the folder or .gguf file that the model was loaded from. */
  readonly path: string;
  /** Dtype of the weights. */
  readonly dtype: DType;
  /** Device that holds the weights and computes: 'cpu' or e.g. 'cuda:0'. */
  readonly device: string;
  /** Sizes, limits and special tokens. */
  readonly config: ModelConfig;
  readonly #parts: Parts;
  readonly #adapter: AdapterState;
  readonly #order = new CallOrder();
  #disposed: Promise<void> | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.path = parts.path;
    this.dtype = parts.dtype;
    this.device = parts.device;
    this.config = parts.config;
    this.#adapter = new AdapterState(parts.adapter);
  }

  /** The model's config.json; of a GGUF file, one that says the same. */
  get configJson(): string {
    return JSON.stringify(this.#parts.configJson);
  }

  /** The adapter on the weights, or null. Sampling, scoring and training all use it. */
  get adapter(): AdapterConfig | null {
    return this.#adapter.current;
  }

  /**
   * Loads a Hugging Face folder (config.json and safetensors) or a .gguf file, which is
   * dequantised. `dtype` defaults to bfloat16, `device` to 'cpu'; 'cuda' and 'cuda:1' name GPUs
   * (docs/cuda.md). `adapter` is a folder in PEFT's format whose adapter is put on the model.
   * Rejects with CreamError: ERR_INVALID_ARGUMENT, ERR_NOT_FOUND, ERR_INVALID_FILE,
   * ERR_UNSUPPORTED, ERR_OUT_OF_MEMORY, ERR_ADDON; an aborted `signal` rejects with its reason.
   */
  static async load(
    path: string,
    options: { dtype?: DType; device?: string; adapter?: string; signal?: AbortSignal } = {},
  ): Promise<Model> {
    knownKeys(options, ['dtype', 'device', 'adapter', 'signal'], '[load] the options');
    const absolute = resolve(nonEmptyString(path, '[load] the path'));
    const dtype = oneOf(options.dtype ?? 'bfloat16', DTYPES, '[load] dtype');
    const native = new (addon().Model)();
    const name = nonEmptyString(options.device ?? 'cpu', '[load] device');
    const { configJson, device, note, ...config } = await runJob(
      () => native.load(absolute, dtype, name),
      options.signal,
    );
    if (note) process.emitWarning(`${absolute}: ${note}`);
    const text = await readText(join(absolute, 'config.json'), 'config').catch(() => configJson);
    const file = parseConfig(text) as Record<string, unknown>;
    const model = new Model({
      native,
      path: absolute,
      dtype,
      device,
      config: Object.freeze(config),
      // A multimodal model is saved as its text part alone.
      configJson: 'text_config' in file ? (JSON.parse(configJson) as typeof file) : file,
      adapter: null,
    });
    if (options.adapter !== undefined) {
      await model.loadAdapter(options.adapter).catch(async (error: unknown) => {
        await model.dispose();
        throw error;
      });
    }
    return model;
  }

  /**
   * Samples completions. Each has its token ids (Int32Array), the model's log-prob of each token in
   * nats at temperature 1, before top-k and top-p (Float32Array of the same length), and the reason
   * it ended: `eos`, `stop` or `length`. Throws CreamError ERR_INVALID_ARGUMENT at once for an
   * impossible request. A later failure rejects the iteration, all() and stats alike; aborting
   * `signal` does so with its reason. `onTokens` gets tokens as they are
   * generated.
   */
  generate(
    request: GenerateRequest,
    options: {
      signal?: AbortSignal;
      onProgress?: (progress: Progress) => void;
      onTokens?: (tokens: StreamedToken[]) => void;
    } = {},
  ): Generation {
    knownKeys(options, ['signal', 'onProgress', 'onTokens'], '[generate] the options', {
      callbacks: ['onProgress', 'onTokens'],
    });
    const checked = checkGenerateRequest(request, this.config);
    const { signal, onProgress, onTokens } = options;
    return new CompletionStream(checked.seed, (onCompletion) =>
      startJob(
        (guard) =>
          this.#parts.native.generate(
            checked,
            onCompletion,
            guard(onTokens),
            guard(onProgress && reporter(onProgress)),
          ),
        signal,
        this.#order.reading,
      ),
    );
  }

  /**
   * Log-probs of completions given their prompts, in nats: per token (float32) and summed per
   * completion (float64). Rejects with CreamError ERR_INVALID_ARGUMENT, also for a sequence that is
   * longer than config.maxPositionEmbeddings, and ERR_NON_FINITE where a log-prob is not finite; an
   * aborted `signal` rejects with its reason.
   */
  async score(
    request: ScoreRequest,
    options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {},
  ): Promise<ScoreResult> {
    knownKeys(options, ['signal', 'onProgress'], '[score] the options', {
      callbacks: ['onProgress'],
    });
    const checked = checkScoreRequest(request, this.config.vocabSize);
    const { signal, onProgress } = options;
    const result = await runJob(
      (guard) => this.#parts.native.score(checked, guard(onProgress && reporter(onProgress))),
      signal,
      this.#order.reading,
    );
    if (!result.sums.every(Number.isFinite))
      throw new CreamError(
        'ERR_NON_FINITE',
        "[score] a log-prob is not finite: the model's weights or activations overflowed. Fetch " +
          'the model again, or train it with a lower learning rate.',
      );
    return result;
  }

  /**
   * Logits at every position, [tokens × vocabSize], float32, row-major. Meant for checks on short
   * sequences.
   */
  async logits(tokens: TokenIds): Promise<Float32Array> {
    const checked = tokenIds(tokens, this.config.vocabSize, '[logits] tokens');
    return runJob(() => this.#parts.native.logits(checked), undefined, this.#order.reading);
  }

  /**
   * Logits of a sequence-classification model (config.numLabels > 0) at the last token of each
   * sequence, [sequences × numLabels], float32, row-major. Rejects with CreamError:
   * ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED for a causal language model.
   */
  async classify(
    request: ClassifyRequest,
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    knownKeys(options, ['signal'], '[classify] the options');
    const checked = checkClassifyRequest(request, this.config.vocabSize);
    return runJob(() => this.#parts.native.classify(checked), options.signal, this.#order.reading);
  }

  /**
   * Copy-on-write snapshot: another model with the weights after all calls made so far. The two
   * share storage until one of them trains; a base under adapters stays shared even then. With
   * `adapter: false` the snapshot is the base model without its adapter. Throws CreamError:
   * ERR_INVALID_ARGUMENT while the adapter is being changed, ERR_DISPOSED.
   */
  snapshot(options: { adapter?: boolean } = {}): Model {
    knownKeys(options, ['adapter'], '[snapshot] the options', { flags: ['adapter'] });
    const adapter = options.adapter ?? true;
    if (this.#adapter.isChanging)
      throw invalid(
        '[snapshot] the adapter is being changed; await addAdapter(), loadAdapter() or ' +
          'merge() first.',
      );
    if (this.#order.changeWaits)
      throw invalid('[snapshot] a change of the model waits for an earlier call; await it first.');
    try {
      return new Model({
        ...this.#parts,
        native: this.#parts.native.snapshot(adapter),
        adapter: adapter ? this.adapter : null,
      });
    } catch (failure) {
      throw fromNative(failure, new Error());
    }
  }

  /**
   * Puts a new adapter on the model, initialised as in PEFT: A is random and B is zero, so that
   * outputs do not change yet. A model has at most one adapter. Rejects with CreamError
   * ERR_INVALID_ARGUMENT.
   */
  async addAdapter(params: AdapterParams): Promise<void> {
    const { native, seed } = checkAdapterParams(params);
    const added = this.#alter(() => this.#parts.native.addAdapter(native, seed));
    await this.#adapter.change(added.then(adapterConfig));
  }

  /**
   * Loads an adapter from a folder in PEFT's format (adapter_config.json and
   * adapter_model.safetensors); it replaces the present adapter. Rejects with CreamError:
   * ERR_NOT_FOUND, ERR_INVALID_FILE for an adapter of another base, ERR_UNSUPPORTED for an adapter
   * that is not plain LoRA; the message names the key or tensor.
   */
  async loadAdapter(directory: string): Promise<void> {
    const absolute = resolve(nonEmptyString(directory, '[loadAdapter] the directory'));
    const loaded = this.#alter(() => this.#parts.native.loadAdapter(absolute));
    await this.#adapter.change(loaded.then(adapterConfig));
  }

  /**
   * Writes the adapter in PEFT's format, each file atomically. `dtype` defaults to float32, in
   * which adapters are trained. `baseModel` is written as base_model_name_or_path and defaults to
   * the path that the base was loaded from. Rejects with CreamError: ERR_INVALID_ARGUMENT, ERR_IO.
   */
  async saveAdapter(
    directory: string,
    options: { baseModel?: string; dtype?: DType } = {},
  ): Promise<void> {
    knownKeys(options, ['baseModel', 'dtype'], '[saveAdapter] the options');
    const absolute = resolve(nonEmptyString(directory, '[saveAdapter] the directory'));
    const dtype = oneOf(options.dtype ?? 'float32', DTYPES, '[saveAdapter] dtype');
    const base = nonEmptyString(options.baseModel ?? this.path, '[saveAdapter] baseModel');
    const save = (): NativeJob<undefined> => this.#parts.native.saveAdapter(absolute, dtype, base);
    await runJob(save, undefined, this.#order.reading);
  }

  /**
   * Merges the adapter into the weights, computed in fp32 and rounded once. The model then trains
   * and saves as a full model. An aborted `signal` rejects with its reason, as long as the
   * checkpoint's fp32 values are read; the model then keeps its adapter.
   */
  async merge(options: { signal?: AbortSignal } = {}): Promise<void> {
    knownKeys(options, ['signal'], '[merge] the options');
    const merged = this.#alter(() => this.#parts.native.merge(), options.signal);
    await this.#adapter.change(merged.then(() => null));
  }

  /**
   * Writes a folder that transformers loads: model.safetensors (sharded above 5 GB) and
   * config.json, each file atomically. `dtype` defaults to the model's own. While the model has a
   * trainer, the values come from its fp32 master weights. Rejects with CreamError:
   * ERR_INVALID_ARGUMENT, ERR_IO, and for a model with an adapter, for which saveAdapter() writes
   * the adapter and merge() makes a full model. An aborted `signal` rejects with its reason, and
   * then no file is half-written. Resolves with the files that contain weights and their SHA-256.
   */
  async save(
    directory: string,
    options: { dtype?: DType; signal?: AbortSignal } = {},
  ): Promise<readonly SavedFile[]> {
    knownKeys(options, ['dtype', 'signal'], '[save] the options');
    const absolute = resolve(nonEmptyString(directory, '[save] the directory'));
    const dtype = oneOf(options.dtype ?? this.dtype, DTYPES, '[save] dtype');
    return runJob(
      () => this.#parts.native.save(absolute, dtype, configFile(this.#parts.configJson, dtype)),
      options.signal,
      this.#order.reading,
    );
  }

  /**
   * Makes a trainer of this model's adapter or, without an adapter, of all its weights. A model has
   * one trainer at a time. A bfloat16 model that was loaded from a float32 checkpoint starts from
   * the checkpoint's float32 values. Rejects with CreamError: ERR_INVALID_ARGUMENT,
   * ERR_OUT_OF_MEMORY; an aborted `signal` rejects with its reason.
   */
  async trainer(params: TrainerParams, options: { signal?: AbortSignal } = {}): Promise<Trainer> {
    knownKeys(options, ['signal'], '[trainer] the options');
    const checked = checkTrainerParams(params);
    return new Trainer(
      await this.#alter(() => this.#parts.native.createTrainer(checked), options.signal),
      this.config.vocabSize,
      checked,
      this.#order,
    );
  }

  /**
   * Moves the weights to the host's memory until they are next used, to free the GPU's. Models that
   * do not fit the GPU together do so by themselves; this frees it for another process. Does
   * nothing on the CPU, with an adapter, while a trainer lives, and where a snapshot shares them.
   */
  async offload(): Promise<void> {
    await runJob(() => this.#parts.native.offload(), undefined, this.#order.reading);
  }

  /**
   * Frees the weights once the calls made so far have ended; later calls reject with ERR_DISPOSED.
   * Further calls of dispose() do nothing.
   */
  dispose(): Promise<void> {
    return (this.#disposed ??= this.#alter(() => this.#parts.native.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /**
   * @internal Prepares a call that only reads the model, then makes it. Calls that change or free
   * the model wait for it, as if the call had been made at once. `call` must call this model before
   * it awaits anything.
   */
  async prepared<A, T>(prepare: () => Promise<A>, call: (prepared: A) => Promise<T>): Promise<T> {
    if (this.#disposed)
      throw new CreamError('ERR_DISPOSED', 'The model was disposed of; load it again to go on.');
    return this.#order.prepared(prepare, call);
  }

  /** @internal The adapter that the calls made so far leave. */
  adapterToBe(): Promise<AdapterConfig | null> {
    return this.#adapter.settled();
  }

  /** Runs a job that changes the model. */
  #alter<T>(start: () => NativeJob<T>, signal?: AbortSignal): Promise<T> {
    return runJob(start, signal, this.#order.changing);
  }
}
