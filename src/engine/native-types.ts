/**
 * The type of the native addon. test/engine/addon.test.ts compares the names below with those that
 * the addon exports. The addon trusts its arguments: src/engine checks them first, by the tables in
 * requests.ts, from which the types of the requests follow.
 */
import type { CheckedOf } from './fields.js';
import type {
  CLASSIFICATION_FIELDS,
  EXAMPLE_FIELDS,
  GENERATION_FIELDS,
  LORA_FIELDS,
  PAIR_FIELDS,
  PLAN_FIELDS,
  SCORING_FIELDS,
  TRAINER_FIELDS,
} from './requests.js';

/**
 * Work on a model's thread. The promise rejects with {code, message}; after cancel() it rejects at
 * once if the work has not begun.
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
   * Longest sequence in tokens: the config's number, or less if a longer one would change the
   * RoPE frequencies (docs/models.md).
   */
  maxPositionEmbeddings: number;
  tieWordEmbeddings: boolean;
  bosTokenId: number | null;
  eosTokenIds: number[];
  /**
   * 0 for a causal language model; else the labels of a sequence-classification model (a reward
   * model), which supports classify() only.
   */
  numLabels: number;
  parameters: number;
  /** A config.json for this model, for sources that have none. */
  configJson: string;
  /** Parts of the files that are not used, such as a model's vision part; usually empty. */
  note: string;
  /** Device of the weights: 'cpu' or e.g. 'cuda:0'. */
  device: string;
  /** Whether a sequence has the same bits whatever else is in its batch (docs/determinism.md). */
  batchInvariant: boolean;
}

export type NativeAdapterParams = CheckedOf<typeof LORA_FIELDS>;

export type NativeGenerationRequest = CheckedOf<typeof GENERATION_FIELDS>;
export type NativeScoringRequest = CheckedOf<typeof SCORING_FIELDS>;
export type NativeClassificationRequest = CheckedOf<typeof CLASSIFICATION_FIELDS>;
export type NativeTrainerParams = CheckedOf<typeof TRAINER_FIELDS>;
export type NativePair = CheckedOf<typeof PAIR_FIELDS>;
export type NativeExample = CheckedOf<typeof EXAMPLE_FIELDS>;
export type NativePlanRequest = CheckedOf<typeof PLAN_FIELDS>;

export interface NativeCompletion {
  /** Position of its prompt in the request. */
  promptIndex: number;
  /** Sample number, from the prompt's firstSample on. */
  sample: number;
  /** Token ids, at least one; a stop id is included. */
  tokens: Int32Array;
  /** log p of each token in nats: full vocabulary, temperature 1, before top-k and top-p. */
  logprobs: Float32Array;
  /** The request's `topLogprobs` most likely tokens per token, the likeliest first. */
  topTokens: Int32Array;
  /** Their log-probs, as in `logprobs`. */
  topLogprobs: Float32Array;
  /** A stop id, a stop string, or maxNewTokens or the end of the context. */
  finishReason: 'eos' | 'stop' | 'length';
}

export interface NativeStreamedToken {
  promptIndex: number;
  sample: number;
  token: number;
  /** This and the following: as in the completion. */
  logprob: number;
  topTokens: number[];
  topLogprobs: number[];
}

export interface NativeGenerationStats {
  promptTokens: number;
  completionTokens: number;
  /** Decode steps that this request took part in. */
  decodeSteps: number;
  /**
   * Decode steps of the model, counted since it was loaded over all requests, that were done when
   * the request's first sequence entered.
   */
  firstStep: number;
  /** That number at the request's last decode step. */
  lastStep: number;
  /** Seconds of the steps that this request took part in, alone or with others. */
  prefillSeconds: number;
  decodeSeconds: number;
  /**
   * Why decode steps on a GPU could not be captured as CUDA graphs, the first reason; they then
   * take longer. null if all could, and on the CPU.
   */
  graphFailure: string | null;
}

