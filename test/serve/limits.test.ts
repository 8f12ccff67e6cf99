/** `cream serve` at its edges: methods, limits, clients that leave, a server that is stopped. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { serve, type ServerType } from '@hono/node-server';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { createApp } from '../../src/serve/app.js';
import { tinyModel } from '../support/tiny-model.js';

let lm: LanguageModel;
const servers: ServerType[] = [];
let url: string;

async function started(signal?: AbortSignal, served = lm): Promise<string> {
  const app = createApp({ models: new Map([['tiny', served]]), signal });
  const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 });
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeAll(async () => {
  lm = await loadModel(tinyModel({ tokenizer: true, maxPositionEmbeddings: 4096 }));
  url = await started();
});
afterAll(async () => {
  for (const server of servers) {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  }
  await lm.dispose();
});

const post = (path: string, body: object | string, base = url): Promise<Response> =>
  fetch(base + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
const complete = (body: object, base = url): Promise<Response> =>
  post('/v1/completions', { model: 'tiny', prompt: 'ab', max_tokens: 4, ...body }, base);
const refusal = async (response: Response) => ({
  status: response.status,
  ...((await response.json()) as { error: { message: string; param: string | null } }).error,
});

describe('methods', () => {
  it.each([
    ['GET', '/v1/chat/completions', 'POST, OPTIONS'],
    ['HEAD', '/v1/completions', 'POST, OPTIONS'],
    ['PUT', '/v1/models', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/v1/models/tiny', 'GET, HEAD, OPTIONS'],
    ['POST', '/health', 'GET, HEAD, OPTIONS'],
  ])('%s %s is no method of the endpoint', async (method, path, allow) => {
    const response = await fetch(url + path, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe(allow);
    if (method !== 'HEAD') expect((await refusal(response)).message).toContain(method);
  });

  it('OPTIONS tells the methods, HEAD answers as GET', async () => {
    const options = await fetch(`${url}/v1/completions`, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
    expect((await fetch(`${url}/v1/models/tiny`, { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(`${url}/v1/models/other`, { method: 'HEAD' })).status).toBe(404);
  });

  it('takes a key whose scheme is in small letters, and none without a scheme', async () => {
    const app = createApp({ models: new Map([['tiny', lm]]), apiKey: 'k' });
    const status = async (authorization: string) =>
      (await app.request('/v1/models', { headers: { authorization } })).status;
    expect(await Promise.all(['bearer k', 'Bearer k', 'k', 'Basic k', ''].map(status))).toEqual([
      200, 200, 401, 401, 401,
    ]);
  });
});

describe('limits', () => {
  it.each<[string, object, string, string]>([
    ['no text', { prompt: '' }, 'prompt', 'Prompt 0 is empty: give at least one token.'],
    ['no text in a list', { prompt: ['a', ''] }, 'prompt', 'Prompt 1 is empty'],
    ['an unknown token', { prompt: [[1], [2, 100_000]] }, 'prompt', 'Prompt 1 holds the token id'],
    ['a long prompt', { prompt: 'x'.repeat(5000) }, 'prompt', 'holds 4096.'],
    ['many completions', { prompt: Array(4097).fill('a') }, 'prompt', 'at most 4096'],
    ['many × n', { prompt: Array(40).fill('a'), n: 128 }, 'prompt', '40 × 128'],
    ['best_of', { n: 2, best_of: 3 }, 'best_of', 'unless it equals n, got 3.'],
    ['a text for a number', { temperature: '1' }, 'temperature', 'must be a number, got "1".'],
    ['a fraction', { n: 1.5 }, 'n', 'must be a whole number, got 1.5.'],
    ['too little', { top_p: 0 }, 'top_p', 'must be more than 0, got 0.'],
    ['too much', { logprobs: 21 }, 'logprobs', 'must be at most 20, got 21.'],
    ['an empty stop string', { stop: ['a', ''] }, 'stop.1', 'must not be empty, got "".'],
    ['echo', { echo: true }, 'echo', 'echo is not supported, got true.'],
  ])('refuses %s by name', async (_, body, param, message) => {
    expect(await refusal(await complete(body))).toMatchObject({
      status: 400,
      param,
      message: expect.stringContaining(message),
    });
  });

  it('names an infinite number, for which JSON has no word', async () => {
    for (const [name, value] of Object.entries({ temperature: '1e999', n: '-1e999' })) {
      const body = `{"model":"tiny","prompt":"a","${name}":${value}}`;
      expect(await refusal(await post('/v1/completions', body))).toMatchObject({
        status: 400,
        param: name,
        message: `${name} must be a finite number, got ${Number(value)}.`,
      });
    }
  });

  it.each<[string, object, string]>([
    ['prompts', { prompt: Array(1_000_000).fill({}) }, 'prompt must be text, token ids,'],
    ['token ids', { prompt: Array(1_000_000).fill(1.5) }, 'prompt must be text, token ids,'],
    ['stop strings', { stop: Array(100_000).fill(1) }, 'more than 50000 messages, keys and'],
    ['keys', Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, 1])), 'more than 5'],
    ['parts', { messages: Array(99).fill({ content: Array(999).fill(1) }) }, 'more than 50000'],
  ])('does not describe each of very many wrong %s', async (_, body, message) => {
    expect(await refusal(await complete(body))).toMatchObject({
      status: 400,
      message: expect.stringContaining(message),
    });
  });

  it('answers where best_of asks for nothing', async () => {
    const { choices } = (await (await complete({ n: 2, best_of: 2 })).json()) as {
      choices: unknown[];
    };
    expect(choices).toHaveLength(2);
  });

  it('names a parameter whose value is nested too deeply to be shown', async () => {
    const tools = '['.repeat(200_000) + ']'.repeat(200_000);
    const deep = `{"model":"tiny","messages":[{"role":"user","content":"a"}],"tools":${tools}}`;
    expect(await refusal(await post('/v1/chat/completions', deep))).toMatchObject({
      status: 400,
      param: 'tools',
      message: 'tools is not supported, got a value that is nested too deeply.',
    });
  });

  it('names the messages that the chat template refuses', async () => {
    const { chatTemplate } = lm;
    chatTemplate!.fit = () => [];
    const body = { model: 'tiny', messages: [{ role: 'user', content: 'a' }] };
    expect(await refusal(await post('/v1/chat/completions', body))).toMatchObject({
      status: 400,
      param: 'messages',
    });
    delete (chatTemplate as Partial<typeof chatTemplate>)!.fit;
  });
});

it('answers others while it begins thousands of completions with stop strings', async () => {
  const { model } = lm;
  const generate = model.generate.bind(model);
  let begun = 0;
  model.generate = (...given) => (begun++, generate(...given));
  const stop = Array.from({ length: 64 }, (_, i) => `never${i}`);
  const long = complete({ prompt: Array(2000).fill('a'), max_tokens: 1, stop });
  const between = new Set<number>();
  for (let ended = false; !ended; ended = begun === 2000) {
    await new Promise(setImmediate);
    if (begun > 0 && begun < 2000) between.add(begun);
  }
  const { choices } = (await (await long).json()) as { choices: unknown[] };
  delete (model as Partial<typeof model>).generate;
  expect(choices).toHaveLength(2000);
  expect(between.size).toBeGreaterThan(10);
});

/** Tokens of a completion that takes minutes, however idle the machine is. */
const ENDLESS = 100_000;

