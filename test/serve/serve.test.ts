/** `cream serve` with OpenAI's own client and plain HTTP, over a tiny model. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { serve, type ServerType } from '@hono/node-server';
import OpenAI from 'openai';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import { createApp } from '../../src/serve/app.js';
import { tinyModel } from '../support/tiny-model.js';

const KEY = 'secret';
let lm: LanguageModel;
let server: ServerType;
let url: string;
let client: OpenAI;

beforeAll(async () => {
  lm = await loadModel(tinyModel({ tokenizer: true, maxPositionEmbeddings: 512 }));
  const app = createApp({ models: new Map([['tiny', lm]]), apiKey: KEY });
  server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  client = new OpenAI({ baseURL: url, apiKey: KEY, maxRetries: 0 });
});

afterAll(async () => {
  server.close();
  if ('closeAllConnections' in server) server.closeAllConnections();
  await lm.dispose();
});

const messages = [{ role: 'user' as const, content: 'Say something.' }];
const asked = { model: 'tiny', messages, seed: 7, max_tokens: 24, temperature: 1 };

const post = (path: string, body: string, headers: Record<string, string> = {}) =>
  fetch(url + path, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers },
  });

describe('chat/completions', () => {
  it('answers as the Node API does, with usage and log-probs', async () => {
    const answer = await client.chat.completions.create({ ...asked, logprobs: true });
    const own = await lm.generate(messages, { seed: 7, maxNewTokens: 24 });
    expect(answer).toMatchObject({
      object: 'chat.completion',
      model: 'tiny',
      usage: { prompt_tokens: own.promptTokens, completion_tokens: own.tokens.length },
    });
    const [choice] = answer.choices;
    expect(choice!.message).toMatchObject({ role: 'assistant', content: own.text });
    expect(choice!.finish_reason).toBe(own.finishReason === 'length' ? 'length' : 'stop');
    const logprobs = choice!.logprobs!.content!.map(({ logprob }) => logprob);
    expect(logprobs).toEqual([...own.logprobs].slice(0, logprobs.length));
    expect(logprobs.length).toBeGreaterThanOrEqual(own.tokens.length - 1);
  });

  it('streams the same text, and the usage where it is asked for', async () => {
    const whole = await client.chat.completions.create({ ...asked, logprobs: true });
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      logprobs: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let reason: string | null = null;
    let usage: unknown;
    const logprobs: number[] = [];
    for await (const part of stream) {
      text += part.choices[0]?.delta.content ?? '';
      reason ??= part.choices[0]?.finish_reason ?? null;
      const own = part.choices[0]?.logprobs?.content;
      // Every chunk with text has the log-probs of its tokens.
      if (part.choices[0]?.delta.content) expect(own!.length).toBeGreaterThan(0);
      logprobs.push(...(own ?? []).map(({ logprob }) => logprob));
      usage = part.usage ?? usage;
    }
    expect({ text, reason, usage }).toEqual({
      text: whole.choices[0]!.message.content,
      reason: whole.choices[0]!.finish_reason,
      usage: whole.usage,
    });
    expect(logprobs).toEqual(whole.choices[0]!.logprobs!.content!.map(({ logprob }) => logprob));
  });

  it('tells the most likely tokens beside each, whole and streamed', async () => {
    const wanted = { ...asked, logprobs: true, top_logprobs: 3 };
    const answer = await client.chat.completions.create(wanted);
    const own = await lm.generate(messages, { seed: 7, maxNewTokens: 24, topLogprobs: 3 });
    const told = answer.choices[0]!.logprobs!.content!;
    expect(told.length).toBeGreaterThan(0);
    told.forEach(({ top_logprobs: top, bytes }, i) => {
      expect(top.map(({ logprob }) => logprob)).toEqual(
        own.topLogprobs[i]!.map(({ logprob }) => logprob),
      );
      // The tiny model's ids 0 … 255 are bytes.
      expect(top.map((one) => one.bytes)).toEqual(
        own.topLogprobs[i]!.map(({ token }) => (token < 256 ? [token] : expect.anything())),
      );
      expect(bytes).toEqual([own.tokens[i]]);
    });
    const streamed: unknown[] = [];
    const stream = await client.chat.completions.create({ ...wanted, stream: true });
    for await (const { choices } of stream) streamed.push(...(choices[0]?.logprobs?.content ?? []));
    expect(streamed).toEqual(told);
  });

  it('takes back its own answer, and parameters that ask for nothing', async () => {
    const first = await client.chat.completions.create(asked);
    const next = await client.chat.completions.create({
      ...asked,
      messages: [
        ...messages,
        first.choices[0]!.message,
        { role: 'user', content: [{ type: 'text', text: 'And now?' }] },
      ],
      max_completion_tokens: 4,
      tools: [],
      tool_choice: 'none',
      response_format: { type: 'text' },
      logit_bias: {},
      frequency_penalty: 0,
      presence_penalty: 0,
      modalities: ['text'],
      user: 'someone',
      metadata: { of: 'the caller' },
      store: false,
    });
    expect(next.usage!.completion_tokens).toBeLessThanOrEqual(4);
    expect(next.usage!.prompt_tokens).toBeGreaterThan(first.usage!.prompt_tokens);
  });

  it('samples n different completions and ends at a stop string', async () => {
    const { choices } = await client.chat.completions.create({ ...asked, n: 3 });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3);
    const text = choices[0]!.message.content!;
    const stop = /[\x20-\x7e]/.exec(text.slice(1))![0];
    const cut = await client.chat.completions.create({ ...asked, stop });
    expect(cut.choices[0]!.message.content).toBe(text.slice(0, text.indexOf(stop)));
    expect(cut.choices[0]!.finish_reason).toBe('stop');
  });

  it('stops generating for a client that leaves', async () => {
    const leaving = new AbortController();
    const long = { ...asked, max_tokens: 400, stream: true as const };
    const stream = await client.chat.completions.create(long, { signal: leaving.signal });
    for await (const _ of stream) break;
    leaving.abort();
    expect((await client.chat.completions.create(asked)).choices).toHaveLength(1);
  });

  it('answers several clients at once as each alone', async () => {
    const seeds = [1, 2, 3, 4];
    const ask = async (seed: number) =>
      (await client.chat.completions.create({ ...asked, seed })).choices[0]!.message.content;
    const together = await Promise.all(seeds.map(ask));
    const alone = [];
    for (const seed of seeds) alone.push(await ask(seed));
    expect(together).toEqual(alone);
  });
});

describe('completions', () => {
  it('continues texts and token ids, each with log-probs', async () => {
    const { choices, usage } = await client.completions.create({
      model: 'tiny',
      prompt: ['ab', 'cd'],
      max_tokens: 5,
      temperature: 0,
      logprobs: 0,
    });
    expect(choices).toHaveLength(2);
    expect(choices[0]!.logprobs!.tokens!.length).toBeGreaterThan(0);
    const ids = lm.tokenizer.encode('ab', { addSpecialTokens: true });
    expect(usage!.prompt_tokens).toBe(2 * ids.length);
    const same = { model: 'tiny', prompt: ids, max_tokens: 5, temperature: 0 };
    expect((await client.completions.create(same)).choices[0]!.text).toBe(choices[0]!.text);
  });
});

describe('completions with alternatives', () => {
  it('tells them by their text, with offsets, whole and streamed', async () => {
    const wanted = { model: 'tiny', prompt: 'ab', max_tokens: 8, seed: 3, logprobs: 2 };
    const { choices } = await client.completions.create(wanted);
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!.logprobs!;
    expect(text_offset![0]).toBe(0);
    expect([...text_offset!].sort((a, b) => a - b)).toEqual(text_offset);
    tokens!.forEach((token, i) => {
      expect(top_logprobs![i]![token]).toBe(token_logprobs![i]);
      const likeliest = Math.max(...Object.values(top_logprobs![i]!));
      expect(token_logprobs![i]!).toBeLessThanOrEqual(likeliest);
    });
    const parts = { tokens: [] as string[], offsets: [] as number[] };
    for await (const part of await client.completions.create({ ...wanted, stream: true })) {
      parts.tokens.push(...(part.choices[0]!.logprobs?.tokens ?? []));
      parts.offsets.push(...(part.choices[0]!.logprobs?.text_offset ?? []));
    }
    expect(parts).toEqual({ tokens, offsets: text_offset });
  });
});

describe('models and errors', () => {
  it('lists what is served', async () => {
    const { data } = await client.models.list();
    expect(data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await client.models.retrieve('tiny')).owned_by).toBe('cream-lm');
  });

  it.each<[string, string, string, number, object]>([
    ['no JSON', '/chat/completions', '{', 400, { type: 'invalid_request_error' }],
    ['no object', '/chat/completions', '[]', 400, { type: 'invalid_request_error' }],
    [
      'an unknown model',
      '/chat/completions',
      JSON.stringify({ ...asked, model: 'other' }),
      404,
      { code: 'model_not_found', param: 'model' },
    ],
    ...Object.entries({
      tools: [{ type: 'function', function: { name: 'f' } }],
      tool_choice: 'required',
      response_format: { type: 'json_object' },
      logit_bias: { 5: -100 },
      frequency_penalty: 0.5,
      functions: [{ name: 'f' }],
      modalities: ['audio'],
      reasoning_effort: 'low',
      min_p: 0.1,
    }).map(([param, value]): [string, string, string, number, object] => [
      param,
      '/chat/completions',
      JSON.stringify({ ...asked, [param]: value }),
      400,
      { code: 'unsupported_parameter', param },
    ]),
    ...Object.entries({
      presence_penalty: 1,
      echo: true,
      suffix: 'end',
      best_of: 3,
      logit_bias: { 5: 1 },
    }).map(([param, value]): [string, string, string, number, object] => [
      `${param} of completions`,
      '/completions',
      JSON.stringify({ model: 'tiny', prompt: 'a', [param]: value }),
      400,
      { code: 'unsupported_parameter', param },
    ]),
    ...Object.entries({
      'messages.0.content': [{ role: 'user', content: [{ type: 'image_url' }] }],
      'messages.0.role': [{ role: 'tool', content: 'x' }],
      'messages.0.tool_calls': [{ role: 'assistant', content: 'x', tool_calls: [{ id: '1' }] }],
      'messages.0.name': [{ role: 'user', content: 'x', name: 'Ann' }],
    }).map(([param, given]): [string, string, string, number, object] => [
      param,
      '/chat/completions',
      JSON.stringify({ ...asked, messages: given }),
      400,
      { param },
    ]),
    [
      'alternatives without log-probs',
      '/chat/completions',
      JSON.stringify({ ...asked, top_logprobs: 2 }),
      400,
      { param: 'top_logprobs' },
    ],
    [
      'too many alternatives',
      '/chat/completions',
      JSON.stringify({ ...asked, logprobs: true, top_logprobs: 21 }),
      400,
      { param: 'top_logprobs' },
    ],
    [
      'options of a stream without one',
      '/chat/completions',
      JSON.stringify({ ...asked, stream_options: { include_usage: true } }),
      400,
      { param: 'stream_options' },
    ],
    [
      'a body without messages',
      '/chat/completions',
      JSON.stringify({ model: 'tiny' }),
      400,
      { code: 'missing_required_parameter', param: 'messages' },
    ],
    [
      'a number out of range',
      '/chat/completions',
      JSON.stringify({ ...asked, top_p: 2 }),
      400,
      { param: 'top_p' },
    ],
    [
      'a token outside the vocabulary',
      '/completions',
      JSON.stringify({ model: 'tiny', prompt: [1e6] }),
      400,
      { type: 'invalid_request_error' },
    ],
    [
      'a prompt beyond the context',
      '/completions',
      JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(600) }),
      400,
      { code: 'context_length_exceeded', param: 'prompt' },
    ],
    ['no such endpoint', '/embeddings', '{}', 404, { type: 'invalid_request_error' }],
    ['a body that is too large', '/completions', 'x'.repeat(9 << 20), 413, {}],
  ])('refuses %s', async (_, path, body, status, error) => {
    const response = await post(path, body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({
      error: { message: expect.stringMatching(/\.$/), ...error },
    });
  });

  it('refuses another key', async () => {
    const response = await post('/completions', '{}', { authorization: 'Bearer guess' });
    expect(response.status).toBe(401);
  });
});
