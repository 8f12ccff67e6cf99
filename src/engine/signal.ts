/**
 * Turns a native job into a promise: handles AbortSignals and callbacks that throw, and gives
 * errors the caller's stack.
 */
import { setMaxListeners } from 'node:events';
import type { NativeJob } from './addon.js';
import { CreamError, fromNative } from './errors.js';

export interface Job<T> {
  promise: Promise<T>;
  /** Asks the work to stop; the promise rejects once it has stopped. */
  cancel(): void;
}

/** Wraps a user's callback: an error that it throws stops the job and becomes its rejection. */
export type Guard = <A extends unknown[]>(
  callback: ((...args: A) => void) | undefined,
) => ((...args: A) => void) | undefined;

/**
 * Starts a native job. Aborting `signal` rejects with its reason, once the native work has stopped
 * or at once if it had not begun. Throws the error that `start` throws.
 */
export function startJob<T>(start: (guard: Guard) => NativeJob<T>, signal?: AbortSignal): Job<T> {
  const caller = new Error();
  Error.captureStackTrace?.(caller, startJob);
  signal?.throwIfAborted();
  let thrown: { by: unknown } | undefined;
  let native: NativeJob<T> | undefined;
  const cancel = (): void => native?.cancel();
  const guard: Guard = (callback) =>
    callback &&
    ((...args) => {
      if (thrown) return;
      try {
        callback(...args);
      } catch (error) {
        thrown = { by: error };
        cancel();
      }
    });
  try {
    native = start(guard);
  } catch (failure) {
    throw fromNative(failure, caller);
  }
  // One signal may end any number of calls at once, which is no leak.
  if (signal instanceof EventTarget) setMaxListeners(0, signal);
  signal?.addEventListener('abort', cancel, { once: true });
  const promise = native.promise
    .then(
      (value) => {
        if (thrown) throw thrown.by;
        return value;
      },
      (failure: unknown) => {
        if (thrown) throw thrown.by;
        const error = fromNative(failure, caller);
        if (signal?.aborted && error instanceof CreamError && error.code === 'ERR_ABORTED')
          throw signal.reason;
        throw error;
      },
    )
    .finally(() => signal?.removeEventListener('abort', cancel));
  return { promise, cancel };
}

/**
 * startJob() for callers that only await the result. Rejects with the errors that startJob()
 * throws.
 */
export async function runJob<T>(
  start: (guard: Guard) => NativeJob<T>,
  signal?: AbortSignal,
): Promise<T> {
  return startJob(start, signal).promise;
}
