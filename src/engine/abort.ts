/** One signal for any number of calls. */

/**
 * The running calls that each signal ends. Its one listener serves them all, since a signal
 * compares a new listener with each that it has.
 */
const calls = new WeakMap<AbortSignal, { cancels: Set<() => void>; listener: () => void }>();

/** Calls `cancel` once `signal` is aborted; returns the function that takes this back. */
export function onAbort(signal: AbortSignal, cancel: () => void): () => void {
  const own = calls.get(signal) ?? listen(signal);
  own.cancels.add(cancel);
  return () => {
    own.cancels.delete(cancel);
    if (own.cancels.size > 0 || calls.get(signal) !== own) return;
    calls.delete(signal);
    signal.removeEventListener('abort', own.listener);
  };
}

function listen(signal: AbortSignal): { cancels: Set<() => void>; listener: () => void } {
  const cancels = new Set<() => void>();
  const listener = (): void => cancels.forEach((cancel) => cancel());
  signal.addEventListener('abort', listener, { once: true });
  const own = { cancels, listener };
  calls.set(signal, own);
  return own;
}
