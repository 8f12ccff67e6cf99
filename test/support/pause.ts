/**
 * Stops a run at a line of its event log, however busy the machine is: the run stops itself there,
 * so that a test can send a signal before it goes on.
 */
import type { ChildProcess } from 'node:child_process';
import { spawnSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';

/** The environment of a run that pauses after the first event that matches. */
export const pauseAt = (line: RegExp): NodeJS.ProcessEnv => ({
  NODE_OPTIONS: `--import ${new URL('pause-preload.mjs', import.meta.url).href}`,
  CREAM_TEST_PAUSE: line.source,
});

/** Calls `then` while the run is paused, and lets it go on. */
export async function whilePaused(child: ChildProcess, then: () => void): Promise<void> {
  const state = (): string =>
    spawnSync('ps', ['-o', 'state=', '-p', String(child.pid)]).stdout.toString();
  while (!state().startsWith('T')) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error('The run ended before it wrote the event.');
    await setTimeout(20);
  }
  then();
  child.kill('SIGCONT');
}
