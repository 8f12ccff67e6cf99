/** Results on stdout: tables, lines, JSON. Only this file and progress.ts write to a terminal. */
import colours from 'picocolors';
import { average } from '../data/average.js';
import { withoutControls, withoutSecrets } from '../files/secrets.js';
import type { MeanInterval, SeedGroup } from '../report/compare.js';
import type { PhaseReport } from '../report/metrics.js';
import { thousands } from './progress.js';

export interface Output {
  write(text: string): unknown;
}

/** Prints one line of the result. */
export function printLine(line: string, out: Output = process.stdout): void {
  out.write(`${line}\n`);
}

let jsonPrinted = false;

/** Whether printJson() has printed to standard output. */
export const jsonIsPrinted = (): boolean => jsonPrinted;

/** Prints a result for programs. */
export function printJson(value: unknown, out: Output = process.stdout): void {
  jsonPrinted ||= out === process.stdout;
  out.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** Prints `cream: MESSAGE`, without passwords in URLs. */
export function printError(message: string, out: Output = process.stderr): void {
  out.write(`${colours.red('cream:')} ${withoutControls(withoutSecrets(message))}\n`);
}

/** Columns padded to their widest cell; the first is text, the others are right-aligned. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i]!.length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join(
    '\n',
  );
}

/**
 * The table of a run: one row per model. Margin is the mean of the last quarter of the training
 * steps.
 */
export function runTable(phases: readonly PhaseReport[]): string {
  const header = [
    'model',
    'accuracy',
    '95 % interval',
    'mean C',
    'pairs',
    'margin',
    'length',
    'sample tok/s',
    'score tok/s',
    'train tok/s',
    'eval tok/s',
  ];
  return formatTable(
    header,
    phases.map(({ label, accuracy, ranking, answerTokens, steps, stages }) => {
      const margins = steps.flatMap(({ margin }) => margin ?? []);
      const length = ranking?.mean_length ?? answerTokens;
      const speed = (...names: string[]) => {
        const stage = stages.find((s) => names.includes(s.stage) && s.tokens > 0 && s.seconds > 0);
        return stage ? thousands(Math.round(stage.tokens / stage.seconds)) : '';
      };
      return [
        label,
        accuracy ? percent(accuracy.accuracy) : '',
        accuracy ? `${percent(accuracy.low)} – ${percent(accuracy.high)}` : '',
        ranking?.consistency?.toFixed(3) ?? '',
        ranking ? `${ranking.pairs}/${ranking.prompts}` : '',
        margins.length > 0
          ? average(margins.slice(-Math.max(1, Math.round(margins.length / 4)))).toFixed(4)
          : '',
        length?.toFixed(0) ?? '',
        speed('sample'),
        speed('score'),
        speed('train', 'sft'),
        speed('evaluate'),
      ];
    }),
  );
}

export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/** One row per setting: means over its seeds, with their intervals. */
export function groupTable(groups: readonly SeedGroup[]): string {
  const over = (value: MeanInterval | null, format: (value: number) => string): string => {
    if (value === null) return '';
    const { mean, low, high } = value;
    return low === null || high === null
      ? format(mean)
      : `${format(mean)} (${format(low)} – ${format(high)})`;
  };
  return formatTable(
    ['setting', 'runs', 'accuracy (95 % over seeds)', 'mean C', 'margin'],
    groups.map(({ label, runs, finished, accuracy, consistency, margin }) => [
      label,
      finished === runs.length ? String(runs.length) : `${finished} of ${runs.length}`,
      over(accuracy, percent),
      over(consistency, (value) => value.toFixed(3)),
      over(margin, (value) => value.toFixed(4)),
    ]),
  );
}
