/** A completion as text, in chunks and as a whole. */
import type { Completion, Generation, StreamedToken } from '../engine/generate.js';
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
  /** Token ids, at least one; the token that ended the completion is included. */
  tokens: Int32Array;
  /** log p of each token in nats: full vocabulary, temperature 1, before topK and topP. */
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
   * @internal `prompt` is a promise if the text is so long that it is tokenised in slices; `seed`
   * is then the one that `start` will use.
   */
  constructor(
    tokenizer: Tokenizer,
    prompt: readonly number[] | Promise<readonly number[]>,
    stops: readonly string[],
    start: (tokens: readonly number[], onTokens: (tokens: StreamedToken[]) => void) => Generation,
    seed?: bigint,
  ) {
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    const certain = new StoppingText(stops);
    let whole = '';
    let waiting: ChunkToken[] = []; // tokens whose text is not complete or may become a stop string
    const add = (text: string): void => {
      whole += text;
      this.#unread.push({ text, tokens: waiting });
      waiting = [];
      this.#news.wake();
    };
    const begin = async (generation: Generation, promptTokens: number): Promise<TextCompletion> => {
      this.#generation = generation;
      if (this.#cancelled) generation.cancel();
      const [completion] = (await generation.all()) as [Completion];
      const rest = certain.end(decoder.end());
      if (rest !== '' || waiting.length > 0) add(rest);
      const { tokens, logprobs, finishReason } = completion;
      const topLogprobs = topOf(completion);
      const { seed } = this;
      return { text: whole, tokens, logprobs, topLogprobs, finishReason, promptTokens, seed };
    };
    const started = (tokens: readonly number[]): Promise<TextCompletion> =>
      begin(
        start(tokens, (news) => {
          waiting.push(...news.map(chunkToken));
          certain.push(decoder.push(news.map(({ token }) => token)));
          const text = certain.take();
          if (text !== '') add(text);
        }),
        tokens.length,
      );
    this.completion = 'then' in prompt ? prompt.then(started) : started(prompt);
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
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for await (const { text } of this.chunks()) if (text !== '') yield text;
  }

  /**
   * The chunks with their tokens and log-probs, instead of the text alone: together the chunks hold
   * the text and all tokens of the completion.
   */
  async *chunks(): AsyncGenerator<TextChunk, void, undefined> {
    try {
      for (;;) {
        const chunk = this.#unread.shift();
        if (chunk !== undefined) yield chunk;
        else if (this.#ended) break;
        else await this.#news.wait();
      }
      await this.completion; // throws the error that stopped it
    } finally {
      if (!this.#ended) {
        this.cancel();
        await this.completion.catch(() => undefined);
      }
    }
  }
}

const pairs = (tokens: ArrayLike<number>, logprobs: ArrayLike<number>): TokenLogprob[] =>
  Array.from(tokens, (token, i) => ({ token, logprob: logprobs[i]! }));

const chunkToken = ({ token, logprob, topTokens, topLogprobs }: StreamedToken): ChunkToken => ({
  token,
  logprob,
  topLogprobs: pairs(topTokens, topLogprobs),
});

function topOf({ tokens, topTokens, topLogprobs }: Completion): TokenLogprob[][] {
  const count = topTokens.length / tokens.length;
  return Array.from(tokens, (_, i) =>
    pairs(
      topTokens.subarray(i * count, (i + 1) * count),
      topLogprobs.subarray(i * count, (i + 1) * count),
    ),
  );
}
