// jest runs tests in a realm of their own; what the addon makes comes from the outer one and would
// fail `instanceof`.
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
