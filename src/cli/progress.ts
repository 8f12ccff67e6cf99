/**
 * Progress on the terminal: one line per running stage, with rate and ETA; without a terminal,
 * plain lines, at most one every few seconds. Only this file and table.ts write to a terminal.
 * Progress goes to stderr, so that stdout stays free for results.
 */
import colours from 'picocolors';
import { withoutControls } from '../files/secrets.js';
import type { ModelProgress } from '../models/resolve.js';
import type { RunEvent } from '../run/events.js';
import type { StepRecord } from '../run/stages/objective.js';
import type { Phase } from '../run/store.js';

const PLAIN_EVERY_MS = 5_000;
const DRAW_EVERY_MS = 80;

export interface Stream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** The label of a stage's line. */
export interface StageLabel {
  group: string;
  stage: string;
  unit: string;
  done: number;
  total: number;
}

interface Moving extends StageLabel {
  began: number;
  /** `done` at the start. */
  from: number;
  tokens: number;
  /** The newest metrics of training. */
  figures: string;
}

/**
 * The progress of a command on stderr: one line that is redrawn on a terminal, whole lines
 * elsewhere.
 */
export class Progress {
  private readonly tty: boolean;
  private current: Moving | undefined;
  private drawn = 0;
  private readonly warned = new Set<string>();

