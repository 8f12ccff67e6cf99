/** OpenAI's chat/completions, completions and models endpoints over loaded models. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { streamSSE } from 'hono/streaming';
import type { LanguageModel } from '../lm/language-model.js';
import { CHAT, streamAnswer, TEXT, wholeAnswer, type Form } from './answers.js';
import { startChat, startCompletions, type Work } from './completions.js';
import { errorBody, RequestError } from './errors.js';
import { chatLogprobs, textLogprobs, type Describe } from './logprobs.js';
import { parseChat, parseCompletion, type ChatBody, type CompletionBody } from './requests.js';

const BODY_BYTES = 8 * 2 ** 20;
const ENDPOINTS = ['POST /v1/chat/completions', 'POST /v1/completions', 'GET /v1/models'];

export interface AppOptions {
  /** The name that requests give as `model` → the model. */
  models: ReadonlyMap<string, LanguageModel>;
  /** If given, requests must carry it as a bearer token. */
  apiKey?: string | undefined;
  /** Aborting it ends all generations. */
  signal?: AbortSignal | undefined;
}

export function createApp({ models, apiKey, signal }: AppOptions): Hono {
  const app = new Hono();
  const created = Math.floor(Date.now() / 1000);
  const described = (id: string) => ({ id, object: 'model', created, owned_by: 'cream-lm' });
  const named = (name: string): LanguageModel => {
    const lm = models.get(name);
    if (lm) return lm;
    throw new RequestError(
      404,
      `The model '${name}' is not served here; there is ${[...models.keys()].join(', ')}.`,
      'model',
      'model_not_found',
    );
  };

  app.onError((error, c) => {
    const { status, body } = errorBody(error);
    return c.json(body, status);
  });
  app.notFound((c) => {
    const message =
      `There is no endpoint ${c.req.method} ${c.req.path}; there are ` +
      `${ENDPOINTS.join(', ')} and GET /health.`;
    return c.json(errorBody(new RequestError(404, message)).body, 404);
  });
  app.get('/health', (c) => c.json({ status: 'ok' }));
  app.use('/v1/*', async (c, next) => {
    if (apiKey !== undefined && !sameKey(c.req.header('authorization') ?? '', apiKey))
      throw new RequestError(401, 'The API key is missing or wrong.', null, 'invalid_api_key');
    await next();
  });
  app.use(
    '/v1/*',
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: () => {
        throw new RequestError(413, `The body is larger than ${BODY_BYTES / 2 ** 20} MiB.`);
      },
    }),
  );
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [...models.keys()].map(described) }));
  app.get('/v1/models/:name{.+}', (c) => {
    const name = c.req.param('name');
    named(name);
    return c.json(described(name));
  });
  app.post('/v1/chat/completions', async (c) => {
    const body = parseChat(await bodyOf(c));
    const lm = named(body.model);
    const logprobs = body.logprobs ? () => chatLogprobs(lm) : undefined;
    return answer(c, signal, lm, body, CHAT, logprobs, startChat);
  });
  app.post('/v1/completions', async (c) => {
    const body = parseCompletion(await bodyOf(c));
    const lm = named(body.model);
    const top = body.logprobs ?? undefined;
    const logprobs = top === undefined ? undefined : () => textLogprobs(lm, top > 0);
    return answer(c, signal, lm, body, TEXT, logprobs, startCompletions);
  });
  return app;
}

async function bodyOf(c: Context): Promise<unknown> {
  const text = await c.req.text();
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new RequestError(400, `The body is not JSON: ${(error as Error).message}.`);
  }
}

/** A generation ends with its client's connection, and with the server. */
async function answer<Body extends ChatBody | CompletionBody>(
  c: Context,
  ending: AbortSignal | undefined,
  lm: LanguageModel,
  body: Body,
  form: Form,
  logprobs: (() => Describe) | undefined,
  start: (lm: LanguageModel, body: Body, signal: AbortSignal) => Promise<Work>,
): Promise<Response> {
  const left = new AbortController();
  const signal = AbortSignal.any([left.signal, c.req.raw.signal, ...(ending ? [ending] : [])]);
  const asked = { model: body.model, work: await start(lm, body, signal), form, logprobs };
  if (body.stream !== true) return c.json(await wholeAnswer(asked));
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => left.abort());
    const send = (part: object) => stream.writeSSE({ data: JSON.stringify(part) });
    try {
      await streamAnswer(asked, body.stream_options?.include_usage === true, send);
      await stream.writeSSE({ data: '[DONE]' });
    } catch (error) {
      if (!signal.aborted) await send(errorBody(error).body);
    } finally {
      left.abort();
    }
  });
}

/** Compares digests, so that the time taken reveals nothing about the key. */
function sameKey(header: string, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(header), digest(`Bearer ${key}`));
}