describe('ends', () => {
  let lasting: LanguageModel;
  let lastingUrl: string;
  beforeAll(async () => {
    lasting = await loadModel(tinyModel({ tokenizer: true, maxPositionEmbeddings: 1 << 17 }));
    lastingUrl = await started(undefined, lasting);
  });
  afterAll(() => lasting.dispose());

  /** Counts the calls of generate(), none of which ends by itself, and which are aborted. */
  function watched(): { begun: number; aborted: () => boolean } {
    const { model } = lasting;
    const generate = model.generate.bind(model);
    const signals: AbortSignal[] = [];
    const seen = { begun: 0, aborted: () => signals.every((signal) => signal.aborted) };
    model.generate = (request, options) => {
      const made = generate({ ...request, stopIds: [] }, options);
      seen.begun++;
      signals.push(options!.signal!);
      return made;
    };
    return seen;
  }
  const unwatched = (): void =>
    void delete (lasting.model as Partial<LanguageModel['model']>).generate;

  it('stops the completions of a client that leaves before its answer', async () => {
    const seen = watched();
    const leaving = new AbortController();
    const body = JSON.stringify({ model: 'tiny', prompt: 'ab', n: 3, max_tokens: ENDLESS });
    const asked = fetch(`${lastingUrl}/v1/completions`, {
      method: 'POST',
      body,
      signal: leaving.signal,
    });
    while (seen.begun < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    leaving.abort();
    await expect(asked).rejects.toThrow();
    while (!seen.aborted()) await new Promise((resolve) => setTimeout(resolve, 5));
    unwatched();
  });

  it('stops the other completions if one fails', async () => {
    const seen = watched();
    const generate = lasting.model.generate.bind(lasting.model);
    lasting.model.generate = (request, options) => {
      if (seen.begun === 2) throw new Error('The third fails.');
      return generate(request, options);
    };
    const response = await complete({ prompt: ['a', 'b', 'c'], max_tokens: ENDLESS }, lastingUrl);
    expect(await refusal(response)).toMatchObject({ status: 500, message: 'The third fails.' });
    expect([seen.begun, seen.aborted()]).toEqual([2, true]);
    unwatched();
  });

  it('tells clients that a stopped server has not completed their answer', async () => {
    const ending = new AbortController();
    const base = await started(ending.signal, lasting);
    const seen = watched();
    const long = { max_tokens: ENDLESS, temperature: 0 };
    const whole = complete(long, base);
    const streamed = complete({ ...long, stream: true }, base).then((response) => response.text());
    while (seen.begun < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    ending.abort();
    unwatched();
    expect(await refusal(await whole)).toMatchObject({
      status: 503,
      message: expect.stringContaining('server is being stopped'),
    });
    const [last] = (await streamed).trim().split('\n\n').slice(-1);
    expect(JSON.parse(last!.replace(/^data: /, ''))).toMatchObject({
      error: { type: 'server_error', message: expect.stringContaining('server is being stopped') },
    });
  });
});
