/**
 * An encoder in a thread of its own (encoder-worker.ts), for texts whose splitting would hold the
 * event loop: long ones, and any under a pattern that may backtrack. The thread starts with the
 * first text, ends after a pause, and is ended where the only text that it works on is given up.
 */
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { TokenizerJson } from './tokenizer-json.js';

/** The parts of a tokenizer.json, in the order in which they are sent. */
export type TokenizerPart =
  { json: TokenizerJson } | { entries: [string, number][] } | { merges: [string, string][] };
export interface ThreadRequest {
  id: number;
  text: string;
  addSpecialTokens: boolean;
}
export type ThreadAnswer = { id: number; ids: Int32Array } | { id: number; error: string };

/** Entries of a vocabulary that are sent together, some milliseconds of work. */
const PART = 10_000;
/** A thread without work ends after this time; it takes as much memory as the tokenizer. */
const IDLE_MS = 30_000;
/** The built worker, also where this module runs from its source, as in tests. */
const WORKER = new URL('../../dist/text/encoder-worker.js', import.meta.url);

interface Waiting {
  resolve: (ids: Int32Array) => void;
  reject: (error: unknown) => void;
}

export class EncoderThread {
  #worker: Worker | undefined;
  #ready: Promise<void> = Promise.resolve();
  #last = 0;
  #idle: NodeJS.Timeout | undefined;
  readonly #waiting = new Map<number, Waiting>();

  constructor(private readonly json: TokenizerJson) {}

  /** `Encoder.encode` in the thread. Rejects with its error, or the reason of `signal`. */
  async encode(
    text: string,
    addSpecialTokens: boolean,
    signal: AbortSignal | undefined,
  ): Promise<Int32Array> {
    signal?.throwIfAborted();
    const id = ++this.#last;
    const worker = this.#running();
    let abort = (): void => {};
    try {
      return await new Promise<Int32Array>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        abort = () => reject(signal!.reason as Error);
        signal?.addEventListener('abort', abort);
        const request: ThreadRequest = { id, text, addSpecialTokens };
        this.#ready.then(() => worker.postMessage(request), reject);
      });
    } finally {
      signal?.removeEventListener('abort', abort);
      const unanswered = this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#rest(worker, unanswered);
    }
  }

  #running(): Worker {
    clearTimeout(this.#idle);
    const worker = (this.#worker ??= this.#start());
    worker.ref();
    return worker;
  }

  #start(): Worker {
    const worker = new Worker(WORKER);
    const fail = (error: Error): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      for (const { reject } of this.#waiting.values()) reject(error);
    };
    worker.on('message', (answer: ThreadAnswer) => {
      const waiting = this.#waiting.get(answer.id);
      if (!this.#waiting.delete(answer.id)) return;
      if ('ids' in answer) waiting!.resolve(answer.ids);
      else waiting!.reject(new Error(answer.error));
    });
    worker.on('error', (cause: NodeJS.ErrnoException) =>
      fail(
        cause.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? new Error('it takes more memory than there is', { cause })
          : cause,
      ),
    );
    worker.on('exit', () => fail(new Error('the thread that split it has ended')));
    this.#ready = this.#send(worker);
    this.#ready.catch(() => {}); // each text that waits for it rejects
    return worker;
  }

  /** Lets a thread without work wait, or ends it where it still works on a text given up. */
  #rest(worker: Worker, busy: boolean): void {
    if (this.#worker !== worker) return;
    worker.unref();
    const end = (): void => {
      this.#worker = undefined;
      void worker.terminate();
    };
    if (busy) end();
    else this.#idle = setTimeout(end, IDLE_MS).unref();
  }

  /** Sends the tokenizer in parts, because a message is copied at once. */
  async #send(worker: Worker): Promise<void> {
    const { vocab, merges, ...model } = this.json.model;
    const send = (part: TokenizerPart): void => worker.postMessage(part);
    const empty = {
      vocab: Array.isArray(vocab) ? [] : new Map<string, number>(),
      ...(merges && { merges: [] }),
    };
    send({ json: { ...this.json, model: { ...model, ...empty } } });
    for await (const entries of partsOf(vocab)) send({ entries });
    for await (const some of partsOf(merges ?? [])) send({ merges: some });
  }
}

async function* partsOf<T>(items: Iterable<T>): AsyncGenerator<T[]> {
  let part: T[] = [];
  for (const item of items) {
    if (part.push(item) < PART) continue;
    yield part;
    part = [];
    await setImmediate();
  }
  yield part;
}
