/** Callbacks that are async although they are declared to return nothing. */
import { describe, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readRows } from '../../src/data/rows.js';
import { withCallback } from '../../src/files/callback.js';
import { temporaryFolder } from '../support/folders.js';

const mine = new Error('mine');
const rejecting = (() => Promise.reject(mine)) as () => void;
const throwing = (): void => {
  throw mine;
};

describe('the callback of a work', () => {
  it.each([
    ['throws', throwing],
    ['rejects', rejecting],
  ])('stops it and is its error if it %s', async (_, callback) => {
    let calls = 0;
    const working = withCallback(callback, undefined, async (call, signal) => {
      for (; ; calls++) {
        call!();
        await setImmediate();
        signal!.throwIfAborted();
      }
    });
    await expect(working).rejects.toBe(mine);
    expect(calls).toBe(0);
    const deaf = withCallback(callback, undefined, async (call) => {
      call!();
      await setImmediate();
      return 'done';
    });
    await expect(deaf).rejects.toBe(mine);
  });

  it('does not hide the signal', async () => {
    const stop = new AbortController();
    const working = withCallback(
      () => stop.abort(mine),
      stop.signal,
      async (call, signal) => {
        call!();
        signal!.throwIfAborted();
      },
    );
    await expect(working).rejects.toBe(mine);
  });
});

describe('onBadRow of readRows()', () => {
  it.each([
    ['throws', throwing],
    ['rejects', rejecting],
  ])('ends the reading if it %s', async (_, onBadRow) => {
    const path = join(temporaryFolder(), 'rows.jsonl');
    writeFileSync(path, '{"a": 1}\n{"a":\n{"a": 3}\n');
    await expect(readRows(path, { onBadRow })).rejects.toBe(mine);
  });
});
