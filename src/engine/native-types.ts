/**
 * The type of the native addon. test/engine/addon.test.ts compares the names below with what the
 * addon exports. Everything behind this boundary trusts its arguments: model.ts, generate.ts,
 * score.ts and trainer.ts check them.
 */

/**
 * Work on a model's thread. The promise rejects with {code, message}; cancel() before the work
 * began rejects at once.
 */
export interface NativeJob<T> {
  promise: Promise<T>;
  cancel(): void;
}

export type NativeDType = 'float32' | 'bfloat16';

export interface NativeModelInfo {
  architecture: string;
  modelType: string;
  vocabSize: number;
  hiddenSize: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  intermediateSize: number;
  /**
   * Tokens that a sequence may have: the config's number, or less where longer ones would change
   * RoPE frequencies (docs/models.md).
   */
  maxPositionEmbeddings: number;
  tieWordEmbeddings: boolean;
  bosTokenId: number | null;
  eosTokenIds: number[];
  /**
   * 0: a causal language model; else a sequence-classification model (a reward model), for
   * classify() alone.
   */
  numLabels: number;
  parameters: number;
  /** A config.json for this model, for sources that bring none. */
  configJson: string;
  /** Where the weights are: 'cpu', 'cuda:0'. */
  device: string;
}

/** A low-rank adapter, in PEFT's terms. */
export interface NativeAdapterParams {
  rank: number;
  alpha: number;
  dropout: number;
  targetModules: string[];
  useRslora: boolean;
}

export interface NativeGenerationRequest {
  prompts: { tokens: Int32Array; key: bigint; samples: number; firstSample: number }[];
  temperature: number;
  topP: number;
  topK: number;
  minNewTokens: number;
  maxNewTokens: number;
  stopIds: Int32Array;
  stopStrings: readonly string[];
  tokenBytes?: { bytes: Uint8Array; offsets: Uint32Array } | undefined;
  seed: bigint;
  iteration: number;
  /** 0: the engine chooses. */
  maxNumSeqs: number;
}

export interface NativeCompletion {
  promptIndex: number;
  sample: number;
  tokens: Int32Array;
  logprobs: Float32Array;
  finishReason: 'eos' | 'stop' | 'length';
}

export interface NativeStreamedToken {
  promptIndex: number;
  sample: number;
  token: number;
}

export interface NativeGenerationStats {
  promptTokens: number;
  completionTokens: number;
  decodeSteps: number;
  prefillSeconds: number;
  decodeSeconds: number;
}

export interface NativeScoringRequest {
  groups: { prompt: Int32Array; completions: Int32Array[] }[];
  /** 0: the engine chooses. */
  maxNumBatchedTokens: number;
}

export interface NativeScoringResult {
  sums: Float64Array;
  tokenLogprobs: Float32Array;
  offsets: Float64Array;
  forwardTokens: number;
  seconds: number;
}

export interface NativeTrainerParams {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  maxGradNorm: number;
  schedule: 'constant' | 'linear' | 'cosine';
  warmupSteps: number;
  totalSteps: number;
  beta: number;
  /** 0: the engine chooses. */
  microBatchTokens: number;
  /** Left out, the engine chooses. */
  activationCheckpointing?: boolean | undefined;
  optimizerStates: 'float32' | '8bit';
  masterWeights: 'float32' | 'split';
  gradientDtype: 'float32' | 'bfloat16';
  klCoefficient: number;
  dropoutSeed: bigint;
}

export interface NativePair {
  prompt: Int32Array;
  chosen: Int32Array;
  rejected: Int32Array;
  referenceChosen: number;
  referenceRejected: number;
  weight: number;
  baseChosen: number;
  baseRejected: number;
}

export interface NativeExample {
  prompt: Int32Array;
  completion: Int32Array;
}

export interface NativeStepMetrics {
  step: number;
  loss: number;
  gradNorm: number;
  learningRate: number;
  rewardChosen: number;
  rewardRejected: number;
  rewardMargin: number;
  rewardAccuracy: number;
  logpChosen: number;
  logpRejected: number;
  kl: number;
  tokens: number;
  seconds: number;
}

/** See native/engine/plan.h; what is left out is chosen. */
export interface NativePlanRequest {
  configJson: string;
  /** Names the config in messages. */
  source: string;
  dtype: NativeDType;
  stage: 'sample' | 'score' | 'train';
  deviceBytes: number;
  lora?: NativeAdapterParams | undefined;
  otherModels: number;
  promptTokens: number;
  newTokens: number;
  samples: number;
  microBatchTokens?: number | undefined;
  maxNumBatchedTokens?: number | undefined;
  maxNumSeqs?: number | undefined;
  activationCheckpointing?: boolean | undefined;
  /** All three or none. */
  optimizerStates?: 'float32' | '8bit' | undefined;
  masterWeights?: 'float32' | 'split' | undefined;
  gradientDtype?: 'float32' | 'bfloat16' | undefined;
}

