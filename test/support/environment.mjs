// jest runs tests in a realm of their own. Objects that the addon makes belong to the outer realm
// and would fail `instanceof` without this.
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

export default class extends TestEnvironment {
  async setup() {
    await super.setup();
    for (const name of SHARED) this.global[name] = globalThis[name];
  }
}