  constructor(
    private readonly stream: Stream = process.stderr,
    private readonly now: () => number = () => performance.now(),
    private readonly quiet = false,
  ) {
    this.tty = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  /** Prints a permanent line. */
  say(line: string): void {
    if (!this.quiet) this.write(line);
  }

  private write(line: string): void {
    this.clear();
    this.stream.write(`${line}\n`);
    this.draw(true);
  }

  warn(message: string): void {
    this.write(`${colours.yellow('warning')} ${withoutControls(message)}`);
  }

  /** A warning that a command with two models would print for each of them. */
  warnOnce(message: string): void {
    if (this.warned.has(message)) return;
    this.warned.add(message);
    this.warn(message);
  }

  start(label: StageLabel): void {
    if (this.quiet) return;
    this.current = { ...label, began: this.now(), from: label.done, tokens: 0, figures: '' };
    this.drawn = this.tty ? 0 : this.now();
    if (!this.tty && label.done > 0)
      this.stream.write(
        `${heading(label)} resumes at ${label.done} of ${label.total} ${label.unit}\n`,
      );
    this.draw(true);
  }

  update(done: number, total: number, tokens: number): void {
    if (!this.current) return;
    Object.assign(this.current, { done, total, tokens });
    this.draw(false);
  }

  /** Shows the newest step of training on the line. */
  showStep(step: StepRecord): void {
    if (this.current) this.current.figures = figuresOf(step);
  }

  /** Replaces the stage's line by a summary. */
  finish(seconds: number, tokens: number, note: string): void {
    if (!this.current) return;
    const { unit, total } = this.current;
    const rate = tokens > 0 && seconds > 0 ? `, ${thousands(tokens / seconds)} tok/s` : '';
    const line =
      `${heading(this.current)} ${thousands(total)} ${unit} in ` +
      `${duration(seconds)}${rate}${note ? colours.dim(` · ${note}`) : ''}`;
    this.stop();
    this.stream.write(`${line}\n`);
  }

  /** Removes the progress line. */
  stop(): void {
    this.clear();
    this.current = undefined;
  }

  private draw(force: boolean): void {
    if (!this.current) return;
    const now = this.now();
    if (this.tty) {
      if (!force && now - this.drawn < DRAW_EVERY_MS) return;
      this.drawn = now;
      this.stream.write(
        `\r\x1b[2K${clip(moving(this.current, now), (this.stream.columns || 100) - 1)}`,
      );
    } else if (now - this.drawn >= PLAIN_EVERY_MS) {
      this.drawn = now;
      this.stream.write(`${moving(this.current, now)}\n`);
    }
  }

  private clear(): void {
    if (this.tty && this.current) this.stream.write('\r\x1b[2K');
  }
}

/** Shows a run's events. */
export function showEvent(progress: Progress, event: RunEvent): void {
  switch (event.type) {
    case 'run_started':
      return progress.say(`${event.resumed ? 'Resuming' : 'Run in'} ${event.directory}`);
    case 'ranks_joined':
      return progress.say(ranksLine(event));
    case 'model_loaded':
      return progress.say(
        `${'model'.padEnd(12)} ${event.path} · ${thousands(event.parameters / 1e6)} M ` +
          `parameters, ${event.dtype}${event.device === 'cpu' ? '' : ` on ${event.device}`}, ` +
          `loaded in ${event.seconds.toFixed(1)} s`,
      );
    case 'stage_started':
      return progress.start({
        group: groupName(event.phase),
        stage: event.stage,
        unit: event.unit,
        done: event.done,
        total: event.total,
      });
    case 'stage_kept':
      return progress.say(
        `${heading({ group: groupName(event.phase), stage: event.stage })} ` +
          `${colours.dim('done before')}`,
      );
    case 'stage_progress':
      return progress.update(event.done, event.total, event.tokens);
    case 'stage_finished':
      return progress.finish(event.seconds, event.tokens, event.note);
    case 'warning':
    case 'rows_left_out':
      return progress.warn(event.message);
    case 'stopping':
      return progress.say(event.message);
    case 'step':
      return progress.showStep(event.metrics);
    case 'checkpoint_saved':
    case 'iteration_finished':
    case 'run_finished':
      return;
  }
}

/** torchrun sets OMP_NUM_THREADS=1, which does not hold for a run. */
function ranksLine({
  ranks,
  threads,
  ompThreads,
}: Extract<RunEvent, { type: 'ranks_joined' }>): string {
  const ignored =
    ompThreads === null || Number(ompThreads) === threads
      ? ''
      : ` (the recipe's threads; OMP_NUM_THREADS=${ompThreads} does not apply)`;
  const each = threads === 1 ? '1 thread' : `${threads} threads`;
  return `${'ranks'.padEnd(12)} ${ranks} processes, ${each} each${ignored}`;
}

/** The name of a phase in the first column: `sft`, `base model` or `iteration 2`. */
export function groupName(phase: Phase): string {
  return phase === 'sft' ? 'sft' : phase === 0 ? 'base model' : `iteration ${phase}`;
}

const heading = ({ group, stage }: { group: string; stage: string }): string =>
  `${group.padEnd(12)} ${colours.bold(stage.padEnd(8))}`;

/** `loss 0.6931, margin 0.0021, lr 9.8e-7` */
function figuresOf({ loss, learning_rate, 'rewards/margins': margin }: StepRecord): string {
  const shown = [
    `loss ${loss.toFixed(4)}`,
    ...(margin === undefined ? [] : [`margin ${margin.toFixed(4)}`]),
    `lr ${learning_rate === 0 ? 0 : learning_rate.toExponential(1)}`,
  ];
  return shown.join(', ');
}

/** `iteration 1  sample   [#####-----]  48/96 completions, 310 tok/s, ETA 0:21` */
function moving(stage: Moving, now: number): string {
  const { done, total, unit, tokens, from, began, figures } = stage;
  const seconds = (now - began) / 1000;
  const width = 20;
  const filled = total > 0 ? Math.min(width, Math.floor((done / total) * width)) : 0;
  const parts = [`${done}/${total} ${unit}`];
  if (figures !== '') parts.push(figures);
  if (tokens > 0 && seconds > 0.5) parts.push(`${thousands(tokens / seconds)} tok/s`);
  if (done > from && done < total)
    parts.push(`ETA ${duration(((total - done) * seconds) / (done - from))}`);
  return (
    `${heading(stage)} [${'#'.repeat(filled)}${'-'.repeat(width - filled)}] ` +
    `${parts.join(', ')}`
  );
}

/** Cuts to `width` visible characters, ignoring colour codes. */
function clip(text: string, width: number): string {
  let visible = 0;
  let end = 0;
  for (const token of text.matchAll(/\x1b\[[0-9;]*m|[^\x1b]/g)) {
    if (!token[0].startsWith('\x1b') && ++visible > width) return `${text.slice(0, end)}\x1b[0m`;
    end = token.index + token[0].length;
  }
  return text;
}

/** 75 → `1:15`, 4000 → `1:06:40`, 3.42 → `3.4 s`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  const tail = String(whole % 60).padStart(2, '0');
  return minutes < 60
    ? `${minutes}:${tail}`
    : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${tail}`;
}

/** 1234567 → `1,234,567`; small numbers keep one decimal if it is significant. */
export function thousands(value: number): string {
  return value >= 100 || Number.isInteger(value)
    ? Math.round(value).toLocaleString('en-US')
    : value.toFixed(1);
}

/** Shows a model's download; prints a plain line if it takes long or if there is a note. */
export function modelProgress(progress: Progress): (p: ModelProgress) => void {
  let file = '';
  return ({ stage, file: name, received, total }) => {
    if (stage === 'note') return progress.say(name);
    if (file !== `${stage} ${name}`) {
      file = `${stage} ${name}`;
      progress.start({
        group: 'model',
        stage,
        unit: `MB of ${name}`,
        done: 0,
        total: Math.ceil((total ?? 0) / 1e6),
      });
    }
    progress.update(Math.floor(received / 1e6), Math.ceil((total ?? received) / 1e6), 0);
    if (total !== null && received >= total) progress.stop();
  };
}
