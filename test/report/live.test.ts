/** `cream report --live`: the page of a running run, before it begins and until it is finished. */
import { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { createLiveApp } from '../../src/report/live.js';
import { startCream } from '../support/cli.js';
import { CHROMIUM, open, startChromium } from '../support/chromium.js';
import { temporaryFolder } from '../support/tiny-model.js';
import { writeRun } from './fixture.js';

/** Events of a stream, as they come. */
async function* events(response: Response): AsyncGenerator<{ event: string; data: string }> {
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = new Map(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)]),
      );
      text = text.slice(end + 2);
      // A comment keeps a silent connection alive.
      const event = fields.get('event');
      if (event !== undefined) yield { event, data: fields.get('data') ?? '' };
    }
  }
}

const time = '2026-01-02T03:04:05.000Z';
const began = (stage: string, done: number) =>
  [
    { type: 'stage_started', stage, total: 8, unit: 'pairs', done: 0, iteration: 3, phase: 3 },
    { type: 'stage_progress', stage, total: 8, done, iteration: 3, phase: 3 },
  ]
    .map((event) => `${JSON.stringify({ time, ...event })}\n`)
    .join('');
const step = (loss: number) => {
  const row = { iteration: 3, stage: 'train', step: 5, stage_step: 1, loss };
  const columns = { 'rewards/margins': 0.125, learning_rate: 1e-6 };
  return `${JSON.stringify({ ...row, ...columns })}\n`;
};

describe('the live report', () => {
  it('sends the parts that change, from a missing directory to a finished run', async () => {
    const directory = join(temporaryFolder('cream-live-'), 'run');
    const stop = new AbortController();
    const app = createLiveApp(directory, { signal: stop.signal });
    const html = await (await app.request('/')).text();
    expect(html).toContain('The run has not begun');
    expect(html).toContain("connect-src 'self'");
    expect((await app.request('/favicon.ico')).status).toBe(204);
    const since = /data-version="(\d+)"/.exec(html)![1];
    const stream = events(await app.request(`/events?since=${since}`));
    const next = async () => {
      const { event, data } = (await stream.next()).value as { event: string; data: string };
      return { event, parts: new Map(data ? (JSON.parse(data) as [string, string][]) : []) };
    };
    mkdirSync(directory);
    writeFileSync(join(directory, 'recipe.yaml'), 'model: tiny\n');
    const recipe = await next();
    expect(recipe.event).toBe('parts');
    expect([...recipe.parts.keys()]).toEqual(['header', 'notices', 'recipe']);
    expect(recipe.parts.get('notices')).toContain('Nothing is finished yet');

    writeRun(directory);
    rmSync(join(directory, 'summary.json'));
    mkdirSync(join(directory, 'iteration-3'));
    writeFileSync(join(directory, 'metrics.jsonl'), step(0.5));
    appendFileSync(join(directory, 'events.jsonl'), began('train', 2));
    let { parts } = await next();
    while (!parts.get('notices')?.includes('2 of 8')) parts = (await next()).parts;
    expect(parts.get('notices')).toContain(
      'In progress: Iteration 3, train, 2 of 8 pairs, loss 0.5000, margin 0.1250, learning rate ' +
        '1e-6.',
    );
    const curves = (await (await app.request('/')).text()).match(
      /<h3>Preference loss.*?<\/figure>/s,
    );
    expect(curves![0]).toContain('Iteration 3');

    writeFileSync(join(directory, 'summary.json'), '{}');
    let finished = await next();
    while (!finished.parts.get('header')?.includes('finished')) finished = await next();
    expect(finished.parts.get('header')).toContain('finished');
    expect(finished.parts.get('notices')).not.toContain('In progress');
    expect(finished.parts.has('samples')).toBe(false);
    stop.abort();
    expect((await next()).event).toBe('end');
    expect((await stream.next()).done).toBe(true);
  });

  it('says what cannot be read, and goes on when it can', async () => {
    const directory = temporaryFolder('cream-live-');
    writeRun(directory);
    const app = createLiveApp(directory, { signal: new AbortController().signal });
    expect(await (await app.request('/')).text()).toContain('Ranked samples');
    rmSync(join(directory, 'events.jsonl'));
    mkdirSync(join(directory, 'events.jsonl'));
    let html = '';
    while (!html.includes('The run cannot be read')) html = await (await app.request('/')).text();
    expect(html).toContain('Ranked samples');
  });
});

describe('cream report --live', () => {
  it('serves until Ctrl-C, ends its streams and exits with 0', async () => {
    const directory = join(temporaryFolder('cream-live-'), 'none');
    const { child, finished } = startCream(['report', '--live', directory, '--port', '0']);
    const [line] = (await once(child.stdout!, 'data')) as [Buffer];
    const url = /at (http:\S+)/.exec(line.toString())![1]!;
    const page = await fetch(url);
    expect(page.status).toBe(200);
    const stream = await fetch(`${url}events?since=9`);
    child.kill('SIGINT');
    expect(await stream.text()).toContain('event: end');
    expect(await finished).toMatchObject({ code: 0 });
    expect(existsSync(directory)).toBe(false);
  });

  it('says that a port is taken, and that it follows one run', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const taken = await startCream(['report', '--live', 'x', '--port', String(port)]).finished;
    server.close();
    expect(taken).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`port ${port} is in use; choose another with --port`),
    });
    const two = await startCream(['report', '--live', 'x', 'y']).finished;
    expect(two).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--live follows one run'),
    });
  });

  (CHROMIUM === undefined ? it.skip : it)(
    'changes in the browser without a console line',
    async () => {
      const directory = join(temporaryFolder('cream-live-'), 'run');
      const { child, finished } = startCream(['report', '--live', directory, '--port', '0']);
      const [line] = (await once(child.stdout!, 'data')) as [Buffer];
      const url = /at (http:\S+)/.exec(line.toString())![1]!;
      const browser = await startChromium();
      try {
        const { page, console } = await open(browser, url);
        expect(await page.$eval('#notices', (box) => box.textContent)).toContain('has not begun');
        writeRun(directory);
        await page.waitForSelector('.samples details');
        await page.click('.samples details summary');
        appendFileSync(join(directory, 'iteration-2/answers.jsonl'), 'cut');
        appendFileSync(join(directory, 'events.jsonl'), `{"time":"${time}","type":"warning"}\n`);
        await page.waitForFunction(() =>
          document.querySelector('#notices')!.textContent.includes('could not be read'),
        );
        expect(await page.$eval('.samples details', (item) => item.open)).toBe(true);
        await page.type('.samples input', 'Thinking');
        expect(await page.$eval('.samples output', (output) => output.textContent)).toBe(
          '12 prompts',
        );
        child.kill('SIGINT');
        await finished;
        await new Promise((resolve) => setTimeout(resolve, 500));
        expect(console).toEqual([]);
      } finally {
        await browser.close();
      }
    },
  );
});
