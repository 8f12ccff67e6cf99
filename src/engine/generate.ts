/** Sampling: the request's checks and defaults, and the stream of completions. */
import type {
  NativeCompletion,
  NativeGenerationRequest,
  NativeGenerationStats,
  NativeStreamedToken,
} from './addon.js';
import {
  finiteNumber,
  integer,
  invalid,
  knownKeys,
  list,
  nonEmptyString,
  orAuto,
  positiveInteger,
  tokenIds,
  unsigned64,
  type TokenIds,
} from './arguments.js';
import type { Job } from './signal.js';

export interface GenerationPrompt {
  tokens: TokenIds;
  /**
   * Names the prompt to the random numbers, e.g. a hash of its id; default: its position in the
   * request.
   */
  key?: bigint;
  /** Default 1. */
  samples?: number;
  /** Number of the first sample; default 0. */
  firstSample?: number;
}

/**
 * A sample depends on (seed, iteration, prompt key, sample number) and its own tokens; never on
 * what else is in the request.
 */
export interface GenerateRequest {
  prompts: readonly GenerationPrompt[];
  /** Default 1; 0 takes the likeliest token. */
  temperature?: number;
  /** Keep the smallest set of tokens whose probability reaches this; default 1: all. */
  topP?: number;
  /** Keep the likeliest k tokens; default 0: all. */
  topK?: number;
  /** Stop ids are not drawn before; default 0. */
  minNewTokens?: number;
  /** Default 128. */
  maxNewTokens?: number;
  /**
   * A drawn stop id ends the completion and is its last token; default: the model's end-of-sequence
   * ids.
   */
  stopIds?: readonly number[];
  /** The completion ends with the token that completes one of these; needs tokenBytes. */
  stopStrings?: readonly string[];
  /** Bytes of every token, from the tokenizer's tokenBytes(). */
  tokenBytes?: { bytes: Uint8Array; offsets: Uint32Array };
  /** Default 0. */
  seed?: bigint | number;
  /** Default 0. */
  iteration?: number;
  /**
   * Sequences decoded together, on a GPU fewer where its memory is short; default `auto`: what the
   * memory allows, 256 at most, 64 on the CPU. Changes speed and memory only, on a GPU within
   * rounding.
   */
  maxNumSeqs?: number | 'auto';
}

export type Completion = NativeCompletion;
export type GenerationStats = NativeGenerationStats;
export type StreamedToken = NativeStreamedToken;

/** Units of the job: completions, scored sequences. `tokens` counts what was computed so far. */
export interface Progress {
  done: number;
  total: number;
  tokens: number;
}

/**
 * Completions in the order they finish. Leaving a `for await` loop early stops the generation. What
 * was generated is kept until the Generation is collected, so it can be iterated again, and all()
 * works after a loop.
 */
export interface Generation extends AsyncIterable<Completion> {
  /** Settles when all is generated; rejects with what went wrong. Nobody needs to listen. */
  readonly stats: Promise<GenerationStats>;
  /** All completions by promptIndex, then sample. */
  all(): Promise<Completion[]>;
  /**
   * Stops the generation after the step in progress; stats then rejects with ERR_ABORTED. Nothing
   * happens once it has ended.
   */
  cancel(): void;
}

const REQUEST_KEYS = [
  'prompts',
  'temperature',
  'topP',
  'topK',
  'minNewTokens',
  'maxNewTokens',
  'stopIds',
  'stopStrings',
  'tokenBytes',
  'seed',
  'iteration',
  'maxNumSeqs',
];
const PROMPT_KEYS = ['tokens', 'key', 'samples', 'firstSample'];
const UINT32_MAX = 2 ** 32 - 1;

