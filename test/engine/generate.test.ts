/** Sampling and scoring of a model: completions, concurrent generations, aborting. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Completion } from '../../src/engine/generate.js';
import { Model } from '../../src/engine/model.js';
import { sumLogprobs } from '../../src/engine/score.js';
import { plain, prompts, request } from '../support/tiny-generation.js';
import { tinyModel } from '../support/tiny-model.js';

const folder = tinyModel({ config: { unknown_key: { kept: true } } });
/** Work that takes a tiny model minutes, so that a test can stop it. */
const endless = { prompts: [{ tokens: [1], samples: 100_000 }], maxNewTokens: 200, stopIds: [] };

let model: Model;
beforeAll(async () => {
  model = await Model.load(folder, { dtype: 'float32' });
});
afterAll(() => model.dispose());

describe('generate', () => {
  it('gives all completions, sorted, with log-probs that score() confirms', async () => {
    const completions = await model.generate(request).all();
    expect(completions.map(({ promptIndex, sample }) => [promptIndex, sample])).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
      [1, 1],
    ]);
    const scores = await model.score({
      groups: prompts.map((prompt, i) => ({
        prompt: prompt.tokens,
        completions: completions.filter((c) => c.promptIndex === i).map((c) => c.tokens),
      })),
    });
    const sampled = completions.flatMap((completion) => [...completion.logprobs]);
    expect(scores.tokenLogprobs.length).toBe(sampled.length);
    sampled.forEach((logprob, i) =>
      expect(Math.abs(logprob - scores.tokenLogprobs[i]!)).toBeLessThan(1e-3),
    );
    expect([...scores.offsets]).toEqual([0, 12, 24, 36, 48, 60]);
    expect([...scores.sums]).toEqual(
      [0, 12, 24, 36, 48].map((offset) =>
        sumLogprobs(scores.tokenLogprobs.subarray(offset, offset + 12)),
      ),
    ); // to the bit
  });

  it('iterates, streams tokens and reports progress', async () => {
    const streamed: number[][] = [[], [], []];
    const reports: number[] = [];
    const generation = model.generate(
      { ...request, prompts: [prompts[0]!] },
      {
        onTokens: (tokens) => {
          for (const { sample, token } of tokens) streamed[sample]!.push(token);
        },
        onProgress: ({ done, total }) => {
          reports.push(done);
          expect(total).toBe(3);
        },
      },
    );
    const seen: Completion[] = [];
    for await (const completion of generation) seen.push(completion);
    for (const completion of seen)
      expect(streamed[completion.sample]).toEqual([...completion.tokens]);
    expect(reports.at(-1)).toBe(3);
    expect(await generation.stats).toMatchObject({ completionTokens: 36 });
    expect((await generation.all()).length).toBe(3);
  });

  it('depends on seed and key alone, not on what else is asked', async () => {
    const together = await model
      .generate({
        ...request,
        prompts: [
          { tokens: [5, 6, 7], key: 1n << 63n, samples: 4 },
          { tokens: [8, 9], key: 3n },
        ],
      })
      .all();
    const alone = await model
      .generate({
        ...request,
        maxNumSeqs: 1,
        prompts: [{ tokens: [5, 6, 7], key: 1n << 63n, samples: 2, firstSample: 2 }],
      })
      .all();
    expect(alone.map((c) => [...c.tokens])).toEqual(together.slice(2, 4).map((c) => [...c.tokens]));
    const otherSeed = await model.generate({ ...request, seed: 8 }).all();
    expect(plain(otherSeed)).not.toEqual(plain(await model.generate(request).all()));
  });

  it('accepts an empty list of prompts', async () => {
    expect(await model.generate({ prompts: [] }).all()).toEqual([]);
    expect((await model.score({ groups: [] })).sums.length).toBe(0);
  });

  it('ends at a stop string', async () => {
    const offsets = Uint32Array.from({ length: 98 }, (_, i) => i);
    const bytes = Uint8Array.from({ length: 97 }, (_, i) => i + 32);
    const [free] = await model
      .generate({ prompts: [prompts[0]!], maxNewTokens: 12, stopIds: [], seed: 0 })
      .all();
    const text = String.fromCharCode(...[...free!.tokens].map((id) => id + 32));
    const [stopped] = await model
      .generate({
        prompts: [prompts[0]!],
        maxNewTokens: 12,
        stopIds: [],
        seed: 0,
        stopStrings: [text.slice(4, 6)],
        tokenBytes: { bytes, offsets },
      })
      .all();
    expect(stopped!.finishReason).toBe('stop');
    expect([...stopped!.tokens]).toEqual([
      ...free!.tokens.slice(0, text.indexOf(text.slice(4, 6)) + 2),
    ]);
  });
});

