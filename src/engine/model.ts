/**
 * A model on its own native thread: token ids in, typed arrays out, the event loop free.
 * Calls on one model run in the order they were made; different models run side by side.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  adapterConfig,
  checkAdapterParams,
  type AdapterConfig,
  type AdapterParams,
} from './adapter.js';
import { addon, type NativeDType, type NativeModel, type NativeModelInfo } from './addon.js';
import { invalid, knownKeys, nonEmptyString, oneOf, tokenIds, type TokenIds } from './arguments.js';
import { CreamError } from './errors.js';
import {
  checkGenerateRequest,
  CompletionStream,
  type GenerateRequest,
  type Generation,
  type Progress,
  type StreamedToken,
} from './generate.js';
import {
  checkClassifyRequest,
  checkScoreRequest,
  type ScoreRequest,
  type ScoreResult,
} from './score.js';
import { runJob, startJob } from './signal.js';
import { checkTrainerParams, Trainer, type TrainerParams } from './trainer.js';

export type { AdapterConfig, AdapterParams } from './adapter.js';
export type { TokenIds } from './arguments.js';

/** What weights are computed in. Training keeps fp32 masters in both. */
export type DType = NativeDType;

export type ModelConfig = Readonly<Omit<NativeModelInfo, 'configJson' | 'device'>>;

const DTYPES = ['float32', 'bfloat16'] as const;

interface Parts {
  native: NativeModel;
  path: string;
  dtype: DType;
  device: string;
  config: ModelConfig;
  /** config.json as it was beside the weights, or the engine's own. */
  configJson: Record<string, unknown>;
  adapter: AdapterConfig | null;
}

