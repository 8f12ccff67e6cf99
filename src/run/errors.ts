/** Errors of a run: a message that says what to do, and a code for programs. */

/** Codes of RunError. */
export type RunErrorCode =
  | 'ERR_RECIPE' // a recipe or an override is wrong
  | 'ERR_RUN_LOCKED' // another process works in the run directory
  | 'ERR_RUN_MISMATCH' // the run directory belongs to another recipe or model
  | 'ERR_RUN_DATA' // prompts, demonstrations or an artefact are not usable
  | 'ERR_NO_PAIRS' // ranking left nothing to train on
  | 'ERR_DIVERGED' // the loss is not a finite number
  | 'ERR_DISK'; // the disk is full, or not writable

/** A run that cannot start or continue. */
export class RunError extends Error {
  override readonly name = 'RunError';
  constructor(
    readonly code: RunErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The run was stopped on request and can be resumed; this is not a failure. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly code = 'ERR_INTERRUPTED';
  constructor() {
    super('The run was interrupted.');
  }
}

/** Runs `work`; if the signal stopped it, throws Interrupted instead of the error of `work`. */
export async function stoppable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw new Interrupted();
    throw error;
  }
}

/** `work`, which does not know the signal; rejects with its reason once the signal is aborted. */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    // First, so that a later failure of abandoned work is no unhandled rejection.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
  });
}
