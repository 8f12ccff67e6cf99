/** Cancellation and progress of long work with a model. */
export interface WorkHooks {
  signal: AbortSignal;
  /** `done` items and `tokens` of this call so far. */
  progress: (done: number, tokens: number) => void;
}
