/** The public API: re-exports only. */
export { engineInfo, readGguf, setThreads, type EngineInfo } from './engine/addon.js';
export { CreamError, type CreamErrorCode } from './engine/errors.js';
export type { Completion, GenerateRequest, Generation, GenerationPrompt, GenerationStats, Progress, StreamedToken } from './engine/generate.js';
export { Model, type AdapterConfig, type AdapterParams, type DType, type ModelConfig, type TokenIds } from './engine/model.js';
export type { ScoreRequest, ScoreResult, ScoringGroup } from './engine/score.js';
export { Trainer, type ExampleInput, type PairInput, type StepMetrics, type TrainerParams } from './engine/trainer.js';
export { LanguageModel, loadModel, type LoadOptions, type TextOptions } from './lm/language-model.js';
export { modelDigest, resolveModel, type ResolvedModel, type ResolveOptions } from './models/resolve.js';
export { ChatTemplate, type Message } from './text/chat-template.js';
export { loadTokenizer, Tokenizer } from './text/tokenizer.js';
