/** Threads and device of a rank. */
import { afterEach, expect, it } from '@jest/globals';
import { availableParallelism } from 'node:os';
import { placed, threadsOf } from '../../src/run/placement.js';

const before = process.env['CUDA_VISIBLE_DEVICES'];
afterEach(() => {
  if (before === undefined) delete process.env['CUDA_VISIBLE_DEVICES'];
  else process.env['CUDA_VISIBLE_DEVICES'] = before;
});

it.each([
  ['cuda', undefined, 'cuda:3'],
  ['cuda', '0,1,2,3', 'cuda:3'],
  ['cuda', '5', 'cuda:0'],
  ['cuda', 'GPU-8c9f', 'cuda:0'],
  ['cuda', '', 'cuda:3'],
  ['cuda:1', '5', 'cuda:1'],
  ['cpu', '5', 'cpu'],
])('the device %s is, where CUDA_VISIBLE_DEVICES is %s, %s', (device, visible, expected) => {
  if (visible === undefined) delete process.env['CUDA_VISIBLE_DEVICES'];
  else process.env['CUDA_VISIBLE_DEVICES'] = visible;
  expect(placed({ device }, { localRank: 3 })).toEqual({ device: expected });
});

it("shares a machine's cores among its ranks, unless the recipe has a number", () => {
  const place = { rank: 1, size: 4, localRank: 1, localSize: 2 };
  expect(threadsOf({ threads: 3 }, place)).toBe(3);
  expect(threadsOf({ threads: 0 }, place)).toBe(
    Math.max(1, Math.floor(availableParallelism() / 2)),
  );
});
