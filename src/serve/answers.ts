/** Response bodies, whole ones and chunks of a stream. */
import { randomUUID } from 'node:crypto';
import type { ChunkToken, TextCompletion } from '../lm/text-stream.js';
import { finishReason, type Work } from './completions.js';
import type { Describe } from './logprobs.js';

/** The differences between the two endpoints. */
export interface Form {
  /** `chat.completion` or `text_completion`. */
  object: string;
  idPrefix: string;
  /** The `object` of a stream's chunks. */
  partObject: string;
  whole: (text: string) => object;
  part: (text: string) => object;
  /** The chunk before and after the text, if it differs from an empty part. */
  first?: object;
  last: object;
}

export const CHAT: Form = {
  object: 'chat.completion',
  partObject: 'chat.completion.chunk',
  idPrefix: 'chatcmpl-',
  whole: (content) => ({ message: { role: 'assistant', content, refusal: null } }),
  part: (content) => ({ delta: { content } }),
  first: { delta: { role: 'assistant', content: '', refusal: null } },
  last: { delta: {} },
};

export const TEXT: Form = {
  object: 'text_completion',
  partObject: 'text_completion',
  idPrefix: 'cmpl-',
  whole: (text) => ({ text }),
  part: (text) => ({ text }),
  last: { text: '' },
};

interface Asked {
  model: string;
  work: Work;
  form: Form;
  /** Makes the description of one completion's log-probs; undefined if none are asked for. */
  logprobs: (() => Describe) | undefined;
}

/** The body of an answer that is not streamed, after all its completions have ended. */
export async function wholeAnswer({ model, work, form, logprobs }: Asked): Promise<object> {
  const completions = await Promise.all(work.streams.map((stream) => stream.completion));
  return {
    id: form.idPrefix + randomUUID(),
    object: form.object,
    created: Math.floor(Date.now() / 1000),
    model,
    choices: completions.map((completion, index) => ({
      index,
      ...form.whole(completion.text),
      logprobs: logprobs ? logprobs()(tokensOf(completion)) : null,
      finish_reason: finishReason(completion),
    })),
    usage: usageOf(work, completions),
  };
}

/**
 * Sends the chunks of a stream as they are generated, each with the log-probs of its tokens.
 * @throws the error that stopped a completion
 */
export async function streamAnswer(
  { model, work, form, logprobs }: Asked,
  withUsage: boolean,
  send: (part: object) => Promise<void>,
): Promise<void> {
  const head = {
    id: form.idPrefix + randomUUID(),
    object: form.partObject,
    created: Math.floor(Date.now() / 1000),
    model,
  };
  const part = (index: number, body: object, told: object | null, finish: string | null) =>
    send({
      ...head,
      choices: [{ index, ...body, logprobs: told, finish_reason: finish }],
      ...(withUsage && { usage: null }),
    });
  const completions = await Promise.all(
    work.streams.map(async (stream, index) => {
      const describe = logprobs?.();
      if (form.first) await part(index, form.first, null, null);
      for await (const { text, tokens } of stream.chunks())
        if (text !== '' || describe)
          await part(index, form.part(text), describe?.(tokens) ?? null, null);
      const completion = await stream.completion;
      await part(index, form.last, null, finishReason(completion));
      return completion;
    }),
  );
  if (withUsage) await send({ ...head, choices: [], usage: usageOf(work, completions) });
}

const tokensOf = ({ tokens, logprobs, topLogprobs }: TextCompletion): ChunkToken[] =>
  Array.from(tokens, (token, i) => ({
    token,
    logprob: logprobs[i]!,
    topLogprobs: topLogprobs[i]!,
  }));

function usageOf({ promptTokens }: Work, completions: readonly TextCompletion[]) {
  const made = completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return {
    prompt_tokens: promptTokens,
    completion_tokens: made,
    total_tokens: promptTokens + made,
  };
}
