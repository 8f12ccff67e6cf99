/** The public API: re-exports only. */
export {
  engineInfo,
  readGguf,
  releaseMemory,
  setThreads,
  type EngineInfo,
} from './engine/addon.js';
export { CreamError, type CreamErrorCode } from './engine/errors.js';
export type {
  Completion,
  GenerateRequest,
  Generation,
  GenerationPrompt,
  GenerationStats,
  Progress,
  StreamedToken,
} from './engine/generate.js';
export {
  Model,
  type AdapterConfig,
  type AdapterParams,
  type DType,
  type ModelConfig,
  type SavedFile,
  type TokenIds,
} from './engine/model.js';
export type { ClassifyRequest, ScoreRequest, ScoreResult, ScoringGroup } from './engine/score.js';
export {
  Trainer,
  type ExampleInput,
  type PairInput,
  type StepMetrics,
  type TrainerParams,
} from './engine/trainer.js';
export {
  LanguageModel,
  loadModel,
  type ChunkToken,
  type LoadOptions,
  type TextChunk,
  type TextCompletion,
  type TextOptions,
  type TextStream,
  type TokenLogprob,
} from './lm/language-model.js';
export { ModelError, type ModelErrorCode } from './files/errors.js';
export {
  modelDigest,
  resolveModel,
  type ModelProgress,
  type ResolvedModel,
  type ResolveOptions,
} from './models/resolve.js';
export { DataError } from './data/jsonl.js';
export { loadPreferences, type PreferenceRecord, type Preferences } from './data/preferences.js';
export { toTrl, type TrlFormat } from './data/trl.js';
export type { LeftOut, OnBadRow, Skipped } from './data/bad-rows.js';
export {
  loadDemonstrations,
  loadPrompts,
  type Loaded,
  type LoadOptions as LoadRowsOptions,
} from './data/prompts.js';
export type * from './data/records.js';
export { readRows, type SourceOptions, type SourceRow } from './data/rows.js';
export type { RewardFunction, RewardItem } from './reward/external.js';
export { Interrupted, RunError, type RunErrorCode } from './run/errors.js';
export type { RowsLeftOut, RunEvent, StageName } from './run/events.js';
export type { MetricsRow } from './run/metrics-log.js';
export type { MetricsSink } from './run/sinks.js';
export { parseRecipe, recipeText } from './run/recipe-file.js';
export type { Recipe } from './run/recipe.js';
export type { PromptRow, PromptRows } from './run/given-prompts.js';
export { run, type RunOptions } from './run/run.js';
export type { IterationSummary } from './run/summary.js';
export type { StepTiming } from './run/timing.js';
export { ChatTemplate, type Message } from './text/chat-template.js';
export { TextError, type TextErrorCode } from './text/errors.js';
export { loadTokenizer, Tokenizer } from './text/tokenizer.js';
