/** From a checked body to running completions and their log-probs. */
import type { LanguageModel } from '../lm/language-model.js';
import { promptInSlices, textInSlices } from '../lm/sliced.js';
import { Slices } from '../lm/slices.js';
import { TextStream, type TextCompletion } from '../lm/text-stream.js';
import { RequestError } from './errors.js';
import type { ChatBody, CompletionBody } from './requests.js';

/** OpenAI's default for completions. */
const COMPLETION_TOKENS = 16;

/** The completions of a request, in the order of their `index`. */
export interface Work {
  streams: TextStream[];
  /** Tokens of all prompts, each counted once. */
  promptTokens: number;
}

export async function startChat(
  lm: LanguageModel,
  body: ChatBody,
  signal: AbortSignal,
): Promise<Work> {
  const messages = body.messages.map(({ role, content }) => ({
    role: role === 'developer' ? ('system' as const) : role,
    content,
  }));
  const limit = body.max_completion_tokens ?? body.max_tokens ?? Infinity;
  const tokens = await promptInSlices(lm, messages, new Slices(signal));
  return start(lm, [tokens], body, limit, body.top_logprobs ?? 0, signal);
}

export async function startCompletions(
  lm: LanguageModel,
  body: CompletionBody,
  signal: AbortSignal,
): Promise<Work> {
  const { prompt } = body;
  const several = Array.isArray(prompt) && typeof prompt[0] !== 'number';
  const prompts = (several ? prompt : [prompt]) as (string | number[])[];
  const slices = new Slices(signal);
  const tokens: number[][] = [];
  for (const one of prompts)
    tokens.push(typeof one === 'string' ? await textInSlices(lm, one, slices, true) : one);
  const limit = body.max_tokens ?? COMPLETION_TOKENS;
  return start(lm, tokens, body, limit, body.logprobs ?? 0, signal);
}

/** Each completion is a separate request to the engine, which decodes them together. */
function start(
  lm: LanguageModel,
  prompts: readonly number[][],
  body: ChatBody | CompletionBody,
  limit: number,
  topLogprobs: number,
  signal: AbortSignal,
): Work {
  const stop = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  const context = lm.model.config.maxPositionEmbeddings;
  for (const tokens of prompts)
    if (tokens.length >= context)
      throw new RequestError(
        400,
        `The prompt has ${tokens.length} tokens and the model's context holds ${context}.`,
        'messages' in body ? 'messages' : 'prompt',
        'context_length_exceeded',
      );
  const sampling = {
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    topK: body.top_k ?? 0,
    topLogprobs,
    ...(typeof body.seed === 'number' && { seed: BigInt.asUintN(64, BigInt(body.seed)) }),
    stopIds: lm.stopIds,
    ...(stop.length > 0 && { stopStrings: stop, tokenBytes: lm.tokenizer.tokenBytes() }),
  };
  const streams = prompts.flatMap((tokens) =>
    Array.from(
      { length: body.n ?? 1 },
      (_, firstSample) =>
        new TextStream(lm.tokenizer, tokens, stop, (_, onTokens) =>
          lm.model.generate(
            {
              ...sampling,
              maxNewTokens: Math.min(limit, context - tokens.length),
              prompts: [{ tokens, firstSample }],
            },
            { signal, onTokens },
          ),
        ),
    ),
  );
  return { streams, promptTokens: prompts.reduce((sum, tokens) => sum + tokens.length, 0) };
}

export const finishReason = ({ finishReason }: TextCompletion): 'stop' | 'length' =>
  finishReason === 'length' ? 'length' : 'stop';
