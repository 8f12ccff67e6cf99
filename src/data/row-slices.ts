/** Long loops over rows that let the event loop run in between, so that signals are handled. */
import { setImmediate } from 'node:timers/promises';

/** Rows between two turns of the event loop; one of a few kB takes some 50 µs. */
export const SLICE_ROWS = 500;

/** Yields `rows` one by one and lets the event loop run after every SLICE_ROWS. */
export async function* inSlices<Row>(rows: readonly Row[]): AsyncGenerator<Row> {
  for (const [i, row] of rows.entries()) {
    if (i % SLICE_ROWS === SLICE_ROWS - 1) await setImmediate();
    yield row;
  }
}
