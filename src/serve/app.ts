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

/** Methods by path; Hono answers HEAD wherever it answers GET. */
const METHODS = {
  '/v1/chat/completions': ['POST'],
  '/v1/completions': ['POST'],
  '/v1/models': ['GET', 'HEAD'],
  '/v1/models/:name{.+}': ['GET', 'HEAD'],
  '/health': ['GET', 'HEAD'],
};
const ENDPOINTS = 'POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /health';

export interface AppOptions {
  /** The name that requests give as `model` → the model. */
  models: ReadonlyMap<string, LanguageModel>;
  /** If given, requests must carry it as a bearer token. */
  apiKey?: string | undefined;
  /** Aborting it ends all generations. */
  signal?: AbortSignal | undefined;
}

/** The OpenAI-compatible server of `models`, as a Hono app. */
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
    const message = `There is no endpoint ${c.req.path}; there are ${ENDPOINTS}.`;
    return c.json(errorBody(new RequestError(404, message)).body, 404);
  });
  app.get('/health', (c) => c.json({ status: 'ok' }));
  limitRequests(app, apiKey);
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
    return answer(c, { signal, lm, body, form: CHAT, logprobs, start: startChat });
  });
  app.post('/v1/completions', async (c) => {
    const body = parseCompletion(await bodyOf(c));
    const lm = named(body.model);
    const top = body.logprobs ?? undefined;
    const logprobs = top === undefined ? undefined : () => textLogprobs(lm, top > 0);
    return answer(c, { signal, lm, body, form: TEXT, logprobs, start: startCompletions });
  });
  return app;
}

/** Refuses other methods, a wrong key and too large a body, before an endpoint sees the request. */
function limitRequests(app: Hono, apiKey: string | undefined): void {
  for (const [path, methods] of Object.entries(METHODS))
    app.use(path, async (c, next) => {
      if (methods.includes(c.req.method)) return next();
      c.header('Allow', [...methods, 'OPTIONS'].join(', '));
      if (c.req.method === 'OPTIONS') return c.body(null, 204);
      const message = `${c.req.path} takes ${methods.join(' or ')}, not ${c.req.method}.`;
      const { body } = errorBody(new RequestError(405, message, null, 'method_not_allowed'));
      return c.json(body, 405);
    });
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
}

async function bodyOf(c: Context): Promise<unknown> {
  const text = await c.req.text();
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new RequestError(400, `The body is not JSON: ${(error as Error).message}.`);
  }
}

/** A checked request, with the functions of its endpoint. */
interface Endpoint<Body> {
  lm: LanguageModel;
  body: Body;
  form: Form;
  logprobs: (() => Describe) | undefined;
  start: (lm: LanguageModel, body: Body, signal: AbortSignal) => Promise<Work>;
  /** Aborted when the server ends. */
  signal: AbortSignal | undefined;
}

/** A generation ends with its client's connection, with the server, and if the request fails. */
async function answer<Body extends ChatBody | CompletionBody>(
  c: Context,
  { lm, body, form, logprobs, start, signal: ending }: Endpoint<Body>,
): Promise<Response> {
  const left = new AbortController();
  const client = AbortSignal.any([left.signal, c.req.raw.signal]);
  const signal = ending ? AbortSignal.any([client, ending]) : client;
  /** A client must not take what it has for the whole. */
  const told = (error: unknown): unknown =>
    ending?.aborted === true
      ? new RequestError(503, 'The server is being stopped; the completion is not whole.')
      : error;
  try {
    const asked = { model: body.model, work: await start(lm, body, signal), form, logprobs };
    if (body.stream !== true) return c.json(await wholeAnswer(asked));
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => left.abort());
      const send = (part: object) => stream.writeSSE({ data: JSON.stringify(part) });
      try {
        await streamAnswer(asked, body.stream_options?.include_usage === true, send);
        await stream.writeSSE({ data: '[DONE]' });
      } catch (error) {
        if (!client.aborted) await send(errorBody(told(error)).body);
      } finally {
        left.abort();
      }
    });
  } catch (error) {
    left.abort(); // ends the other completions of the request
    throw told(error);
  }
}

/** Compares digests, so that the time taken reveals nothing about the key. */
function sameKey(header: string, key: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const given = header.replace(/^bearer +/i, '');
  return timingSafeEqual(digest(given), digest(key)) && given !== header;
}
