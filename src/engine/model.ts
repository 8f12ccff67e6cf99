/**
 * A model on its own native thread: token ids in, typed arrays out, the event loop free.
 * Calls on one model run in the order they were made; different models run side by side.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { addon, type NativeDType, type NativeModel, type NativeModelInfo } from './addon.js';
import { knownKeys, nonEmptyString, oneOf, tokenIds, type TokenIds } from './arguments.js';
import { CreamError } from './errors.js';
import { checkGenerateRequest, CompletionStream, type GenerateRequest, type Generation, type Progress, type StreamedToken } from './generate.js';
import { checkScoreRequest, type ScoreRequest, type ScoreResult } from './score.js';
import { runJob, startJob } from './signal.js';
import { checkTrainerParams, Trainer, type TrainerParams } from './trainer.js';

export type { TokenIds } from './arguments.js';

/** What weights are computed in. Training keeps fp32 masters in both. */
export type DType = NativeDType;

export interface ModelConfig extends Readonly<Omit<NativeModelInfo, 'configJson'>> {}

const DTYPES = ['float32', 'bfloat16'] as const;

interface Parts {
  native: NativeModel;
  path: string;
  dtype: DType;
  config: ModelConfig;
  /** config.json as it was beside the weights, or the engine's own. */
  configJson: Record<string, unknown>;
}

export class Model {
  /** The folder or .gguf file it was loaded from, absolute. */
  readonly path: string;
  readonly dtype: DType;
  readonly config: ModelConfig;
  readonly #parts: Parts;
  #disposed: Promise<void> | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.path = parts.path;
    this.dtype = parts.dtype;
    this.config = parts.config;
  }

  /**
   * Loads a Hugging Face folder (config.json and safetensors) or a .gguf file, which is dequantised; default bfloat16.
   * Rejects with CreamError: ERR_NOT_FOUND, ERR_INVALID_FILE, ERR_UNSUPPORTED, ERR_OUT_OF_MEMORY.
   */
  static async load(path: string, options: { dtype?: DType; signal?: AbortSignal } = {}): Promise<Model> {
    knownKeys(options, ['dtype', 'signal'], '[load] the options');
    const absolute = resolve(nonEmptyString(path, '[load] the path'));
    const dtype = oneOf(options.dtype ?? 'bfloat16', DTYPES, '[load] dtype');
    const native = new (addon().Model)();
    const { configJson, ...config } = await runJob(() => native.load(absolute, dtype), options.signal);
    const text = await readFile(join(absolute, 'config.json'), 'utf8').catch(() => configJson);
    return new Model({ native, path: absolute, dtype, config: Object.freeze(config), configJson: JSON.parse(text) as Record<string, unknown> });
  }

  /**
   * Samples completions. Throws CreamError at once for an impossible request; what fails later reaches whoever iterates, and
   * all() and stats. Aborting rejects with the signal's reason.
   */
  generate(request: GenerateRequest, options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void; onTokens?: (tokens: StreamedToken[]) => void } = {}): Generation {
    const checked = checkGenerateRequest(request, this.config);
    const { signal, onProgress, onTokens } = options;
    return new CompletionStream((onCompletion) =>
      startJob((guard) => this.#parts.native.generate(checked, onCompletion, guard(onTokens), guard(onProgress && report(onProgress))), signal));
  }

  /** Summed and per-token log-probs of completions. */
  async score(request: ScoreRequest, options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {}): Promise<ScoreResult> {
    const checked = checkScoreRequest(request, this.config.vocabSize);
    const { signal, onProgress } = options;
    return runJob((guard) => this.#parts.native.score(checked, guard(onProgress && report(onProgress))), signal);
  }

  /** Logits of every position, [tokens × vocabSize], row-major: for checks and small sequences. */
  async logits(tokens: TokenIds): Promise<Float32Array> {
    const checked = tokenIds(tokens, this.config.vocabSize, '[logits] tokens');
    return runJob(() => this.#parts.native.logits(checked));
  }

  /** Another model with the weights as they are after the calls made so far. Storage is shared until one of the two trains. */
  snapshot(): Model {
    try {
      return new Model({ ...this.#parts, native: this.#parts.native.snapshot() });
    } catch (failure) {
      throw disposedOr(failure);
    }
  }

  /**
   * Writes a folder that transformers loads: model.safetensors (sharded above 5 GB) and config.json, each whole or not at all.
   * From the trainer's fp32 masters while one lives. Default dtype: the model's own.
   */
  async save(directory: string, options: { dtype?: DType } = {}): Promise<void> {
    knownKeys(options, ['dtype'], '[save] the options');
    const absolute = resolve(nonEmptyString(directory, '[save] the directory'));
    const dtype = oneOf(options.dtype ?? this.dtype, DTYPES, '[save] dtype');
    await runJob(() => this.#parts.native.save(absolute, dtype, configFile(this.#parts.configJson, dtype)));
  }

  /** A trainer that changes this model's weights; one at a time. A bfloat16 model of a finer checkpoint starts from the checkpoint's values. */
  async trainer(params: TrainerParams): Promise<Trainer> {
    const checked = checkTrainerParams(params);
    return new Trainer(await runJob(() => this.#parts.native.createTrainer(checked)), this.config.vocabSize);
  }

  /** Frees the weights once the calls made so far are done; later calls fail with ERR_DISPOSED. May be called again. */
  dispose(): Promise<void> {
    return (this.#disposed ??= runJob(() => this.#parts.native.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function report(onProgress: (progress: Progress) => void): (done: number, total: number, tokens: number) => void {
  return (done, total, tokens) => onProgress({ done, total, tokens });
}

/** The original's keys, the weights' dtype. transformers 5 reads `dtype`, older versions `torch_dtype`. */
function configFile(original: Record<string, unknown>, dtype: DType): string {
  const config = { ...original, ...('dtype' in original && { dtype }), ...(!('dtype' in original && !('torch_dtype' in original)) && { torch_dtype: dtype }) };
  // JavaScript writes 30.0 as 30, and transformers 5 takes no whole number for these keys (Gemma's caps above all).
  const text = JSON.stringify(config, null, 2).replace(/"(attn_logit_softcapping|final_logit_softcapping|initializer_range|rms_norm_eps)": (\d+)(?=[,\n])/g, '"$1": $2.0');
  return `${text}\n`;
}

function disposedOr(failure: unknown): unknown {
  const { code, message } = failure as { code?: unknown; message?: unknown };
  return code === 'ERR_DISPOSED' ? new CreamError('ERR_DISPOSED', String(message)) : failure;
}
