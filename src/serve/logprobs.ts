/** Tokens and log-probs of a completion, as OpenAI's two endpoints describe them. */
import type { LanguageModel } from '../lm/language-model.js';
import type { ChunkToken, TokenLogprob } from '../lm/text-stream.js';

/** OpenAI's number for a token that cannot be drawn; JSON has no infinity. */
const IMPOSSIBLE = -9999;

/** Describes the tokens of one completion, chunk by chunk. */
export type Describe = (tokens: readonly ChunkToken[]) => object;

interface Told {
  token: string;
  logprob: number;
  bytes: number[];
}

/** `logprobs` of chat/completions. */
export function chatLogprobs(lm: LanguageModel): Describe {
  const tell = teller(lm);
  return (tokens) => ({
    content: shown(lm, tokens).map((token) => ({
      ...tell(token),
      top_logprobs: token.topLogprobs.map(tell),
    })),
    refusal: null,
  });
}

/**
 * `logprobs` of completions. `text_offset` counts the characters that the tokens before have
 * completed; `top_logprobs` is null unless alternatives were asked for.
 */
export function textLogprobs(lm: LanguageModel, top: boolean): Describe {
  const tell = teller(lm);
  const decoder = new TextDecoder();
  let offset = 0;
  return (tokens) => {
    const own = shown(lm, tokens).map((token) => ({ ...tell(token), top: token.topLogprobs }));
    return {
      tokens: own.map(({ token }) => token),
      token_logprobs: own.map(({ logprob }) => logprob),
      top_logprobs: top
        ? own.map(({ top: all, token, logprob }) => ({
            ...Object.fromEntries(
              // The likeliest of several tokens with the same text is kept.
              all
                .map(tell)
                .reverse()
                .map((one) => [one.token, one.logprob]),
            ),
            [token]: logprob,
          }))
        : null,
      text_offset: own.map(({ bytes }) => {
        const at = offset;
        offset += decoder.decode(Uint8Array.from(bytes), { stream: true }).length;
        return at;
      }),
    };
  };
}

/** Without the token that ended the turn, which is no part of the text. */
const shown = (lm: LanguageModel, tokens: readonly ChunkToken[]): ChunkToken[] =>
  tokens.filter(({ token }) => !lm.stopIds.includes(token));

function teller(lm: LanguageModel): (token: TokenLogprob) => Told {
  const { bytes, offsets } = lm.tokenizer.tokenBytes();
  const decoder = new TextDecoder('utf-8', { fatal: true });
  return ({ token, logprob }) => {
    const own = [...bytes.subarray(offsets[token], offsets[token + 1])];
    return { token: written(own), logprob: Math.max(logprob, IMPOSSIBLE), bytes: own };
  };
  /** A token that is no whole character is written as its bytes. */
  function written(own: number[]): string {
    try {
      return decoder.decode(Uint8Array.from(own));
    } catch {
      return `bytes:${own.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
    }
  }
}
