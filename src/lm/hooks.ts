/** Cancellation and progress of long work with a model. */
export interface WorkHooks {
  signal: AbortSignal;
  /** `done` items and `tokens` of this call so far. */
  progress: (done: number, tokens: number) => void;
  /** Called once the work was stopped and has to write something first: a sentence about it. */
  onStopping?: (sentence: string) => void;
}
