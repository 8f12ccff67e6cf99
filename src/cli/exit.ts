/** The end of the process on a signal. */
import { releaseLocks } from '../engine/lock.js';
import { isHeld } from '../run/held.js';

/** Exit codes of a stopped command, as a shell reports a process that the signal ended. */
export const EXIT_OF = { SIGINT: 130, SIGTERM: 143 } as const;
export type StopSignal = keyof typeof EXIT_OF;

/** Time in which a stopped command ends by itself, before it is left. */
const GRACE_MS = 1500;
const LOOK_MS = 50;

/**
 * Lets the signal end the process. process.exit() would wait for the engine's call in progress, and
 * saving or loading a large model is not interrupted; it remains for the first process of a
 * container, which the system does not end by its own signal.
 */
export function endNow(signal: StopSignal): never {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  process.exit(EXIT_OF[signal]);
}

/**
 * Leaves a stopped command that has not ended by itself, as soon as nothing is held that a stop
 * must not cut off. `onLeave` is called just before.
 */
export function leaveSoon(signal: StopSignal, onLeave: () => void): void {
  const look = (): void => {
    if (isHeld()) return void setTimeout(look, LOOK_MS).unref();
    onLeave();
    releaseLocks();
    endNow(signal);
  };
  setTimeout(look, GRACE_MS).unref();
}

/**
 * Runs `work`, which holds the event loop and writes nothing, so that a signal is not heard: the
 * system ends the process on one meanwhile.
 */
export function endedBySignals<T>(work: () => T): T {
  const signals = Object.keys(EXIT_OF) as StopSignal[];
  const listeners = signals.map((signal) => process.listeners(signal));
  for (const signal of signals) process.removeAllListeners(signal);
  try {
    return work();
  } finally {
    signals.forEach((signal, i) => listeners[i]!.forEach((each) => process.on(signal, each)));
  }
}