describe('the bytes of tokens', () => {
  const request = (tokenBytes: { bytes: Uint8Array; offsets: Uint32Array }) => ({
    prompts: [prompts[0]!],
    stopIds: [],
    stopStrings: ['never'],
    tokenBytes,
  });
  const table = (size: number) => ({
    bytes: new Uint8Array(size),
    offsets: new Uint32Array(98).fill(size, 1),
  });

  it('are copied once for all requests that are given the same', async () => {
    const tokenBytes = table(1 << 24);
    const before = process.memoryUsage().rss;
    const begun = Array.from({ length: 24 }, () => model.generate(request(tokenBytes)));
    const grown = process.memoryUsage().rss - before;
    for (const generation of begun) generation.cancel();
    await Promise.allSettled(begun.map(({ stats }) => stats));
    expect(grown).toBeLessThan(8 << 24);
  });

  it('are those of the request where they differ from those of the one before', async () => {
    const stops = (bytes: Uint8Array) =>
      model
        .generate({
          ...request({ bytes, offsets: Uint32Array.from({ length: 98 }, (_, i) => i) }),
          stopStrings: ['a'],
          maxNewTokens: 4,
        })
        .all();
    const [all] = await stops(new Uint8Array(97).fill('a'.charCodeAt(0)));
    const [none] = await stops(new Uint8Array(97).fill('b'.charCodeAt(0)));
    expect([all!.finishReason, none!.finishReason]).toEqual(['stop', 'length']);
  });
});

describe('concurrent generations', () => {
  const requests = Array.from({ length: 8 }, (_, i) => ({
    prompts: [{ tokens: [5 + i, 6, 7] }],
    maxNewTokens: 64,
    stopIds: [],
    seed: i,
    temperature: i % 3 === 0 ? 0 : 0.5 + i / 8,
    topP: i % 2 === 0 ? 1 : 0.9,
  }));
  /** Work that keeps the model busy while the test makes its calls, so that they begin together. */
  const busy = (on: Model): Promise<unknown> =>
    on.score({
      groups: Array.from({ length: 60 }, () => ({
        prompt: Array.from({ length: 200 }, (_, i) => i % 90),
        completions: [[3, 4]],
      })),
    });

  it('share their decode steps and have the bits that each has alone', async () => {
    const alone: Completion[][] = [];
    for (const one of requests) alone.push(await model.generate(one).all());
    const before = busy(model);
    const generations = requests.map((one) => model.generate(one));
    await before;
    const together = await Promise.all(generations.map((generation) => generation.all()));
    expect(together.map(plain)).toEqual(alone.map(plain));
    const stats = await Promise.all(generations.map((generation) => generation.stats));
    const begun = stats.map(({ firstStep }) => firstStep);
    expect(Math.max(...begun) - Math.min(...begun)).toBeLessThanOrEqual(1);
    const steps = Math.max(...stats.map(({ lastStep }) => lastStep)) - Math.min(...begun);
    expect(steps).toBeLessThanOrEqual(64); // one after another they take 8 · 63
    for (const { decodeSteps, completionTokens } of stats)
      expect([decodeSteps, completionTokens]).toEqual([63, 64]);
  });

  it('join what is already running, and leave it alone when they are aborted', async () => {
    const controller = new AbortController();
    const aborted = model.generate(endless, { signal: controller.signal });
    const failing = model.generate(endless, {
      onTokens: () => {
        throw new Error('mine');
      },
    });
    const alone = await Promise.all(requests.map((one) => model.generate(one).all()));
    controller.abort(new Error('enough'));
    await expect(aborted.all()).rejects.toThrow('enough');
    await expect(failing.all()).rejects.toThrow('mine');
    for (const [i, one] of requests.entries())
      expect(plain(await model.generate(one).all())).toEqual(plain(alone[i]!));
  });

  it('keep their order with other work: training between two of them', async () => {
    const mine = await Model.load(folder, { dtype: 'float32' });
    const trainer = await mine.trainer({ learningRate: 0.05, totalSteps: 1 });
    const alone = await mine.generate(requests[1]!).all();
    const first = mine.generate({ ...requests[1]!, maxNewTokens: 200 });
    const second = mine.generate(requests[1]!);
    const step = trainer.sftStep([{ prompt: [1, 2], completion: [3, 4] }]);
    const after = mine.generate(requests[1]!);
    expect(plain(await second.all())).toEqual(plain(alone));
    await step;
    expect((await after.stats).firstStep).toBe((await first.stats).lastStep);
    expect(plain(await after.all())).not.toEqual(plain(alone));
    expect(plain(await mine.generate(requests[1]!).all())).toEqual(plain(await after.all()));
    await mine.dispose();
  });

  it('returns the seed that was drawn, and repeats with it', async () => {
    const { seed: _, ...unseeded } = requests[1]!;
    const [first, second] = [model.generate(unseeded), model.generate(unseeded)];
    expect(first.seed).not.toBe(second.seed);
    const again = model.generate({ ...unseeded, seed: first.seed });
    expect(plain(await again.all())).toEqual(plain(await first.all()));
    expect(plain(await second.all())).not.toEqual(plain(await first.all()));
  });
});

