/** Callbacks of a program. One that is declared to return nothing may be async all the same. */

/**
 * `callback`, whose exception is handed to `onError`, and so is the rejection of a promise that it
 * returns, which nobody else would handle.
 */
export function heeded<A extends unknown[]>(
  callback: (...args: A) => unknown,
  onError: (error: unknown) => void,
): (...args: A) => void {
  return (...args) => {
    try {
      const returned = callback(...args);
      if (isThenable(returned)) returned.then(undefined, onError);
    } catch (error) {
      onError(error);
    }
  };
}

/**
 * Runs `work` with a callback whose failure stops it: `work` gets a signal that is aborted then,
 * with the error as its reason, and must reject with that reason.
 */
export async function withCallback<A extends unknown[], T>(
  callback: ((...args: A) => void) | undefined,
  signal: AbortSignal | undefined,
  work: (
    callback: ((...args: A) => void) | undefined,
    signal: AbortSignal | undefined,
  ) => Promise<T>,
): Promise<T> {
  if (callback === undefined) return work(undefined, signal);
  const failure = new AbortController();
  let ended = false;
  const onError = (error: unknown): void => {
    if (ended) warnOfLate(error);
    else failure.abort(error);
  };
  try {
    const made = await work(
      heeded(callback, onError),
      AbortSignal.any([failure.signal, ...(signal ? [signal] : [])]),
    );
    failure.signal.throwIfAborted();
    return made;
  } finally {
    ended = true;
  }
}

/** A callback failed that can stop nothing any more. */
export function warnOfLate(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  process.emitWarning(`A callback failed after the work that had called it ended: ${message}`);
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
