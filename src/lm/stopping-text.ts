/**
 * Streamed text that ends before a stop string. A suffix that could still become a stop string is
 * held back, and no chunk ends within a surrogate pair.
 */
export class StoppingText {
  readonly #stops: readonly string[];
  readonly #held: number;
  #buffer = '';
  #stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
    this.#held = Math.max(0, ...stops.map((stop) => stop.length - 1));
  }

  /** Whether a stop string was found; what is pushed then is ignored. */
  get stopped(): boolean {
    return this.#stopped;
  }

  push(text: string): void {
    if (this.#stopped) return;
    this.#buffer += text;
    const found = this.#stops.map((stop) => this.#buffer.indexOf(stop)).filter((at) => at >= 0);
    if (found.length === 0) return;
    this.#buffer = this.#buffer.slice(0, Math.min(...found));
    this.#stopped = true;
  }

  /** The text that can no longer become a stop string; it may be empty. */
  take(): string {
    let certain = this.#stopped
      ? this.#buffer.length
      : Math.max(0, this.#buffer.length - this.#held);
    if (!this.#stopped && /[\ud800-\udbff]/.test(this.#buffer[certain - 1] ?? '')) certain--;
    const text = this.#buffer.slice(0, certain);
    this.#buffer = this.#buffer.slice(certain);
    return text;
  }

  /** The rest, after the last chunk. */
  end(text: string): string {
    this.push(text);
    const rest = this.#buffer;
    this.#buffer = '';
    return rest;
  }
}
