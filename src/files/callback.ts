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
 * Runs `work` with a callback whose failure stops it and is its error. Where the callback is async,
 * the signal that `work` gets is aborted with the error as its reason.
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
  const stop = new AbortController();
  const passOn = (): void => stop.abort(signal?.reason);
  if (signal?.aborted) passOn();
  else signal?.addEventListener('abort', passOn, { once: true });
  let failed = undefined as { by: unknown } | undefined;
  let ended = false;
  const call = heeded(callback, (error) => {
    if (ended) return warnOfLate(error);
    failed ??= { by: error };
    stop.abort(error);
  });
  const refuse = (): void => {
    if (failed) throw failed.by;
  };
  const checked = (...args: A): void => {
    call(...args);
    refuse();
  };
  try {
    return await work(checked, stop.signal);
  } finally {
    ended = true;
    signal?.removeEventListener('abort', passOn);
    refuse(); // before any result or error of the work that it stopped
  }
}

/** A callback failed that can stop nothing any more. */
export function warnOfLate(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  process.emitWarning(`A callback failed after the work that had called it ended: ${message}`);
}

/** Whether `value` is a promise, or a library's own kind of one. */
export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
