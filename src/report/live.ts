/**
 * The report of a run while it works: a page whose parts follow the run directory, by server-sent
 * events. Nothing is written, and a directory that does not exist yet is waited for.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hono } from 'hono';
import { streamSSE, type SSEStreamingApi } from 'hono/streaming';
import { escapeHtml } from './html.js';
import { readRun } from './metrics.js';
import { page, partsHtml, reportParts, type Part } from './page.js';
import { PAGE_PROMPTS } from './sample-list.js';

/** Whatever a run does changes one of these files. */
const WATCHED = ['recipe.yaml', 'run.json', 'events.jsonl', 'metrics.jsonl', 'summary.json'];
const LOOK_EVERY_MS = 500;
/** The share of this machine's time that reading may take; a long run keeps the rest. */
const SHARE = 0.1;
/** A comment is sent to a silent connection this often, so that no proxy closes it. */
const ALIVE_EVERY_MS = 15_000;

export interface LiveOptions {
  /** Aborting it ends every stream. */
  signal: AbortSignal;
}

/** The server of `cream report --live`: the page at `/`, its changed parts at `/events`. */
export function createLiveApp(directory: string, { signal }: LiveOptions): Hono {
  const report = new LiveReport(directory);
  const app = new Hono();
  app.get('/', (c) => {
    report.look();
    return c.html(report.page());
  });
  app.get('/favicon.ico', (c) => c.body(null, 204));
  app.get('/events', (c) => {
    const since = Number(c.req.header('last-event-id') ?? c.req.query('since') ?? 0) || 0;
    return streamSSE(c, (stream) => follow(report, stream, since, signal));
  });
  return app;
}

async function follow(
  report: LiveReport,
  stream: SSEStreamingApi,
  since: number,
  signal: AbortSignal,
): Promise<void> {
  let version = since;
  let told = performance.now();
  while (!stream.aborted && !signal.aborted) {
    report.look();
    if (report.version !== version) {
      const data = JSON.stringify(report.since(version));
      version = report.version;
      await stream.writeSSE({ event: 'parts', id: String(version), data });
      told = performance.now();
    } else if (performance.now() - told > ALIVE_EVERY_MS) {
      await stream.write(':\n\n');
      told = performance.now();
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
  }
  if (signal.aborted && !stream.aborted) await stream.writeSSE({ event: 'end', data: '' });
}

/** The parts of a run's page, and when each changed. */
class LiveReport {
  version = 0;
  private parts: { id: string; html: string; version: number }[] = [];
  private title = '';
  private seen: string | undefined;
  private notBefore = 0;

  constructor(private readonly directory: string) {}

  /** Reads the run again if it has changed. */
  look(): void {
    const began = performance.now();
    const now = this.signature();
    if (now === this.seen || began < this.notBefore) return;
    this.seen = now;
    const before = new Map(this.parts.map((part) => [part.id, part]));
    const parts = this.read();
    const changed = parts.some(([id, html]) => before.get(id)?.html !== html);
    if (changed) this.version++;
    this.parts = parts.map(([id, html]) => {
      const known = before.get(id);
      return known?.html === html ? known : { id, html, version: this.version };
    });
    this.notBefore = performance.now() + (performance.now() - began) / SHARE;
  }

  page(): string {
    const body = partsHtml(this.parts.map(({ id, html }) => [id, html]));
    return page(this.title, body, { version: this.version });
  }

  /** Parts that changed after `version`; all for a version that this server has not sent. */
  since(version: number): Part[] {
    const from = version > this.version ? 0 : version;
    return this.parts.filter((part) => part.version > from).map(({ id, html }) => [id, html]);
  }

  private read(): Part[] {
    try {
      const run = readRun(this.directory, { examples: PAGE_PROMPTS });
      this.title = `${run.name} · CREAM run`;
      return reportParts(run);
    } catch (error) {
      const text = `The run cannot be read: ${(error as Error).message}`;
      return this.parts.map(({ id, html }): Part =>
        id === 'notices' ? [id, `<aside><p>${escapeHtml(text)}</p></aside>`] : [id, html],
      );
    }
  }

  private signature(): string {
    return WATCHED.map((name) => {
      const info = statSync(join(this.directory, name), { throwIfNoEntry: false });
      return info ? `${info.ino} ${info.size} ${info.mtimeMs}` : '-';
    }).join();
  }
}
