/** A second signal ends the process even where its end waits for a long call. */
import { spawn } from 'node:child_process';
import { expect, it } from '@jest/globals';

const exit = new URL('../../dist/cli/exit.js', import.meta.url).href;

/** How a process ends whose exit handlers take `ms`. */
function end(ms: number): Promise<[number | null, string | null]> {
  const child = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    `import { exitWithin } from '${exit}';
     process.on('exit', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${ms}));
     exitWithin(${ms === 0 ? 60_000 : 300}, 130);`,
  ]);
  return new Promise((resolve) => child.on('exit', (code, signal) => resolve([code, signal])));
}

it('with its code if it ends in time', async () => expect(await end(0)).toEqual([130, null]));
it('killed if it does not', async () => expect(await end(50_000)).toEqual([null, 'SIGKILL']));
