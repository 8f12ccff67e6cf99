/** LanguageModel on a tiny byte-level model. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { loadModel, type LanguageModel } from '../../src/lm/language-model.js';
import type { TextStream } from '../../src/lm/text-stream.js';
import { StoppingText } from '../../src/lm/stopping-text.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const folder = tinyModel({ tokenizer: true });
let lm: LanguageModel;
beforeAll(async () => {
  lm = await loadModel(folder, { dtype: 'float32' });
});
afterAll(() => lm?.dispose());

describe('LanguageModel', () => {
  it('renders prompts by the template and ends completions with the end of turn', async () => {
    const turn = [{ role: 'user', content: 'hi' }];
    expect(lm.tokenizer.decode(await lm.encodePrompt(turn))).toBe(
      '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(await lm.encodeCompletion('ok')).toEqual([...lm.tokenizer.encode('ok'), 258]);
    expect(lm.stopIds).toEqual([258]);
  });

  it('tokenises long texts while the event loop runs, until the signal', async () => {
    const long = 'hi '.repeat(200_000);
    const turn = [{ role: 'user', content: long }];
    for (const encode of [
      (signal?: AbortSignal) => lm.encodePrompt(turn, signal && { signal }),
      (signal?: AbortSignal) => lm.encodeCompletion(long, signal && { signal }),
    ]) {
      let [turns, running] = [0, true];
      const next = (): void => {
        turns++;
        if (running) setImmediate(next);
      };
      next();
      expect((await encode()).length).toBeGreaterThan(200_000);
      running = false;
      expect(turns).toBeGreaterThan(4);
      const reason = new Error('enough');
      await expect(encode(AbortSignal.abort(reason))).rejects.toBe(reason);
    }
  });

  it('generates the same completion whole and in pieces', async () => {
    const options = { maxNewTokens: 40, seed: 3 };
    const pieces: string[] = [];
    const stream = lm.stream('hi', options);
    for await (const piece of stream) pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(1);
    const whole = await lm.generate('hi', options);
    expect(pieces.join('')).toBe(whole.text);
    expect(await stream.completion).toEqual(whole);
    expect(await lm.generate([{ role: 'user', content: 'hi' }], options)).toEqual(whole);
  });

  it('returns token ids, log-probs, the reason why it ended, and the seed', async () => {
    const completion = await lm.generate('hi', { maxNewTokens: 12, seed: 5 });
    const [direct] = await lm.model
      .generate({
        prompts: [{ tokens: await lm.encodePrompt([{ role: 'user', content: 'hi' }]) }],
        maxNewTokens: 12,
        stopIds: lm.stopIds,
        seed: 5,
      })
      .all();
    expect([...completion.tokens]).toEqual([...direct!.tokens]);
    expect([...completion.logprobs]).toEqual([...direct!.logprobs]);
    expect(completion).toMatchObject({
      text: lm.tokenizer.decode([...direct!.tokens], { skipSpecialTokens: true }),
      finishReason: 'length',
      promptTokens: (await lm.encodePrompt([{ role: 'user', content: 'hi' }])).length,
      seed: 5n,
    });
  });

  it('tells the most likely tokens beside each, in chunks and as a whole', async () => {
    const options = { maxNewTokens: 30, seed: 5, topLogprobs: 4 };
    const stream = lm.stream('hi', options);
    const chunks = [];
    for await (const chunk of stream.chunks()) chunks.push(chunk);
    const whole = await stream.completion;
    expect(chunks.map(({ text }) => text).join('')).toBe(whole.text);
    const tokens = chunks.flatMap((chunk) => chunk.tokens);
    expect(tokens.map(({ token }) => token)).toEqual([...whole.tokens]);
    expect(tokens.map(({ logprob }) => logprob)).toEqual([...whole.logprobs]);
    expect(tokens.map(({ topLogprobs }) => topLogprobs)).toEqual(whole.topLogprobs);

    // Beside the first token: the log-softmax of the prompt's last logits.
    const prompt = await lm.encodePrompt([{ role: 'user', content: 'hi' }]);
    const logits = (await lm.model.logits(prompt)).subarray(-lm.model.config.vocabSize);
    const sum = Math.log(logits.reduce((all, logit) => all + Math.exp(logit), 0));
    const best = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!).slice(0, 4);
    expect(whole.topLogprobs[0]!.map(({ token }) => token)).toEqual(best);
    whole.topLogprobs[0]!.forEach(({ token, logprob }) =>
      expect(logprob).toBeCloseTo(logits[token]! - sum, 4),
    );
    const plain = await lm.generate('hi', { ...options, topLogprobs: 0 });
    expect([...plain.tokens]).toEqual([...whole.tokens]);
    expect(plain.topLogprobs).toEqual(Array(plain.tokens.length).fill([]));
    await expect(lm.generate('hi', { topLogprobs: 21 })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining('topLogprobs'),
    });
  });

  it('draws a seed for every call, and repeats a completion whose seed is given', async () => {
    const options = { maxNewTokens: 40 };
    const [first, second] = await Promise.all([
      lm.generate('hi', options),
      lm.generate('hi', options),
    ]);
    expect(first.seed).not.toBe(second.seed);
    expect(first.text).not.toBe(second.text);
    expect(await lm.generate('hi', { ...options, seed: first.seed })).toEqual(first);
    expect(lm.stream('hi', { ...options, seed: 7 }).seed).toBe(7n);
  });

  it('gives concurrent streams the text that each has alone, whatever their settings', async () => {
    const calls = [
      { prompt: 'hi', options: { maxNewTokens: 30, seed: 1 } },
      { prompt: 'a longer question', options: { maxNewTokens: 50, seed: 2, temperature: 0.5 } },
      { prompt: 'hi', options: { maxNewTokens: 20, temperature: 0 } },
      { prompt: 'and more', options: { maxNewTokens: 40, seed: 1, topP: 0.7, topK: 20 } },
    ];
    const alone: string[] = [];
    for (const { prompt, options } of calls) alone.push((await lm.generate(prompt, options)).text);
    const read = async (stream: AsyncIterable<string>): Promise<string> => {
      let text = '';
      for await (const piece of stream) text += piece;
      return text;
    };
    expect(
      await Promise.all(calls.map(({ prompt, options }) => read(lm.stream(prompt, options)))),
    ).toEqual(alone);
  });

  it('ends before a stop string', async () => {
    const options = { maxNewTokens: 60, seed: 3 };
    const { text } = await lm.generate('hi', options);
    const stop = [...text].slice(10, 12).join('');
    expect(stop.includes('\uFFFD')).toBe(false);
    expect(await lm.generate('hi', { ...options, stop: [stop] })).toMatchObject({
      text: text.slice(0, text.indexOf(stop)),
      finishReason: 'stop',
    });
  });

  it('ends at a stop string that only the text has', async () => {
    const options = { maxNewTokens: 200, seed: 3, topLogprobs: 2 };
    const whole = await lm.generate('hi', options);
    const stream = lm.stream('hi', { ...options, stop: ['\uFFFD'] });
    const chunks = [];
    for await (const chunk of stream.chunks()) chunks.push(chunk);
    const ended = await stream.completion;
    expect(ended.finishReason).toBe('stop');
    expect(ended.text).toBe(whole.text.slice(0, whole.text.indexOf('\uFFFD')));
    const count = ended.tokens.length;
    expect(count).toBeLessThan(whole.tokens.length);
    const decoded = lm.tokenizer.decode([...ended.tokens], { skipSpecialTokens: true });
    expect(decoded).toContain('\uFFFD');
    expect([...ended.tokens]).toEqual([...whole.tokens.subarray(0, count)]);
    expect([...ended.logprobs]).toEqual([...whole.logprobs.subarray(0, count)]);
    expect(ended.topLogprobs).toEqual(whole.topLogprobs.slice(0, count));
    expect(chunks.map(({ text }) => text).join('')).toBe(ended.text);
    const tokens = chunks.flatMap((chunk) => chunk.tokens);
    expect(tokens.map(({ token }) => token)).toEqual([...ended.tokens]);
  });

  it('looks for stop strings across special tokens, and in their texts', async () => {
    const isLetter = (id: number | undefined) => id !== undefined && id < 128 && id >= 65;
    for (let seed = 0; ; seed++) {
      const options = { maxNewTokens: 200, seed };
      const whole = await lm.generate('hi', options);
      const tokens = [...whole.tokens];
      const at = tokens.findIndex(
        (id, i) => id === 257 && isLetter(tokens[i - 1]) && isLetter(tokens[i + 1]),
      );
      if (at < 0) continue;
      const before = lm.tokenizer.decode(tokens.slice(0, at), { skipSpecialTokens: true });
      const stop = before.slice(-3) + lm.tokenizer.decode([tokens[at + 1]!]);
      expect(await lm.generate('hi', { ...options, stop: [stop] })).toMatchObject({
        text: before.slice(0, -3),
        tokens: whole.tokens.slice(0, at + 2),
        finishReason: 'stop',
      });
      const first = tokens.indexOf(257);
      expect(await lm.generate('hi', { ...options, stop: ['<|im_start|>'] })).toMatchObject({
        text: lm.tokenizer.decode(tokens.slice(0, first), { skipSpecialTokens: true }),
        tokens: whole.tokens.slice(0, first + 1),
        finishReason: 'stop',
      });
      return;
    }
  });

  it('stops when its reader leaves, also before it has read or while it waits', async () => {
    const of = { code: 'ERR_ABORTED' };
    // Long enough that it cannot end by itself before it is stopped.
    const endless = tinyModel({ tokenizer: true, maxPositionEmbeddings: 32_768 });
    await using long = await loadModel(endless, { dtype: 'float32' });
    const whole = { maxNewTokens: 30_000, temperature: 0 };
    const unread = (): TextStream => long.stream('hi', whole);
    const returned = unread();
    await returned[Symbol.asyncIterator]().return();
    await expect(returned.completion).rejects.toMatchObject(of);
    const chunks = unread();
    await chunks.chunks().return();
    await expect(chunks.completion).rejects.toMatchObject(of);
    const destroyed = unread();
    Readable.from(destroyed).destroy();
    await expect(destroyed.completion).rejects.toMatchObject(of);
    // Nothing can be read before the last chunk: all of it could become the stop string.
    const held = long.stream('hi', { ...whole, stop: ['x'.repeat(5000)] });
    const reading = held[Symbol.asyncIterator]();
    const next = expect(reading.next()).rejects.toMatchObject(of);
    await reading.return();
    await next;
    await expect(held.completion).rejects.toMatchObject(of);
  });

  it('stops when the loop is left or the signal aborts', async () => {
    for await (const piece of lm.stream('hi', { maxNewTokens: 150 })) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    await expect(
      lm.generate('hi', { maxNewTokens: 150, signal: AbortSignal.abort(new Error('enough')) }),
    ).rejects.toThrow('enough');
  });

  it('refuses what is no prompt and no list of completions', async () => {
    const wrong = <T>(value: unknown): T => value as T;
    await expect(lm.generate(wrong(undefined))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: 'The prompt must be text or a list of messages, got undefined.',
    });
    await expect(lm.score('hi', wrong('abc'))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: 'The completions must be a list of texts, got "abc".',
    });
  });

  it('scores completions as the model does', async () => {
    const scores = await lm.score('hi', ['a', 'bcd']);
    const direct = await lm.model.score({
      groups: [
        {
          prompt: await lm.encodePrompt([{ role: 'user', content: 'hi' }]),
          completions: [await lm.encodeCompletion('a'), await lm.encodeCompletion('bcd')],
        },
      ],
    });
    expect(scores).toEqual([...direct.sums]);
  });

  it('saves a folder that loads to the same model', async () => {
    const saved = join(temporaryFolder(), 'saved');
    const snapshot = lm.model.snapshot();
    await lm.with(snapshot).save(saved);
    await snapshot.dispose();
    expect(readdirSync(saved).sort()).toEqual([
      'chat_template.jinja',
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    const json = (name: string): unknown => JSON.parse(readFileSync(join(saved, name), 'utf8'));
    expect(json('tokenizer_config.json')).toMatchObject({
      chat_template: readFileSync(join(saved, 'chat_template.jinja'), 'utf8'),
    });
    expect(json('generation_config.json')).toEqual({
      bos_token_id: 1,
      eos_token_id: 258,
      temperature: 0.7,
    });
    const again = await loadModel(saved, { dtype: 'float32' });
    expect(await again.score('hi', ['a', 'bcd'])).toEqual(await lm.score('hi', ['a', 'bcd']));
    expect(again.chatTemplate!.source).toBe(lm.chatTemplate!.source);
    await again.dispose();
  });
});

describe('StoppingText', () => {
  it('holds back what could become a stop string, and cuts at the first', () => {
    const text = new StoppingText(['END', 'stop']);
    text.push('some t');
    expect(text.take()).toBe('som');
    text.push('ext E');
    expect(text.take()).toBe('e tex');
    text.push('ND and stop');
    expect(text.take()).toBe('t ');
    text.push('more');
    expect(text.end('!')).toBe('');
  });

  it('never splits a surrogate pair', () => {
    const written = 'a😀😀b🎉';
    for (let held = 0; held < 6; held++) {
      const text = new StoppingText(held === 0 ? [] : ['#'.repeat(held + 1)]);
      const chunks: string[] = [];
      for (const character of written) {
        text.push(character);
        chunks.push(text.take());
      }
      chunks.push(text.end(''));
      expect(chunks.every((chunk) => Buffer.from(chunk).toString() === chunk)).toBe(true);
      expect(chunks.join('')).toBe(written);
    }
  });

  it('gives everything at once without stop strings, and the rest at the end', () => {
    const text = new StoppingText([]);
    text.push('abc');
    expect(text.take()).toBe('abc');
    const held = new StoppingText(['xyz']);
    held.push('xy');
    expect(held.take()).toBe('');
    expect(held.end('')).toBe('xy');
  });
});
