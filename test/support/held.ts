/** Counts the work between two turns of the event loop, so that a busy machine changes nothing. */

/** The largest sum of `count` calls between two turns of the event loop, and the sum of all. */
export async function held(
  work: (count: (units: number) => void) => Promise<unknown>,
): Promise<{ longest: number; total: number }> {
  let [now, longest, total, running] = [0, 0, 0, true];
  const turn = (): void => {
    now = 0;
    if (running) setImmediate(turn);
  };
  turn();
  await work((units) => {
    now += units;
    total += units;
    longest = Math.max(longest, now);
  });
  running = false;
  return { longest, total };
}
