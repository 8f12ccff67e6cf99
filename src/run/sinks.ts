/**
 * Metrics for other programs: a callback and sinks. A sink gets the rows of metrics.jsonl in order.
 * sinks.json keeps how many it has taken, so that a resumed run continues with the next one. A
 * failing sink does not fail the run: its rows are kept and sent again later, and the run reports
 * at the end how many were never taken.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { heeded, warnOfLate } from '../files/callback.js';
import { RunError, untilAborted } from './errors.js';
import type { MetricsRow } from './metrics-log.js';
import { readOwnText } from './own-files.js';
import type { Recipe } from './recipe.js';
import { SINKS, writeAtomic } from './store.js';

/** A destination of the metrics of a run, besides its directory. */
export interface MetricsSink {
  /** Identifies the sink among those of a run; the same in every call of the run. */
  name: string;
  /** Called before the first rows of this process; `taken` rows were sent by earlier calls. */
  open?(run: { directory: string; recipe: Recipe; taken: number }): unknown;
  /**
   * Takes rows in their order; `first` is the number of the first one, from 0, among all rows of
   * the run. The promise is awaited. If it throws, the same rows are sent again.
   */
  log(rows: readonly MetricsRow[], first: number): unknown;
  /** Called at the end of the call of run(), if open() succeeded. */
  close?(end: { finished: boolean }): unknown;
}

/** Most rows of one call of log(). */
const MOST_ROWS = 200;
const RETRY_MS = 1_000;
const MOST_RETRY_MS = 60_000;
const LAST_WAIT_MS = 30_000;
const STOPPED_WAIT_MS = 5_000;

interface OutletOptions {
  directory: string;
  sinks?: readonly MetricsSink[];
  onMetrics?: (row: MetricsRow) => void;
  /** Shortens the last wait. */
  signal?: AbortSignal;
  /** How long a finished run waits for its sinks. */
  lastWaitMs?: number;
  /** How long they have once the signal is aborted. */
  stoppedWaitMs?: number;
}

interface FeedOptions {
  directory: string;
  recipe: Recipe;
  wait: LastWait;
  warn: (message: string) => void;
  save: (taken: number) => Promise<void>;
}

/** The callback and the sinks that get the rows of a run. */
export class Outlets {
  private readonly feeds: Feed[];
  private readonly taken: Record<string, number>;
  private saving: Promise<void> = Promise.resolve();
  private ended = false;
  private callbackFailed = false;
  private closed = false;
  private readonly onMetrics: (row: MetricsRow) => void;
  private toldUnsaved = false;

  /** @throws RunError if two sinks have the same name */
  constructor(
    recipe: Recipe,
    options: OutletOptions,
    private readonly warn: (message: string) => void,
  ) {
    const { directory, signal } = options;
    const { lastWaitMs = LAST_WAIT_MS, stoppedWaitMs = STOPPED_WAIT_MS } = options;
    const sinks = options.sinks ?? [];
    this.onMetrics = heeded(options.onMetrics ?? (() => {}), (error) => this.callbackFails(error));
    const names = sinks.map(({ name }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined)
      throw new RunError('ERR_RECIPE', `Two sinks are called '${twice}': give each its own name.`);
    const path = join(directory, SINKS);
    this.taken = sinks.length > 0 ? readTaken(path) : {};
    this.feeds = sinks.map((sink) => {
      const save = (taken: number): Promise<void> => {
        this.taken[sink.name] = taken;
        const text = `${JSON.stringify(this.taken, null, 2)}\n`;
        return (this.saving = this.saving
          .then(() => writeAtomic(path, text))
          .catch((error: unknown) => this.tellUnsaved(error)));
      };
      return new Feed(sink, this.taken[sink.name] ?? 0, {
        directory,
        recipe,
        wait: { lastWaitMs, stoppedWaitMs, signal },
        warn,
        save,
      });
    });
  }

  /** Adds the next row of the run. `before`: whether an earlier call wrote it. */
  add(row: MetricsRow, before: boolean): void {
    for (const feed of this.feeds) feed.add(row);
    if (!before && !this.callbackFailed) this.onMetrics(row);
  }

  private callbackFails(error: unknown): void {
    if (this.closed) return warnOfLate(error);
    if (this.callbackFailed) return;
    this.callbackFailed = true;
    this.warn(
      `onMetrics failed and is not called again: ${messageOf(error)} The run goes on; ` +
        'metrics.jsonl has all rows.',
    );
  }

  /** The sinks have the rows, so the run goes on; the next rows are saved with these. */
  private tellUnsaved(error: unknown): void {
    if (this.toldUnsaved) return;
    this.toldUnsaved = true;
    this.warn(
      `${messageOf(error)} If the run is resumed before it can be written, the sinks get rows ` +
        'again that they have taken.',
    );
  }

  /** Sends the remaining rows and closes the sinks; warns of a sink that still fails. */
  async end(finished: boolean): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await Promise.all(this.feeds.map((feed) => feed.end(finished)));
    this.closed = true;
  }
}

