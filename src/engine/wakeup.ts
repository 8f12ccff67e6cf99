/** Lets any number of readers wait until a writer has new data. */
export class Wakeup {
  #waiting: (() => void)[] = [];

  /** Resolves at the next call of wake(). */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
