/**
 * What a stop must not cut off: a file that is being written, and steps of training that are not
 * saved yet. Everything else can be made again from what is on disk.
 */
let held = 0;

/** Runs `work`, which a stopped command waits for. */
export async function whileHeld<T>(work: () => Promise<T>): Promise<T> {
  held++;
  try {
    return await work();
  } finally {
    held--;
  }
}

/** A hold that begins with the first call of `begin`, and ends with `end`. */
export class Hold {
  #held = false;

  begin(): void {
    if (!this.#held) held++;
    this.#held = true;
  }

  end(): void {
    if (this.#held) held--;
    this.#held = false;
  }
}

/** Whether some work of this process must not be cut off now. */
export const isHeld = (): boolean => held > 0;
