/**
 * Turns a native job into a promise: handles AbortSignals and callbacks that throw, and gives
 * errors the caller's stack.
 */
import { heeded, warnOfLate } from '../files/callback.js';
import { onAbort } from './abort.js';
import type { NativeJob } from './addon.js';
import { atOnce, type Turn } from './call-order.js';
import { CreamError, fromNative } from './errors.js';

export interface Job<T> {
  promise: Promise<T>;
  /** Asks the work to stop; the promise rejects once it has stopped. */
  cancel(): void;
}

/**
 * Wraps a user's callback: an error that it throws, or rejects with, stops the job and becomes its
 * rejection.
 */
export type Guard = <A extends unknown[]>(
  callback: ((...args: A) => void) | undefined,
) => ((...args: A) => void) | undefined;

/**
 * Starts a native job in its turn. Aborting `signal` rejects with its reason, once the native work
 * has stopped or at once if it had not begun. Throws the error that `start` throws at once.
 */
export function startJob<T>(
  start: (guard: Guard) => NativeJob<T>,
  signal?: AbortSignal,
  turn: Turn = atOnce,
): Job<T> {
  const caller = new Error();
  Error.captureStackTrace?.(caller, startJob);
  signal?.throwIfAborted();
  let thrown: { by: unknown } | undefined;
  let ended = false;
  let native: NativeJob<T> | undefined;
  let giveUp = (): void => {};
  const cancel = (): void => (native ? native.cancel() : giveUp());
  const onError = (error: unknown): void => {
    if (ended) return warnOfLate(error);
    thrown ??= { by: error };
    cancel();
  };
  const guard: Guard = (callback) => {
    const call = callback && heeded(callback, onError);
    return call && ((...args) => (thrown ? undefined : call(...args)));
  };
  let refused = undefined as { by: unknown } | undefined;
  const begin = async (): Promise<T> => {
    try {
      native = start(guard);
    } catch (failure) {
      refused = { by: failure };
      throw failure;
    }
    return native.promise;
  };
  const begun = new Promise<T>((resolve, reject) => {
    const leave = turn(() => resolve(begin()));
    giveUp = () => {
      leave();
      reject(new CreamError('ERR_ABORTED', 'The operation was aborted.'));
    };
  });
  if (refused) {
    begun.catch(() => {});
    throw fromNative(refused.by, caller);
  }
  const forget = signal && onAbort(signal, cancel);
  const promise = begun
    .finally(() => {
      ended = true;
      forget?.();
    })
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
    );
  return { promise, cancel };
}

/**
 * startJob() for callers that only await the result. Rejects with the errors that startJob()
 * throws.
 */
export async function runJob<T>(
  start: (guard: Guard) => NativeJob<T>,
  signal?: AbortSignal,
  turn?: Turn,
): Promise<T> {
  return startJob(start, signal, turn).promise;
}
