/** Results on stdout: tables, lines, JSON. With progress.ts the only file that writes to a terminal. */
import colours from 'picocolors';
import type { StageName } from '../run/events.js';
import type { IterationSummary } from '../run/summary.js';
import { thousands } from './progress.js';

export interface Output {
  write(text: string): unknown;
}

/** A line of result. */
export function printLine(line: string, out: Output = process.stdout): void {
  out.write(`${line}\n`);
}

/** A result for programs. */
export function printJson(value: unknown, out: Output = process.stdout): void {
  out.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** `cream: what went wrong`. */
export function printError(message: string, out: Output = process.stderr): void {
  out.write(`${colours.red('cream:')} ${message}\n`);
}

/** Columns padded to their widest cell; the first is text, the others align right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) => cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd();
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/** Tokens a second of each stage that ran in an iteration (0: base model and SFT). */
export type Speeds = ReadonlyMap<number, Partial<Record<StageName, number>>>;

/** The table at the end of a run: one row a model. */
export function runTable(rows: readonly IterationSummary[], speeds: Speeds): string {
  const header = ['model', 'accuracy', '95 % interval', 'mean C', 'pairs', 'margin', 'length', 'sample tok/s', 'score tok/s', 'train tok/s', 'eval tok/s'];
  return formatTable(header, rows.map((row) => {
    const { accuracy, iteration } = row;
    const number = typeof row.phase === 'number' ? row.phase : 0;
    const speed = (...stages: StageName[]) => {
      const value = stages.map((stage) => speeds.get(number)?.[stage]).find((v) => v !== undefined);
      return value === undefined ? '' : thousands(Math.round(value));
    };
    return [
      row.phase === 0 ? 'base' : row.phase === 'sft' ? 'sft' : `iteration ${row.phase}`,
      accuracy ? percent(accuracy.accuracy) : '',
      accuracy ? `${percent(accuracy.low)} – ${percent(accuracy.high)}` : '',
      iteration ? iteration.consistency.toFixed(3) : '',
      iteration ? `${iteration.pairs}/${iteration.prompts}` : '',
      iteration ? iteration.reward_margin.toFixed(4) : '',
      iteration ? iteration.mean_length.toFixed(0) : row.answer_tokens?.toFixed(0) ?? '',
      speed('sample'),
      speed('score'),
      row.phase === 0 ? '' : row.phase === 'sft' ? speed('sft') : speed('train'),
      row.phase === 'sft' ? '' : speed('evaluate'),
    ];
  }));
}

export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
