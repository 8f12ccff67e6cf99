/**
 * The order of a model's calls where one of them prepares itself first: a long text becomes token
 * ids, a folder gets the tokenizer's files. Such a call only reads the model and keeps its place.
 * Calls that change the model wait until those made before them are in the native queue, and later
 * calls wait for these. Calls that only read need not wait for each other.
 */
interface Place {
  changes: boolean;
  /** Undefined while the call prepares itself. */
  start: (() => void) | undefined;
}

/** Runs `start` in its turn, mostly at once. The returned function gives up a turn to come. */
export type Turn = (start: () => void) => () => void;

/** The turn of work that belongs to no model. */
export const atOnce: Turn = (start) => {
  start();
  return () => {};
};

/** The calls of one model that are not in its native queue yet, in the order they were made. */
export class CallOrder {
  #places: Place[] = [];
  /** Whether a prepared call is being made, whose place has come. */
  #inPlace = false;

  /** The turn of a call that leaves the model as it is. */
  readonly reading: Turn = (start) => this.#enter({ changes: false, start });
  /** The turn of a call that changes the model, its adapter or its trainer, or frees it. */
  readonly changing: Turn = (start) => this.#enter({ changes: true, start });

  /** Whether a call that changes the model waits for its turn. */
  get changeWaits(): boolean {
    return this.#places.some(({ changes }) => changes);
  }

  /**
   * Prepares a call that only reads, then makes it with the result. `call` must ask for its turn
   * before it awaits anything; it takes the place of this call.
   */
  prepared<A, T>(prepare: () => Promise<A>, call: (prepared: A) => Promise<T>): Promise<T> {
    const place: Place = { changes: false, start: undefined };
    this.#places.push(place);
    return new Promise((resolve, reject) => {
      const make = (result: A): void => {
        place.start = () => {
          this.#inPlace = true;
          resolve((async () => call(result))());
          this.#inPlace = false;
        };
        this.#advance();
      };
      prepare().then(make, (error: Error) => {
        this.#leave(place);
        reject(error);
      });
    });
  }

  #enter(place: Place): () => void {
    if (this.#inPlace) return atOnce(place.start!);
    this.#places.push(place);
    this.#advance();
    return () => this.#leave(place);
  }

  #leave(place: Place): void {
    this.#places = this.#places.filter((one) => one !== place);
    this.#advance();
  }

  #advance(): void {
    const waiting: Place[] = [];
    for (const place of this.#places) {
      const overtakes = waiting.some(({ changes }) => changes || place.changes);
      if (overtakes || place.start === undefined) waiting.push(place);
      else place.start();
    }
    this.#places = waiting;
  }
}