export interface NativeScoringResult {
  sums: Float64Array;
  tokenLogprobs: Float32Array;
  offsets: Float64Array;
  forwardTokens: number;
  seconds: number;
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

export interface NativePlan {
  parts: { name: string; bytes: number; gpuOnly: boolean }[];
  bytes: number;
  /** Bytes beyond the device's memory; 0 if the plan fits. */
  shortBytes: number;
  /**
   * This and the following: as requested, otherwise chosen by the plan; 0 if the stage does not use
   * it.
   */
  microBatchTokens: number;
  activationCheckpointing: boolean;
  shard: 'optimizer' | 'weights';
  optimizerStates: 'float32' | '8bit';
  masterWeights: 'float32' | 'split';
  gradientDtype: 'float32' | 'bfloat16';
  /** Scoring: the other models wait in the host's memory. */
  offload: boolean;
  maxNumSeqs: number;
  kvPages: number;
  maxNumBatchedTokens: number;
  headChunkTokens: number;
}

export type NativeProgress = (done: number, total: number, tokens: number) => void;

/** A file with weights that a save has written. */
export interface SavedFile {
  /** In the folder. */
  name: string;
  bytes: number;
  /** Hexadecimal; null where this Node exports no OpenSSL. */
  sha256: string | null;
}

/**
 * Calls run in the order in which they are made; generations that follow each other are decoded
 * together. Before load(), all other calls fail.
 */
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
  classify(request: NativeClassificationRequest): NativeJob<Float32Array>;
  snapshot(adapter: boolean): NativeModel;
  save(directory: string, dtype: NativeDType, configJson: string): NativeJob<SavedFile[]>;
  addAdapter(params: NativeAdapterParams, seed: bigint): NativeJob<NativeAdapterParams>;
  loadAdapter(directory: string): NativeJob<NativeAdapterParams>;
  saveAdapter(directory: string, dtype: NativeDType, baseModel: string): NativeJob<undefined>;
  merge(): NativeJob<undefined>;
  offload(): NativeJob<undefined>;
  createTrainer(params: NativeTrainerParams): NativeJob<NativeTrainer>;
  dispose(): NativeJob<undefined>;
}

export interface NativeTrainer {
  preferenceStep(pairs: NativePair[]): NativeJob<NativeStepMetrics>;
  sftStep(examples: NativeExample[]): NativeJob<NativeStepMetrics>;
  saveState(path: string): NativeJob<undefined>;
  loadState(paths: readonly string[]): NativeJob<undefined>;
  gatherWeights(): NativeJob<undefined>;
  dispose(keepMasters: boolean): NativeJob<undefined>;
}

/** A process among the ranks of a run; the only one without a launcher. */
export interface RankPlace {
  rank: number;
  size: number;
  /** Among those on this machine. */
  localRank: number;
  localSize: number;
}

export interface Addon {
  rankPlace(): RankPlace;
  /** Process groups of this build: Gloo for CPUs, NCCL for GPUs. */
  processGroups(): { gloo: boolean; nccl: boolean };
  joinRanks(): NativeJob<undefined>;
  storeSet(key: string, value: string): NativeJob<null>;
  storeAwait(key: string, milliseconds: number): NativeJob<string | null>;
  storeAdd(key: string, value: number): NativeJob<string>;
  storeRemove(key: string): NativeJob<null>;
  storePush(queue: string, value: string): NativeJob<null>;
  storePop(queue: string): NativeJob<string | null>;
  leaveRanks(): void;
  endProcess(code: number): never;
  Model: new () => NativeModel;
  Trainer: new () => NativeTrainer;
  engineInfo(): Omit<EngineInfo, 'version'>;
  /** Free bytes of the GPU with this index in engineInfo(); opens a CUDA context on it. */
  freeDeviceMemory(index: number): number;
  setThreads(threads: number): void;
  releaseMemory(): void;
  readGguf(path: string): NativeJob<string>;
  /** Null if another holder has the lock; otherwise the function that releases it. */
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
  /** Version of the CUDA toolkit that compiled the kernels, e.g. '13.0'; empty without CUDA. */
  toolkit: string;
  /**
   * Architectures that they were compiled for, e.g. 'sm_80, sm_90, PTX 9.0'; empty without CUDA.
   */
  architectures: string;
  /** Why no GPU can be used; empty if one can. */
  problem: string;
  gpus: {
    index: number;
    name: string;
    computeCapability: string;
    multiprocessors: number;
    memoryBytes: number;
  }[];
}

/** The machine, libtorch and this build. */
export interface EngineInfo {
  /** cream-lm's version. */
  version: string;
  /** libtorch's version. */
  torch: string;
  /**
   * `level` is the instruction set of the kernels in use, at best 'AMX'. `loss` is a
   * sentence on what a lower level costs; it is empty at the best level.
   */
  cpu: { model: string; features: string[]; level: string; loss: string };
  /** CPU threads of one computation. */
  threads: number;
  /** GPUs, and why none can be used. */
  cuda: CudaInfo;
  /** Bytes of all loaded weights in this process; shared storage is counted once. */
  weightBytes: number;
}
