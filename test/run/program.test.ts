/** Runs of a Node program: prompts from memory, and a rule that ends a run. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PromptRecord } from '../../src/data/records.js';
import type { PromptRow } from '../../src/run/given-prompts.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { run } from '../../src/run/run.js';
import type { IterationSummary } from '../../src/run/summary.js';
import { TINY, tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const GIVEN = ['prompts.source=program', 'prompts.count=2'];
const questions = (count: number) => Array.from({ length: count }, (_, i) => `What is ${i} + 1?`);
const failure = (work: Promise<unknown>) =>
  work.then(
    () => '',
    (error: unknown) => (error as Error).message,
  );

describe('prompts of a program', () => {
  it('come from an array of texts and rows', async () => {
    const rows: PromptRow[] = [
      ...questions(1),
      { id: 'mine', prompt: [{ role: 'user', content: 'Say hello.' }], answer: 'hello' },
    ];
    const ran = await tinyRun(GIVEN, { prompts: rows });
    const prompts = ran.records<PromptRecord>('iteration-1/prompts.jsonl');
    expect(prompts.map(({ prompt }) => prompt.at(-1)!.content).sort()).toEqual([
      'Say hello.',
      'What is 0 + 1?',
    ]);
    expect(ran.text('iteration-1/gold.jsonl')).toContain('"id":"mine","answer":"hello"');
  });

  it('come from an async iterable, read once; a resumed run keeps them', async () => {
    let read = 0;
    async function* prompts() {
      for (const question of questions(4)) {
        await Promise.resolve();
        read++;
        yield question;
      }
    }
    const directory = join(temporaryFolder(), 'run');
    const stop = new AbortController();
    const first = tinyRun(GIVEN, {
      directory,
      prompts: prompts(),
      signal: stop.signal,
      onEvent: ({ type }) => {
        if (type === 'stage_finished') stop.abort();
      },
    });
    expect(await failure(first)).not.toBe('');
    expect(read).toBe(4);
    const ran = await tinyRun(GIVEN, { directory });
    expect(read).toBe(4);
    expect(readFileSync(join(directory, 'given-prompts.jsonl'), 'utf8').split('\n')).toHaveLength(
      5,
    );
    const whole = await tinyRun(GIVEN, { prompts: questions(4) });
    for (const name of ['prompts.jsonl', 'completions.jsonl', 'steps.jsonl'])
      expect(ran.text(`iteration-1/${name}`)).toBe(whole.text(`iteration-1/${name}`));
  });

  it('are refused where the recipe names other ones, missing, empty or no prompts', async () => {
    expect(await failure(tinyRun([], { prompts: questions(4) }))).toMatch(
      /prompts\.source is "builtin", but run\(\) was given prompts/,
    );
    expect(await failure(tinyRun(GIVEN))).toMatch(/pass their prompts to run\(\) as `prompts`/);
    expect(await failure(tinyRun(GIVEN, { prompts: [] }))).toMatch(/no prompts/);
    const wrong = [7] as unknown as string[];
    expect(await failure(tinyRun(GIVEN, { prompts: wrong }))).toMatch(/Prompt 0 .* is 7: give/);
    const broken = [{ id: 'x' }] as unknown as string[];
    expect(await failure(tinyRun(GIVEN, { prompts: broken }))).toMatch(
      /given-prompts\.jsonl line 1: no prompt found/,
    );
  });
});

describe('wrong prompts', () => {
  const CORRECT = questions(4);
  const ALL = ['prompts.source=program', 'prompts.count=4'];

  it.each([
    ['empty', ['a', ''], /given-prompts\.jsonl line 2/],
    ['too few', ['a'], /holds 1 prompts/],
    ['longer than the context', [...questions(3), 'x'.repeat(2000)], /line 4\) is at least/],
  ])('that are %s can be corrected in the next call', async (_, wrong, message) => {
    const directory = join(temporaryFolder(), 'run');
    expect(await failure(tinyRun(ALL, { directory, prompts: wrong }))).toMatch(message);
    const ran = await tinyRun(ALL, { directory, prompts: CORRECT });
    const whole = await tinyRun(ALL, { prompts: CORRECT });
    expect(ran.text('iteration-1/prompts.jsonl')).toBe(whole.text('iteration-1/prompts.jsonl'));
  });

  it('of a file can be corrected, too', async () => {
    const folder = temporaryFolder();
    const [directory, file] = [join(folder, 'run'), join(folder, 'prompts.jsonl')];
    const write = (prompts: string[]) =>
      writeFileSync(file, prompts.map((prompt) => JSON.stringify({ prompt })).join('\n'));
    const settings = [`prompts.source=${file}`, 'prompts.count=4'];
    write([...questions(3), 'x'.repeat(2000)]);
    expect(await failure(tinyRun(settings, { directory }))).toMatch(/line 4\) is at least/);
    write(CORRECT);
    const stop = new AbortController();
    const begun = tinyRun(settings, {
      directory,
      signal: stop.signal,
      onEvent: ({ type }) => void (type === 'stage_finished' && stop.abort()),
    });
    await expect(begun).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    write(questions(5));
    expect(await failure(tinyRun(settings, { directory }))).toMatch(/different content/);
  });
});

describe('a run that is stopped', () => {
  const never = () => new Promise<never>(() => {});
  const interrupted = { code: 'ERR_INTERRUPTED' };

  it('does not wait for the next prompt', async () => {
    const stop = new AbortController();
    let closed = false;
    async function* stalled() {
      try {
        yield 'What is 1 + 1?';
        stop.abort();
        yield 'What is 1 + 2?';
        yield await never();
      } finally {
        closed = true;
      }
    }
    const stopped = tinyRun(GIVEN, { prompts: stalled(), signal: stop.signal });
    await expect(stopped).rejects.toMatchObject(interrupted);
    expect(closed).toBe(true);
    const later = new AbortController();
    const silent = {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          later.abort();
          return never();
        },
      }),
    };
    await expect(tinyRun(GIVEN, { prompts: silent, signal: later.signal })).rejects.toMatchObject(
      interrupted,
    );
  });

  it('does not wait for `until`', async () => {
    const settings = ['iterations=2', 'prompts.count=2'];
    const directory = join(temporaryFolder(), 'run');
    const stopIn = () => {
      const stop = new AbortController();
      const until = () => {
        stop.abort();
        return never();
      };
      return { directory, signal: stop.signal, until };
    };
    await expect(tinyRun(settings, stopIn())).rejects.toMatchObject(interrupted);
    await tinyRun(settings, { directory, until: () => true });
    await expect(tinyRun(settings, stopIn())).rejects.toMatchObject(interrupted);
  });

  it('is stopped by return(), before its first event or while one is awaited', async () => {
    const directory = join(temporaryFolder(), 'run');
    const recipe = parseRecipe(TINY, 'tiny.yaml', GIVEN);
    const silent = { [Symbol.asyncIterator]: () => ({ next: never }) };
    await run(recipe, { directory, prompts: silent }).return();
    expect(existsSync(directory)).toBe(false);
    const events = run(recipe, { directory, prompts: silent });
    const next = expect(events.next()).rejects.toMatchObject(interrupted);
    await events.return();
    await next;
    const ran = await tinyRun(GIVEN, { directory, prompts: questions(4) });
    expect(ran.events.at(-1)!.type).toBe('run_finished');
  });
});

describe('until', () => {
  const THREE = ['iterations=3', 'prompts.count=2'];

  it('ends a run as finished if it returns true; without it the run goes on', async () => {
    const seen: IterationSummary['phase'][] = [];
    const until = (row: IterationSummary) => {
      seen.push(row.phase);
      expect(row.iteration!.pairs).toBeGreaterThan(0);
      return row.phase === 2;
    };
    const ran = await tinyRun(THREE, { until });
    expect(seen).toEqual([1, 2]);
    expect(ran.events.at(-1)).toMatchObject({ type: 'run_finished', already: false });
    expect(existsSync(join(ran.directory, 'iteration-3'))).toBe(false);
    const again = await tinyRun(THREE, { directory: ran.directory, until });
    expect(again.events.at(-1)).toMatchObject({ type: 'run_finished', already: true });
    const more = await tinyRun(THREE, { directory: ran.directory });
    const whole = await tinyRun(THREE);
    for (const name of ['summary.json', 'iteration-3/steps.jsonl'])
      expect(more.text(name)).toBe(whole.text(name));
  });

  it('is not asked after the last iteration', async () => {
    const ran = await tinyRun(['prompts.count=2'], {
      until: () => Promise.reject(new Error('asked')),
    });
    const last = { type: 'run_finished', already: false };
    expect(ran.events.at(-1)).toMatchObject(last);
  });

  it('may be async, and its error stops the run', async () => {
    const until = () => Promise.reject(new Error('the metrics service is away'));
    expect(await failure(tinyRun(THREE, { until }))).toBe('the metrics service is away');
  });
});