/** Checks the request and fills in the defaults. Throws CreamError. */
export function checkGenerateRequest(
  request: GenerateRequest,
  model: { vocabSize: number; eosTokenIds: readonly number[] },
): NativeGenerationRequest {
  knownKeys(request, REQUEST_KEYS, '[generate] the request');
  const maxNewTokens = positiveInteger(
    request.maxNewTokens ?? 128,
    '[generate] maxNewTokens',
    UINT32_MAX,
  );
  const stopIds = list(request.stopIds ?? model.eosTokenIds, '[generate] stopIds');
  const stopStrings = list(request.stopStrings ?? [], '[generate] stopStrings').map((text, i) =>
    nonEmptyString(text, `[generate] stop string ${i}`),
  );
  if (stopStrings.length > 0 && !request.tokenBytes)
    throw invalid("[generate] stopStrings need tokenBytes: pass the tokenizer's tokenBytes().");
  return {
    prompts: list(request.prompts, '[generate] prompts').map((prompt, i) =>
      checkPrompt(prompt, i, model.vocabSize),
    ),
    temperature: finiteNumber(request.temperature ?? 1, '[generate] temperature', { min: 0 }),
    topP: finiteNumber(request.topP ?? 1, '[generate] topP', { min: 0, aboveMin: true, max: 1 }),
    topK: integer(request.topK ?? 0, '[generate] topK', 0, UINT32_MAX),
    minNewTokens: integer(request.minNewTokens ?? 0, '[generate] minNewTokens', 0, maxNewTokens),
    maxNewTokens,
    stopIds:
      stopIds.length === 0
        ? new Int32Array()
        : tokenIds(stopIds, model.vocabSize, '[generate] stopIds'),
    stopStrings,
    tokenBytes: stopStrings.length === 0 ? undefined : checkTokenBytes(request.tokenBytes!),
    seed: unsigned64(request.seed ?? 0n, '[generate] seed'),
    iteration: integer(request.iteration ?? 0, '[generate] iteration', 0, UINT32_MAX),
    maxNumSeqs: orAuto(request.maxNumSeqs, (rows) =>
      positiveInteger(rows, '[generate] maxNumSeqs', 65_536),
    ),
  };
}

function checkPrompt(
  prompt: GenerationPrompt,
  index: number,
  vocabSize: number,
): NativeGenerationRequest['prompts'][number] {
  const where = `[generate] prompt ${index}`;
  knownKeys(prompt, PROMPT_KEYS, where);
  const samples = positiveInteger(prompt.samples ?? 1, `${where}: samples`, UINT32_MAX);
  return {
    tokens: tokenIds(prompt.tokens, vocabSize, where),
    key: unsigned64(prompt.key ?? BigInt(index), `${where}: key`),
    samples,
    firstSample: integer(
      prompt.firstSample ?? 0,
      `${where}: firstSample`,
      0,
      UINT32_MAX - samples + 1,
    ),
  };
}

function checkTokenBytes({ bytes, offsets }: { bytes: Uint8Array; offsets: Uint32Array }): {
  bytes: Uint8Array;
  offsets: Uint32Array;
} {
  const tag = (value: unknown): string => Object.prototype.toString.call(value);
  if (tag(bytes) !== '[object Uint8Array]' || tag(offsets) !== '[object Uint32Array]') {
    throw invalid(
      '[generate] tokenBytes must hold bytes, a Uint8Array, and offsets, a Uint32Array, as ' +
        'the tokenizer makes them.',
    );
  }
  return { bytes, offsets };
}

/** Queue between a job that pushes and loops that pull. */
export class CompletionStream implements Generation {
  readonly stats: Promise<GenerationStats>;
  readonly #job: Job<GenerationStats>;
  readonly #completions: Completion[] = [];
  #ended = false;
  #waiting: (() => void)[] = [];

  constructor(start: (onCompletion: (completion: Completion) => void) => Job<GenerationStats>) {
    this.#job = start((completion) => {
      this.#completions.push(completion);
      this.#wake();
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    this.stats = this.#job.promise;
    // Also marks a failure as seen: it reaches whoever iterates or awaits, and is no unhandled
    // rejection where nobody does.
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

  async *[Symbol.asyncIterator](): AsyncGenerator<Completion, void, undefined> {
    let next = 0;
    try {
      for (;;) {
        while (next < this.#completions.length) yield this.#completions[next++]!;
        if (this.#ended) break;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
      await this.stats; // throws what stopped it
    } finally {
      if (!this.#ended) {
        this.cancel();
        await this.stats.catch(() => undefined);
      }
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