export class Model {
  /** The folder or .gguf file it was loaded from, absolute. */
  readonly path: string;
  readonly dtype: DType;
  /** Where the weights are and the work is done: 'cpu', 'cuda:0'. */
  readonly device: string;
  readonly config: ModelConfig;
  readonly #parts: Parts;
  #adapter: AdapterConfig | null;
  /**
   * Changes of the adapter that have not ended: what a snapshot would hold is not known while there
   * are any.
   */
  #changing = 0;
  #disposed: Promise<void> | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.path = parts.path;
    this.dtype = parts.dtype;
    this.device = parts.device;
    this.config = parts.config;
    this.#adapter = parts.adapter;
  }

  /** The adapter on the weights, or null. Sampling, scoring and training all go through it. */
  get adapter(): AdapterConfig | null {
    return this.#adapter;
  }

  /**
   * Loads a Hugging Face folder (config.json and safetensors) or a .gguf file, which is
   * dequantised; default bfloat16, on the CPU. `device`: 'cpu', 'cuda' or 'cuda:1' (docs/cuda.md).
   * With `adapter`, a folder in PEFT's format, the adapter goes on top. Rejects with CreamError:
   * ERR_NOT_FOUND, ERR_INVALID_FILE, ERR_UNSUPPORTED, ERR_OUT_OF_MEMORY.
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
    const { configJson, device, ...config } = await runJob(
      () => native.load(absolute, dtype, name),
      options.signal,
    );
    const text = await readFile(join(absolute, 'config.json'), 'utf8').catch(() => configJson);
    const model = new Model({
      native,
      path: absolute,
      dtype,
      device,
      config: Object.freeze(config),
      configJson: JSON.parse(text) as Record<string, unknown>,
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
   * Samples completions. Throws CreamError at once for an impossible request; what fails later
   * reaches whoever iterates, and all() and stats. Aborting rejects with the signal's reason.
   */
  generate(
    request: GenerateRequest,
    options: {
      signal?: AbortSignal;
      onProgress?: (progress: Progress) => void;
      onTokens?: (tokens: StreamedToken[]) => void;
    } = {},
  ): Generation {
    const checked = checkGenerateRequest(request, this.config);
    const { signal, onProgress, onTokens } = options;
    return new CompletionStream((onCompletion) =>
      startJob(
        (guard) =>
          this.#parts.native.generate(
            checked,
            onCompletion,
            guard(onTokens),
            guard(onProgress && report(onProgress)),
          ),
        signal,
      ),
    );
  }

  /** Summed and per-token log-probs of completions. */
  async score(
    request: ScoreRequest,
    options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {},
  ): Promise<ScoreResult> {
    const checked = checkScoreRequest(request, this.config.vocabSize);
    const { signal, onProgress } = options;
    return runJob(
      (guard) => this.#parts.native.score(checked, guard(onProgress && report(onProgress))),
      signal,
    );
  }

  /** Logits of every position, [tokens × vocabSize], row-major: for checks and small sequences. */
  async logits(tokens: TokenIds): Promise<Float32Array> {
    const checked = tokenIds(tokens, this.config.vocabSize, '[logits] tokens');
    return runJob(() => this.#parts.native.logits(checked));
  }

  /**
   * Of a sequence-classification model (config.numLabels > 0): the logits at the last token of each
   * sequence, [sequences × labels], row-major. maxNumBatchedTokens: tokens of one forward pass,
   * default `auto`, as in score(); it changes speed and memory only.
   */
  async classify(
    request: { sequences: readonly TokenIds[]; maxNumBatchedTokens?: number | 'auto' },
    options: { signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const checked = checkClassifyRequest(request, this.config.vocabSize);
    return runJob(() => this.#parts.native.classify(checked), options.signal);
  }

  /**
   * Another model with the weights as they are after the calls made so far. Storage is shared until
   * one of the two trains; a base under adapters always is. With `adapter: false`, the base alone.
   */
  snapshot(options: { adapter?: boolean } = {}): Model {
    knownKeys(options, ['adapter'], '[snapshot] the options');
    const adapter = options.adapter ?? true;
    if (this.#changing > 0)
      throw invalid(
        '[snapshot] the adapter is being changed; await addAdapter(), loadAdapter() or ' +
          'merge() first.',
      );
    try {
      return new Model({
        ...this.#parts,
        native: this.#parts.native.snapshot(adapter),
        adapter: adapter ? this.#adapter : null,
      });
    } catch (failure) {
      throw disposedOr(failure);
    }
  }

  /**
   * Puts a new adapter on the weights that changes nothing yet: A random, B zero, as PEFT begins. A
   * model has one at most.
   */
  async addAdapter(params: AdapterParams): Promise<void> {
    const { native, seed } = checkAdapterParams(params);
    await this.#change(async () =>
      adapterConfig(await runJob(() => this.#parts.native.addAdapter(native, seed))),
    );
  }

  /**
   * Reads adapter_config.json and adapter_model.safetensors, as PEFT writes them, in the place of
   * the present adapter. Rejects with ERR_INVALID_FILE for an adapter of another base and
   * ERR_UNSUPPORTED for what is not plain LoRA, naming the key or tensor.
   */
  async loadAdapter(directory: string): Promise<void> {
    const absolute = resolve(nonEmptyString(directory, '[loadAdapter] the directory'));
    await this.#change(async () =>
      adapterConfig(await runJob(() => this.#parts.native.loadAdapter(absolute))),
    );
  }

  /**
   * Writes the adapter as PEFT does, each file whole or not at all. Default dtype: float32, which
   * an adapter is trained in. `baseModel` becomes base_model_name_or_path; default: the path that
   * the base was loaded from.
   */
  async saveAdapter(
    directory: string,
    options: { baseModel?: string; dtype?: DType } = {},
  ): Promise<void> {
    knownKeys(options, ['baseModel', 'dtype'], '[saveAdapter] the options');
    const absolute = resolve(nonEmptyString(directory, '[saveAdapter] the directory'));
    const dtype = oneOf(options.dtype ?? 'float32', DTYPES, '[saveAdapter] dtype');
    const base = nonEmptyString(options.baseModel ?? this.path, '[saveAdapter] baseModel');
    await runJob(() => this.#parts.native.saveAdapter(absolute, dtype, base));
  }

  /**
   * Folds the adapter into the weights, in fp32 and rounded once: a full model, which trains and
   * saves as such.
   */
  async merge(): Promise<void> {
    await this.#change(async () => {
      await runJob(() => this.#parts.native.merge());
      return null;
    });
  }

  /**
   * Writes a folder that transformers loads: model.safetensors (sharded above 5 GB) and
   * config.json, each whole or not at all. From the trainer's fp32 masters while one lives. Default
   * dtype: the model's own. A model with an adapter is refused: saveAdapter() writes the adapter,
   * merge() makes it a full model.
   */
  async save(directory: string, options: { dtype?: DType } = {}): Promise<void> {
    knownKeys(options, ['dtype'], '[save] the options');
    const absolute = resolve(nonEmptyString(directory, '[save] the directory'));
    const dtype = oneOf(options.dtype ?? this.dtype, DTYPES, '[save] dtype');
    await runJob(() =>
      this.#parts.native.save(absolute, dtype, configFile(this.#parts.configJson, dtype)),
    );
  }

  /**
   * A trainer that changes this model's adapter where it has one, else all of its weights; one at a
   * time. A bfloat16 model of a finer checkpoint starts from the checkpoint's values.
   */
  async trainer(params: TrainerParams): Promise<Trainer> {
    const checked = checkTrainerParams(params);
    return new Trainer(
      await runJob(() => this.#parts.native.createTrainer(checked)),
      this.config.vocabSize,
      checked.klCoefficient > 0,
    );
  }

  /**
   * Frees the weights once the calls made so far are done; later calls fail with ERR_DISPOSED. May
   * be called again.
   */
  dispose(): Promise<void> {
    return (this.#disposed ??= runJob(() => this.#parts.native.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #change(work: () => Promise<AdapterConfig | null>): Promise<void> {
    this.#changing++;
    try {
      this.#adapter = await work();
    } finally {
      this.#changing--;
    }
  }
}

function report(
  onProgress: (progress: Progress) => void,
): (done: number, total: number, tokens: number) => void {
  return (done, total, tokens) => onProgress({ done, total, tokens });
}

/**
 * The original's keys, the weights' dtype. transformers 5 reads `dtype`, older versions
 * `torch_dtype`.
 */
function configFile(original: Record<string, unknown>, dtype: DType): string {
  const config = {
    ...original,
    ...('dtype' in original && { dtype }),
    ...(!('dtype' in original && !('torch_dtype' in original)) && { torch_dtype: dtype }),
  };
  // JavaScript writes 30.0 as 30, and transformers 5 takes no whole number for these keys (Gemma's
  // caps above all).
  const text = JSON.stringify(config, null, 2).replace(
    /"(attn_logit_softcapping|final_logit_softcapping|initializer_range|rms_norm_eps)": (\d+)(?=[,\n])/g,
    '"$1": $2.0',
  );
  return `${text}\n`;
}

function disposedOr(failure: unknown): unknown {
  const { code, message } = failure as { code?: unknown; message?: unknown };
  return code === 'ERR_DISPOSED' ? new CreamError('ERR_DISPOSED', String(message)) : failure;
}
