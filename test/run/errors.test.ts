/** Work that is abandoned. */
import { expect, it } from '@jest/globals';
import { untilAborted } from '../../src/run/errors.js';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

it('work fails after the signal was aborted, before the call or during it, unheard', async () => {
  const reason = new Error('stop');
  let fail = (_: Error): void => {};
  const work = () => new Promise<never>((_, reject) => (fail = reject));

  await expect(untilAborted(work(), AbortSignal.abort(reason))).rejects.toBe(reason);
  fail(new Error('late')); // an unhandled rejection would end this process
  await nextTurn();

  const controller = new AbortController();
  const abandoned = untilAborted(work(), controller.signal);
  controller.abort(reason);
  await expect(abandoned).rejects.toBe(reason);
  fail(new Error('late'));
  await nextTurn();
});
