/** A completion as text, in chunks and as a whole. */
import type { Completion, Generation, StreamedToken } from '../engine/generate.js';
import { Wakeup } from '../engine/wakeup.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { StoppingText } from './stopping-text.js';

/** A completion of one prompt. */
export interface TextCompletion {
  /** Without special tokens, and without the stop string and what follows it. */
  text: string;
  /** Token ids, at least one; the token that ended the completion is included. */
  tokens: Int32Array;
  /** log p of each token in nats: full vocabulary, temperature 1, before topK and topP. */
  logprobs: Float32Array;
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
  readonly seed: bigint;
  /**
   * The whole completion, once it has ended, whether or not its chunks are read. Rejects with the
   * error that stopped it; that is never an unhandled rejection.
   */
  readonly completion: Promise<TextCompletion>;
  #generation: Generation | undefined;
  #cancelled = false;
  readonly #news = new Wakeup();
  readonly #unread: string[] = [];
  #ended = false;

  /**
   * @internal `prompt` is a promise if the text is so long that it is tokenised in slices; `seed` is
   * then the one that `start` will use.
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
    const add = (text: string): void => {
      if (text === '') return;
      whole += text;
      this.#unread.push(text);
      this.#news.wake();
    };
    const begin = async (generation: Generation, promptTokens: number): Promise<TextCompletion> => {
      this.#generation = generation;
      if (this.#cancelled) generation.cancel();
      const [completion] = await generation.all();
      add(certain.end(decoder.end()));
      const { tokens, logprobs, finishReason } = completion as Completion;
      return { text: whole, tokens, logprobs, finishReason, promptTokens, seed: this.seed };
    };
    const started = (tokens: readonly number[]): Promise<TextCompletion> =>
      begin(
        start(tokens, (news) => {
          certain.push(decoder.push(news.map(({ token }) => token)));
          add(certain.take());
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

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
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
