/** Response bodies, whole ones and chunks of a stream. */
import { randomUUID } from 'node:crypto';
import type { LanguageModel } from '../lm/language-model.js';
import type { TextCompletion } from '../lm/text-stream.js';
import { finishReason, tokenLogprobs, type Work } from './completions.js';

/** The differences between the two endpoints. */
export interface Form {
  /** `chat.completion` or `text_completion`. */
  object: string;
  idPrefix: string;
  /** The `object` of a stream's chunks. */
  partObject: string;
  whole: (lm: LanguageModel, completion: TextCompletion, logprobs: boolean) => object;
  part: (text: string, first: boolean) => object;
  logprobs: (lm: LanguageModel, completion: TextCompletion) => object;
}

const chatLogprobs: Form['logprobs'] = (lm, completion) => ({
  content: tokenLogprobs(lm, completion),
  refusal: null,
});

export const CHAT: Form = {
  object: 'chat.completion',
  partObject: 'chat.completion.chunk',
  idPrefix: 'chatcmpl-',
  logprobs: chatLogprobs,
  whole: (lm, completion, logprobs) => ({
    message: { role: 'assistant', content: completion.text, refusal: null },
    logprobs: logprobs ? chatLogprobs(lm, completion) : null,
  }),
  part: (text, first) => ({ delta: { ...(first && { role: 'assistant' }), content: text } }),
};

const textLogprobs: Form['logprobs'] = (lm, completion) => {
  const tokens = tokenLogprobs(lm, completion);
  let offset = 0;
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: null,
    text_offset: tokens.map(({ token }) => (offset += token.length) - token.length),
  };
};

export const TEXT: Form = {
  object: 'text_completion',
  partObject: 'text_completion',
  idPrefix: 'cmpl-',
  logprobs: textLogprobs,
  whole: (lm, completion, logprobs) => ({
    text: completion.text,
    logprobs: logprobs ? textLogprobs(lm, completion) : null,
  }),
  part: (text) => ({ text }),
};

interface Asked {
  lm: LanguageModel;
  model: string;
  work: Work;
  form: Form;
  logprobs: boolean;
}

export async function wholeAnswer({ lm, model, work, form, logprobs }: Asked): Promise<object> {
  const completions = await Promise.all(work.streams.map((stream) => stream.completion));
  return {
    id: form.idPrefix + randomUUID(),
    object: form.object,
    created: Math.floor(Date.now() / 1000),
    model,
    choices: completions.map((completion, index) => ({
      index,
      ...form.whole(lm, completion, logprobs),
      finish_reason: finishReason(completion),
    })),
    usage: usageOf(work, completions),
  };
}

/**
 * Sends the chunks of a stream as they are generated. Log-probs come with the last chunk of each
 * completion. @throws the error that stopped a completion
 */
export async function streamAnswer(
  { lm, model, work, form, logprobs }: Asked,
  withUsage: boolean,
  send: (part: object) => Promise<void>,
): Promise<void> {
  const head = {
    id: form.idPrefix + randomUUID(),
    object: form.partObject,
    created: Math.floor(Date.now() / 1000),
    model,
  };
  const part = (index: number, body: object, finish: string | null, more: object = {}) =>
    send({
      ...head,
      choices: [{ index, ...body, logprobs: null, ...more, finish_reason: finish }],
      ...(withUsage && { usage: null }),
    });
  const completions = await Promise.all(
    work.streams.map(async (stream, index) => {
      if (form === CHAT) await part(index, form.part('', true), null);
      for await (const text of stream) await part(index, form.part(text, false), null);
      const completion = await stream.completion;
      await part(
        index,
        form === CHAT ? { delta: {} } : form.part('', false),
        finishReason(completion),
        logprobs ? { logprobs: form.logprobs(lm, completion) } : {},
      );
      return completion;
    }),
  );
  if (withUsage) await send({ ...head, choices: [], usage: usageOf(work, completions) });
}

function usageOf({ promptTokens }: Work, completions: readonly TextCompletion[]) {
  const made = completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
  return {
    prompt_tokens: promptTokens,
    completion_tokens: made,
    total_tokens: promptTokens + made,
  };
}
