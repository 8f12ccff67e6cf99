/** The end of the process on a second signal. */
import { Worker } from 'node:worker_threads';

/**
 * Ends the process with `code`, or kills it after `ms` if that takes longer. process.exit() waits
 * for the engine's call in progress, and saving or loading a large model is not interrupted. A
 * thread of its own keeps the time, because the main thread waits.
 */
export function exitWithin(ms: number, code: number): never {
  new Worker(`setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${ms})`, { eval: true });
  process.exit(code);
}
