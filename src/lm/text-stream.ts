/** A completion as text, in chunks and as a whole. */
import type { Generation, StreamedToken } from '../engine/generate.js';
import { leavable } from '../engine/leavable.js';
import { Wakeup } from '../engine/wakeup.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { StoppingText } from './stopping-text.js';

/** A token id and its log-prob in nats: full vocabulary, temperature 1, before topK and topP. */
export interface TokenLogprob {
  /** Token id. */
  token: number;
  /** In nats. */
  logprob: number;
}

/** A token of a completion. */
export interface ChunkToken extends TokenLogprob {
  /** The most likely tokens in its place, the likeliest first; empty without `topLogprobs`. */
  topLogprobs: TokenLogprob[];
}

/** A part of a completion's text, with the tokens that it was made of. */
export interface TextChunk {
  /** May be empty in the last chunk, which then holds the token that ended the completion. */
  text: string;
  /** Tokens that this text was made of. */
  tokens: ChunkToken[];
}

/** A completion of one prompt. */
export interface TextCompletion {
  /** Without special tokens, and without the stop string and what follows it. */
  text: string;
  /**
   * Token ids, at least one; the last one is the token that ended the completion. With `stop` it is
   * the first one with which a stop string is whole, wherever the engine was by then.
   */
  tokens: Int32Array;
  /** log p of each of `tokens` in nats: full vocabulary, temperature 1, before topK and topP. */
  logprobs: Float32Array;
  /**
   * For each token the most likely ones in its place, the likeliest first; an empty list unless
   * `topLogprobs` was given.
   */
  topLogprobs: TokenLogprob[][];
  /** An end-of-turn token, one of the `stop` strings, or maxNewTokens or the end of the context. */
  finishReason: 'eos' | 'stop' | 'length';
  /** Tokens of the prompt, the chat template's included. */
  promptTokens: number;
  /** The seed that was given or drawn; the same seed, prompt and settings give the same tokens. */
  seed: bigint;
}

/** Passes on what is prepared once it is there, to a call whose result it returns. */
type Prepared<A> = <T>(call: (prepared: A) => Promise<T>) => Promise<T>;

/**
 * A completion that is being generated, in chunks of text. Chunks wait for their reader; each is
 * read once. Leaving a `for await` loop early stops the generation.
 */
export class TextStream implements AsyncIterable<string> {
  /** The seed that was given or drawn. */
  readonly seed: bigint;
  /**
   * The whole completion, once it has ended, whether or not its chunks are read. Rejects with the
   * error that stopped it; that is never an unhandled rejection.
   */
  readonly completion: Promise<TextCompletion>;
  #generation: Generation | undefined;
  #cancelled = false;
  readonly #news = new Wakeup();
  readonly #unread: TextChunk[] = [];
  #ended = false;

  /**
   * @internal `prompt` is a function if the text is so long that it is tokenised in slices: it
   * passes the ids on when they are there. `seed` is then the one that `start` will use.
   */
  constructor(
    tokenizer: Tokenizer,
    prompt: readonly number[] | Prepared<readonly number[]>,
    stops: readonly string[],
    start: (tokens: readonly number[], onTokens: (tokens: StreamedToken[]) => void) => Generation,
    seed?: bigint,
  ) {
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    const certain = new StoppingText(stops);
    const all: ChunkToken[] = [];
    let whole = '';
    let waiting: ChunkToken[] = []; // tokens whose text is not complete or may become a stop string
    const add = (text: string): void => {
      whole += text;
      this.#unread.push({ text, tokens: waiting });
      waiting = [];
      this.#news.wake();
    };
    const onTokens = (news: readonly StreamedToken[]): void => {
      for (const token of news.map(chunkToken)) {
        // The engine sees the bytes of tokens only, and may not know yet that the text has ended.
        if (certain.stopped) break;
        all.push(token);
        waiting.push(token);
        certain.push(decoder.push([token.token]));
      }
      if (certain.stopped) this.#generation?.cancel();
      const text = certain.take();
      if (text !== '') add(text);
    };
    const finish = async (generation: Generation, promptTokens: number) => {
      this.#generation = generation;
      if (this.#cancelled) generation.cancel();
      const completions = await generation.all().catch((error: unknown) => {
        if (certain.stopped && (error as { code?: unknown }).code === 'ERR_ABORTED') return [];
        throw error;
      });
      const rest = certain.end(decoder.end());
      if (rest !== '' || waiting.length > 0) add(rest);
      return {
        text: whole,
        tokens: Int32Array.from(all, ({ token }) => token),
        logprobs: Float32Array.from(all, ({ logprob }) => logprob),
        topLogprobs: all.map(({ topLogprobs }) => topLogprobs),
        finishReason: certain.stopped ? 'stop' : completions[0]!.finishReason,
        promptTokens,
        seed: this.seed,
      } satisfies TextCompletion;
    };
    const started = (tokens: readonly number[]): Promise<TextCompletion> =>
      finish(start(tokens, onTokens), tokens.length);
    this.completion = typeof prompt === 'function' ? prompt(started) : started(prompt);
    this.seed = seed ?? this.#generation!.seed;
    const end = (): void => {
      this.#ended = true;
      this.#news.wake();
    };
    // Marks a failure as handled; whoever iterates or awaits still gets it.
    this.completion.then(end, end);
  }

  /** Stops the generation; `completion` then rejects with ERR_ABORTED, as does a loop. */
  cancel(): void {
    this.#cancelled = true;
    this.#generation?.cancel();
  }

  /** The text in chunks, none of them empty. */
  [Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    return leavable(this.#texts(), () => this.#leave());
  }

  /**
   * The chunks with their tokens and log-probs, instead of the text alone: together the chunks hold
   * the text and all tokens of the completion.
   */
  chunks(): AsyncGenerator<TextChunk, void, undefined> {
    return leavable(this.#chunks(), () => this.#leave());
  }

  async *#texts(): AsyncGenerator<string, void, undefined> {
    for await (const { text } of this.#chunks()) if (text !== '') yield text;
  }

  async *#chunks(): AsyncGenerator<TextChunk, void, undefined> {
    for (;;) {
      const chunk = this.#unread.shift();
      if (chunk !== undefined) yield chunk;
      else if (this.#ended) break;
      else await this.#news.wait();
    }
    await this.completion; // throws the error that stopped it
  }

  async #leave(): Promise<void> {
    if (this.#ended) return;
    this.cancel();
    await this.completion.catch(() => undefined);
  }
}

const chunkToken = ({ token, logprob, topTokens, topLogprobs }: StreamedToken): ChunkToken => ({
  token,
  logprob,
  topLogprobs: topTokens.map((top, i) => ({ token: top, logprob: topLogprobs[i]! })),
});
