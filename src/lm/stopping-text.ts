/**
 * Streamed text that ends before a stop string. Text that could be the beginning of a stop string
 * is held back.
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

  push(text: string): void {
    if (this.#stopped) return;
    this.#buffer += text;
    const found = this.#stops.map((stop) => this.#buffer.indexOf(stop)).filter((at) => at >= 0);
    if (found.length === 0) return;
    this.#buffer = this.#buffer.slice(0, Math.min(...found));
    this.#stopped = true;
  }

  /** Returns and removes the text that can no longer be part of a stop string; may be empty. */
  take(): string {
    const certain = this.#stopped
      ? this.#buffer.length
      : Math.max(0, this.#buffer.length - this.#held);
    const text = this.#buffer.slice(0, certain);
    this.#buffer = this.#buffer.slice(certain);
    return text;
  }

  /** Adds the last chunk and returns all remaining text. */
  end(text: string): string {
    this.push(text);
    const rest = this.#buffer;
    this.#buffer = '';
    return rest;
  }
}
