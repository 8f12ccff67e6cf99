// jest runs tests in a realm of their own. Objects that the addon makes belong to the outer realm
// and would fail `instanceof` without this.
import { rmSync } from 'node:fs';
import { TestEnvironment } from 'jest-environment-node';

const SHARED = [
  'Float32Array',
  'Float64Array',
  'Int32Array',
  'Uint32Array',
  'Uint8Array',
  'BigInt64Array',
  'BigUint64Array',
  'ArrayBuffer',
  'Error',
  'TypeError',
  'RangeError',
  'SyntaxError',
  'Promise',
];

// A process that loaded libtorch takes up to half a second or more to run its static destructors
// on a busy machine, and jest reports a worker that needs more than 500 ms as leaking. An open
// handle is still found: the event loop then does not end, and there is no `exit` event.
const EXIT = Symbol.for('cream-lm.test.exit');
if (process.send && process.env.JEST_WORKER_ID && !process[EXIT]) {
  process[EXIT] = true;
  process.once('exit', (code) => {
    // A worker that ends by an error, such as a promise that no test awaited, says so.
    if (code === 0) process.kill(process.pid, 'SIGKILL');
  });
}

export default class extends TestEnvironment {
  async setup() {
    await super.setup();
    for (const name of SHARED) this.global[name] = globalThis[name];
    this.global.temporaryFolders = [];
  }

  // Here, not when the process ends: a worker serves many test files, and is killed in the end.
  async teardown() {
    for (const folder of this.global.temporaryFolders)
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    await super.teardown();
  }
}