describe('stopping', () => {
  it('an aborted signal rejects with its reason, and the model goes on', async () => {
    const controller = new AbortController();
    const generation = model.generate(endless, {
      signal: controller.signal,
      onTokens: () => controller.abort(),
    });
    await expect(generation.all()).rejects.toMatchObject({ name: 'AbortError' });
    await expect(generation.stats).rejects.toBe(controller.signal.reason);
    expect((await model.generate(request).all()).length).toBe(5);
  });

  it('work that has not begun is stopped at once', async () => {
    const running = model.generate(endless);
    const controller = new AbortController();
    const waiting = model.score(
      { groups: [{ prompt: [1], completions: [[2]] }] },
      { signal: controller.signal },
    );
    controller.abort(new Error('changed my mind'));
    await expect(waiting).rejects.toThrow('changed my mind');
    running.cancel();
    await expect(running.stats).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  it('leaving the loop stops the generation', async () => {
    const generation = model.generate({ ...endless, maxNewTokens: 2 });
    for await (const completion of generation) {
      expect(completion.tokens.length).toBe(2);
      break;
    }
    await expect(generation.stats).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  });

  it('leaving it before the first completion is read stops it too', async () => {
    const unread = model.generate(endless);
    await unread[Symbol.asyncIterator]().return!();
    await expect(unread.stats).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    const waiting = model.generate(endless);
    const reading = waiting[Symbol.asyncIterator]();
    const next = expect(reading.next()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await reading.return!();
    await next;
  });

  it('an async callback that rejects stops the work and is its error', async () => {
    const mine = new Error('mine');
    const failing = (() => Promise.reject(mine)) as () => void;
    await expect(model.generate(endless, { onTokens: failing }).all()).rejects.toBe(mine);
    await expect(model.generate(endless, { onProgress: failing }).stats).rejects.toBe(mine);
    const groups = [{ prompt: [1], completions: [[2]] }];
    await expect(model.score({ groups }, { onProgress: failing })).rejects.toBe(mine);
  });

  it('a callback that throws stops the work and is its error', async () => {
    const mine = new Error('mine');
    await expect(
      model
        .generate(endless, {
          onTokens: () => {
            throw mine;
          },
        })
        .all(),
    ).rejects.toBe(mine);
  });

  it('the event loop stays free', async () => {
    const generation = model.generate(endless);
    let ended = false;
    const end = generation.stats.catch(() => undefined).then(() => (ended = true));
    for (let tick = 0; tick < 16; tick++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(ended).toBe(false);
    generation.cancel();
    await end;
  });
});