function readTaken(path: string): Record<string, number> {
  if (!existsSync(path)) return {};
  const text = readOwnText(path);
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, number] =>
        Number.isSafeInteger(entry[1]),
      ),
    );
  } catch (cause) {
    throw new RunError(
      'ERR_RUN_DATA',
      `${path} is damaged: remove it to send all rows to the sinks again.`,
      { cause },
    );
  }
}

class Feed {
  /** Rows of the run so far. */
  private rows = 0;
  private waiting: MetricsRow[] = [];
  private opened = false;
  private sending: Promise<void> | undefined;
  private failures = 0;
  private notBefore = 0;
  private lastError = '';

  constructor(
    private readonly sink: MetricsSink,
    /** Rows that the sink has taken. */
    private taken: number,
    private readonly options: FeedOptions,
  ) {}

  add(row: MetricsRow): void {
    if (this.rows++ < this.taken) return;
    this.waiting.push(row);
    if (performance.now() >= this.notBefore) this.sending ??= this.send();
  }

  async end(finished: boolean): Promise<void> {
    const { directory, warn, wait } = this.options;
    const late = await within(wait, (last) => this.sendAll(finished, last));
    if (this.waiting.length === 0 && this.lastError === '') return;
    const reason = this.lastError.replace(/\.$/, '') || late;
    warn(
      this.waiting.length === 0
        ? `The sink ${this.sink.name} took all rows, but did not close: ${reason}`
        : `The sink ${this.sink.name} did not take ${this.waiting.length} of ${this.rows} rows ` +
            `(${reason}). They are in ${directory}/metrics.jsonl, and the same call sends them ` +
            'again.',
    );
  }

  /** Tries three more times to send the remaining rows, then calls close(). */
  private async sendAll(finished: boolean, last: AbortSignal): Promise<void> {
    await this.sending;
    for (let tries = 0; this.waiting.length > 0 && tries < 3 && !last.aborted; tries++) {
      if (tries > 0) await sleep(RETRY_MS * tries, undefined, { signal: last }).catch(() => {});
      await (this.sending ??= this.send());
    }
    if (this.waiting.length > 0 || !this.opened) return;
    try {
      await this.sink.close?.({ finished });
    } catch (error) {
      this.lastError = messageOf(error);
    }
  }

  private async send(): Promise<void> {
    try {
      const { directory, recipe } = this.options;
      if (!this.opened) await this.sink.open?.({ directory, recipe, taken: this.taken });
      this.opened = true;
      while (this.waiting.length > 0) {
        const batch = this.waiting.slice(0, MOST_ROWS);
        await this.sink.log(batch, this.taken);
        this.waiting = this.waiting.slice(batch.length);
        await this.options.save((this.taken += batch.length));
      }
      this.failures = 0;
      this.lastError = '';
    } catch (error) {
      this.fail(error);
    } finally {
      this.sending = undefined;
    }
  }

  private fail(error: unknown): void {
    this.lastError = messageOf(error);
    if (this.failures++ === 0)
      this.options.warn(
        `The sink ${this.sink.name} failed: ${this.lastError} Its rows wait and are sent again; ` +
          'the run goes on.',
      );
    const wait = Math.min(MOST_RETRY_MS, RETRY_MS * 2 ** Math.min(10, this.failures - 1));
    this.notBefore = performance.now() + wait;
  }
}

/** How long a run that has ended waits for its sinks. */
interface LastWait {
  lastWaitMs: number;
  stoppedWaitMs: number;
  signal: AbortSignal | undefined;
}

/** Runs `work` at most as long as it may take. Returns what there is to say if it took longer. */
async function within(
  { lastWaitMs, stoppedWaitMs, signal }: LastWait,
  work: (last: AbortSignal) => Promise<void>,
): Promise<string> {
  const last = new AbortController();
  const timers: NodeJS.Timeout[] = [];
  const endIn = (ms: number): void =>
    void timers.push(setTimeout(() => last.abort(new Error(`no answer in ${ms / 1000} s`)), ms));
  const stop = (): void => endIn(stoppedWaitMs);
  endIn(lastWaitMs);
  if (signal?.aborted) stop();
  else signal?.addEventListener('abort', stop, { once: true });
  try {
    await untilAborted(work(last.signal), last.signal);
    return '';
  } catch (error) {
    return (error as Error).message;
  } finally {
    timers.forEach(clearTimeout);
    signal?.removeEventListener('abort', stop);
  }
}

function messageOf(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).split('\n')[0]!.trim();
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
