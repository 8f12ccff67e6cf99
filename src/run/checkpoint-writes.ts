/**
 * The checkpoint that is written while the next stages compute. What they compute from its model
 * reaches the run directory only after the checkpoint and its record are there (`written`), so a
 * killed run leaves nothing behind that came from a lost model.
 */
import { whileHeld } from './held.js';

/** The work that is done beside the stages, in order. */
export class CheckpointWrites {
  private work: Promise<void> = Promise.resolve();
  private error: unknown;
  private readonly failed = new AbortController();

  /** Aborted once a write has failed: the stages that compute meanwhile need not go on. */
  get signal(): AbortSignal {
    return this.failed.signal;
  }

  /** Does `work` after the work before it; the caller goes on. After an error nothing is done. */
  add(work: () => Promise<void>): void {
    const before = this.work;
    // A stop waits for it, from now on.
    this.work = whileHeld(() => before.then(work));
    this.work.catch((error: unknown) => {
      this.error ??= error;
      this.failed.abort();
    });
  }

  /** Resolves when all work is done. @throws its error */
  written(): Promise<void> {
    return this.work;
  }

  /** Waits for the work; its error, if there is one. */
  async failure(): Promise<unknown> {
    await this.work.catch(() => {});
    return this.error;
  }
}
