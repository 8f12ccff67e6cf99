/** From a checked body to running completions and their log-probs. */
import type { LanguageModel } from '../lm/language-model.js';
import { promptInSlices, textInSlices } from '../lm/sliced.js';
import { mapInSlices, Slices } from '../lm/slices.js';
import { TextStream, type TextCompletion } from '../lm/text-stream.js';
import { RequestError } from './errors.js';
import type { ChatBody, CompletionBody } from './requests.js';

/** OpenAI's default for completions. */
const COMPLETION_TOKENS = 16;
/** Prompts times n: what a body of the largest size may ask for would take days. */
const MOST_COMPLETIONS = 4096;
/** Cost of beginning a completion, as the number of characters that take as long to tokenise. */
const BEGINNING = 500;

/** The completions of a request, in the order of their `index`. */
export interface Work {
  streams: TextStream[];
  /** Tokens of all prompts, each counted once. */
  promptTokens: number;
}

/** Starts the completions of a chat request. @throws RequestError */
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
  const said = messages.map(({ content }) => content).join('');
  refuseLong(lm, lm.tokenizer.fewestTokens(said), 'messages', 'at least ');
  const tokens = await promptInSlices(lm, messages, new Slices(signal));
  return start(lm, { prompts: [tokens], body, limit, topLogprobs: body.top_logprobs ?? 0 }, signal);
}

/** Starts the completions of a request for text completions. @throws RequestError */
export async function startCompletions(
  lm: LanguageModel,
  body: CompletionBody,
  signal: AbortSignal,
): Promise<Work> {
  const prompts = promptsOf(body.prompt);
  checkCount(prompts.length, body.n ?? 1);
  const encode = (one: string | number[], slices: Slices): Promise<number[]> | number[] => {
    if (typeof one !== 'string') return one;
    refuseLong(lm, lm.tokenizer.fewestTokens(one), 'prompt', 'at least ');
    return textInSlices(lm, one, slices, true);
  };
  const tokens = await mapInSlices(prompts, encode, signal);
  const limit = body.max_tokens ?? COMPLETION_TOKENS;
  return start(lm, { prompts: tokens, body, limit, topLogprobs: body.logprobs ?? 0 }, signal);
}

/** A request with its prompts as token ids. */
interface Encoded {
  prompts: readonly number[][];
  body: ChatBody | CompletionBody;
  /** Most tokens per completion. */
  limit: number;
  topLogprobs: number;
}

const promptsOf = (prompt: CompletionBody['prompt']): (string | number[])[] =>
  Array.isArray(prompt) && typeof prompt[0] !== 'number'
    ? (prompt as string[] | number[][])
    : [prompt as string | number[]];

function checkCount(prompts: number, n: number): void {
  if (prompts * n > MOST_COMPLETIONS)
    throw new RequestError(
      400,
      `The request asks for ${prompts} × ${n} completions; ask for at most ${MOST_COMPLETIONS} ` +
        'at once.',
      'prompt',
    );
}

/** The engine's own checks would name its arguments instead of the request's. */
function checkPrompt(lm: LanguageModel, tokens: number[], param: string, index: number): void {
  const { vocabSize } = lm.model.config;
  if (tokens.length === 0)
    throw new RequestError(400, `Prompt ${index} is empty: give at least one token.`, param);
  const wrong = tokens.find((id) => id >= vocabSize);
  if (wrong !== undefined)
    throw new RequestError(
      400,
      `Prompt ${index} holds the token id ${wrong}; this model's are 0 to ${vocabSize - 1}.`,
      param,
    );
  refuseLong(lm, tokens.length, param);
}

function refuseLong(lm: LanguageModel, tokens: number, param: string, bound = ''): void {
  const context = lm.model.config.maxPositionEmbeddings;
  if (tokens >= context)
    throw new RequestError(
      400,
      `The prompt has ${bound}${tokens} tokens and the model's context holds ${context}.`,
      param,
      'context_length_exceeded',
    );
}

/**
 * Each completion is a separate request to the engine, which decodes them together. They are begun
 * in slices, since there may be thousands.
 */
async function start(
  lm: LanguageModel,
  { prompts, body, limit, topLogprobs }: Encoded,
  signal: AbortSignal,
): Promise<Work> {
  const slices = new Slices(signal);
  const stop = typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []);
  const context = lm.model.config.maxPositionEmbeddings;
  prompts.forEach((tokens, i) =>
    checkPrompt(lm, tokens, 'messages' in body ? 'messages' : 'prompt', i),
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
  const streams: TextStream[] = [];
  for (const tokens of prompts)
    for (let firstSample = 0; firstSample < (body.n ?? 1); firstSample++) {
      const request = {
        ...sampling,
        maxNewTokens: Math.min(limit, context - tokens.length),
        prompts: [{ tokens, firstSample }],
      };
      streams.push(
        new TextStream(lm.tokenizer, tokens, stop, (_, onTokens) =>
          lm.model.generate(request, { signal, onTokens }),
        ),
      );
      await slices.after(BEGINNING + tokens.length);
    }
  return { streams, promptTokens: prompts.reduce((sum, tokens) => sum + tokens.length, 0) };
}

export const finishReason = ({ finishReason }: TextCompletion): 'stop' | 'length' =>
  finishReason === 'length' ? 'length' : 'stop';
