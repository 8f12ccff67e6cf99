/** Cancellation and progress of a stage. */
export interface StageHooks {
  signal: AbortSignal;
  /** `done` items and `tokens` of this call so far. */
  progress: (done: number, tokens: number) => void;
}