export interface NativePlan {
  parts: { name: string; bytes: number }[];
  bytes: number;
  /** What is missing; 0: it fits. */
  shortBytes: number;
  /** Chosen or as fixed; 0 where the stage has no such thing. */
  microBatchTokens: number;
  activationCheckpointing: boolean;
  optimizerStates: 'float32' | '8bit';
  masterWeights: 'float32' | 'split';
  gradientDtype: 'float32' | 'bfloat16';
  maxNumSeqs: number;
  kvPages: number;
  maxNumBatchedTokens: number;
  headChunkTokens: number;
}

export type NativeProgress = (done: number, total: number, tokens: number) => void;

/** Calls run in the order they are made. A model without weights refuses all but load(). */
export interface NativeModel {
  load(path: string, dtype: NativeDType, device: string): NativeJob<NativeModelInfo>;
  generate(
    request: NativeGenerationRequest,
    onCompletion: ((completion: NativeCompletion) => void) | undefined,
    onTokens: ((tokens: NativeStreamedToken[]) => void) | undefined,
    onProgress: NativeProgress | undefined,
  ): NativeJob<NativeGenerationStats>;
  score(
    request: NativeScoringRequest,
    onProgress: NativeProgress | undefined,
  ): NativeJob<NativeScoringResult>;
  logits(tokens: Int32Array): NativeJob<Float32Array>;
  classify(request: {
    sequences: Int32Array[];
    maxNumBatchedTokens: number;
  }): NativeJob<Float32Array>;
  snapshot(adapter: boolean): NativeModel;
  save(directory: string, dtype: NativeDType, configJson: string): NativeJob<undefined>;
  addAdapter(params: NativeAdapterParams, seed: bigint): NativeJob<NativeAdapterParams>;
  loadAdapter(directory: string): NativeJob<NativeAdapterParams>;
  saveAdapter(directory: string, dtype: NativeDType, baseModel: string): NativeJob<undefined>;
  merge(): NativeJob<undefined>;
  createTrainer(params: NativeTrainerParams): NativeJob<NativeTrainer>;
  dispose(): NativeJob<undefined>;
}

export interface NativeTrainer {
  preferenceStep(pairs: NativePair[]): NativeJob<NativeStepMetrics>;
  sftStep(examples: NativeExample[]): NativeJob<NativeStepMetrics>;
  saveState(path: string): NativeJob<undefined>;
  loadState(path: string): NativeJob<undefined>;
  dispose(): NativeJob<undefined>;
}

export interface Addon {
  Model: new () => NativeModel;
  Trainer: new () => NativeTrainer;
  engineInfo(): Omit<EngineInfo, 'version'>;
  /** Of a GPU of engineInfo(), by its index, in bytes; opens a context on it. */
  freeDeviceMemory(index: number): number;
  setThreads(threads: number): void;
  releaseMemory(): void;
  readGguf(path: string): NativeJob<string>;
  /** Null where another holder has the lock; else the function that releases it. */
  lockFile(path: string, contents: string): (() => void) | null;
  plan(request: NativePlanRequest): NativePlan;
  benchmarkGemm(
    m: number,
    k: number,
    n: number,
    dtype: NativeDType,
    device: string,
    repeats: number,
  ): NativeJob<number>;
  benchmarkCopy(bytes: number, device: string, repeats: number): NativeJob<number>;
}

export interface CudaInfo {
  /** Whether the addon was built for NVIDIA GPUs. */
  built: boolean;
  /**
   * Version of the toolkit that compiled the kernels, and what for: '13.0', 'sm_80, sm_90, PTX
   * 9.0'; both empty where it was not.
   */
  toolkit: string;
  architectures: string;
  /** Why no GPU can be used; empty where one can. */
  problem: string;
  gpus: {
    index: number;
    name: string;
    computeCapability: string;
    multiprocessors: number;
    memoryBytes: number;
  }[];
}

export interface EngineInfo {
  /** cream-lm's. */
  version: string;
  /** libtorch's version. */
  torch: string;
  /**
   * `level`: of the kernels that run, 'AVX-512 BF16' at best; `loss`: what a lower one costs, in a
   * sentence, else empty.
   */
  cpu: { model: string; features: string[]; level: string; loss: string };
  /** Threads that one computation uses. */
  threads: number;
  cuda: CudaInfo;
  /** Bytes of the weights of all models that live in this process, shared storage counted once. */
  weightBytes: number;
}
