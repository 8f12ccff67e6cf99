/** Sampling: checks a request and streams its completions. */
import type {
  NativeCompletion,
  NativeGenerationRequest,
  NativeGenerationStats,
  NativeProgress,
  NativeStreamedToken,
} from './addon.js';
import { integer, invalid } from './arguments.js';
import { checkFields, type FieldsOf } from './fields.js';
import { leavable } from './leavable.js';
import { GENERATION_FIELDS } from './requests.js';
import type { Job } from './signal.js';
import { Wakeup } from './wakeup.js';

export type { GenerationPrompt } from './requests.js';

/**
 * Prompts and sampling settings. A completion depends on the settings, its prompt, and (seed,
 * iteration, prompt key, sample number), never on other prompts of the request or on requests that
 * are decoded at the same time.
 */
export type GenerateRequest = FieldsOf<typeof GENERATION_FIELDS>;

/** A finished completion: token ids, log-probs and the reason it ended. */
export type Completion = NativeCompletion;
/** Token counts, decode steps and seconds of a generation. */
export type GenerationStats = NativeGenerationStats;
/** A token of a completion in progress. */
export type StreamedToken = NativeStreamedToken;

/** Progress of a job, whose units are completions or scored sequences. */
export interface Progress {
  /** Finished units. */
  done: number;
  /** All units. */
  total: number;
  /** Tokens computed so far. */
  tokens: number;
}

/**
 * Completions in the order in which they finish. Leaving a `for await` loop early stops the
 * generation. All completions are kept until the Generation is garbage-collected, so it can be
 * iterated again, and all() works after a loop.
 */
export interface Generation extends AsyncIterable<Completion> {
  /** The request's seed, or the random one that was drawn for it. */
  readonly seed: bigint;
  /**
   * Token counts and seconds, once everything is generated. Rejects with the error that stopped the
   * generation; this is never an unhandled rejection.
   */
  readonly stats: Promise<GenerationStats>;
  /** All completions, sorted by promptIndex, then sample. Rejects like `stats`. */
  all(): Promise<Completion[]>;
  /**
   * Stops the generation after the decode step in progress; `stats` then rejects with ERR_ABORTED.
   * Does nothing once the generation has ended.
   */
  cancel(): void;
}

/** The native form of a progress callback. */
export const reporter =
  (onProgress: (progress: Progress) => unknown): NativeProgress =>
  (done, total, tokens) =>
    onProgress({ done, total, tokens });

/** Checks the request and fills in the defaults. Throws CreamError. */
export function checkGenerateRequest(
  request: GenerateRequest,
  model: { vocabSize: number; eosTokenIds: readonly number[] },
): NativeGenerationRequest {
  const checked = checkFields(GENERATION_FIELDS, request, {
    what: '[generate] the request',
    place: (name) => `[generate] ${name}`,
    context: model,
  });
  integer(checked.minNewTokens, '[generate] minNewTokens', 0, checked.maxNewTokens);
  if (checked.stopStrings.length === 0) return { ...checked, tokenBytes: undefined };
  if (!checked.tokenBytes)
    throw invalid("[generate] stopStrings need tokenBytes: pass the tokenizer's tokenBytes().");
  return checked;
}

/** A queue that a job pushes to and that any number of loops read from. */
export class CompletionStream implements Generation {
  readonly seed: bigint;
  readonly stats: Promise<GenerationStats>;
  readonly #job: Job<GenerationStats>;
  readonly #completions: Completion[] = [];
  #ended = false;
  readonly #news = new Wakeup();

  constructor(
    seed: bigint,
    start: (onCompletion: (completion: Completion) => void) => Job<GenerationStats>,
  ) {
    this.seed = seed;
    this.#job = start((completion) => {
      this.#completions.push(completion);
      this.#news.wake();
    });
    const end = (): void => {
      this.#ended = true;
      this.#news.wake();
    };
    this.stats = this.#job.promise;
    // Marks a failure as handled; whoever iterates or awaits still gets it.
    this.stats.then(end, end);
  }

  async all(): Promise<Completion[]> {
    await this.stats;
    return [...this.#completions].sort(
      (a, b) => a.promptIndex - b.promptIndex || a.sample - b.sample,
    );
  }

  cancel(): void {
    this.#job.cancel();
  }

  [Symbol.asyncIterator](): AsyncGenerator<Completion, void, undefined> {
    return leavable(this.#read(), () => this.#leave());
  }

  async *#read(): AsyncGenerator<Completion, void, undefined> {
    for (let next = 0; ;) {
      while (next < this.#completions.length) yield this.#completions[next++]!;
      if (this.#ended) break;
      await this.#news.wait();
    }
    await this.stats; // throws the error that stopped it
  }

  async #leave(): Promise<void> {
    if (this.#ended) return;
    this.cancel();
    await this.stats.catch(() => undefined);
  }
}
