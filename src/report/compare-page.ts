/** The page of several runs: `cream report A B C`. */
import { C_SCALE } from './charts.js';
import { percent, signed, small } from './format.js';
import { escapeHtml } from './html.js';
import type { ComparedRun, MeanInterval, RunComparison } from './compare.js';
import type { PhaseReport } from './metrics.js';
import { page, section } from './page.js';
import { lineChart, type Chart } from './plots.js';
import { accuracyCell, table } from './tables.js';

/** Longer labels are written once, with a number that stands for them elsewhere. */
const SHORT_LABEL = 16;

/** The HTML page that compares runs. */
export function comparePage(compared: RunComparison): string {
  const { runs } = compared;
  const names = namesOf(runs);
  const title = runs.length > 4 ? `${runs.length} runs` : runs.map(({ label }) => label).join(', ');
  return page(
    `${title} · CREAM runs`,
    `<header><h1>${escapeHtml(title)}</h1></header>
<main>
${section('Last models', lastTable(compared, names))}
${section('Over seeds', seedTable(compared))}
${section('Paired differences', pairTable(compared, names))}
${section('Curves', curves(compared, names).map(lineChart).filter(Boolean).join('\n'), 'charts')}
${section('Recipe keys that differ', keyTable(compared, names))}
</main>`,
  );
}

type Names = ReadonlyMap<string, string>;

/** The short name that stands for each label. */
function namesOf(runs: readonly ComparedRun[]): Names {
  const short = runs.every(({ label }) => label.length <= SHORT_LABEL);
  return new Map(runs.map(({ label }, i) => [label, short ? label : `run ${i + 1}`]));
}

const fixed = (value: number | null | undefined, digits: number): string =>
  value == null ? '–' : value.toFixed(digits);

function lastTable({ runs }: RunComparison, names: Names): string {
  return table(
    [
      '',
      'Phase',
      'Accuracy <small>95 % interval</small>',
      'Consistency C',
      'Pairs',
      'KL to the base <small>nats per token</small>',
      'Mean tokens <small>sampled, in evaluation</small>',
    ],
    runs.map(({ label, report, last }) => {
      const ranking = report.phases.findLast((phase) => phase.ranking)?.ranking;
      const name = names.get(label)!;
      return [
        name === label ? label : `${name}: ${label}`,
        escapeHtml(last?.label ?? '–'),
        accuracyCell(last?.accuracy ?? null),
        fixed(ranking?.consistency, 3),
        ranking ? String(ranking.pairs) : '–',
        fixed(ranking?.kl_token, 4),
        `${fixed(ranking?.mean_length, 0)}, ${fixed(last?.answerTokens, 0)}`,
      ];
    }),
  );
}

function seedTable({ groups }: RunComparison): string {
  if (groups.length < 2 && !groups.some(({ runs }) => runs.length > 1)) return '';
  return `${table(
    [
      '',
      'Runs <small>finished</small>',
      'Accuracy of the last models <small>95 % interval</small>',
      'Consistency C <small>95 % interval</small>',
      'Reward margin <small>95 % interval</small>',
    ],
    groups.map(({ label, runs, finished, accuracy, consistency, margin }) => [
      label,
      `${runs.length} <small>${finished}</small>`,
      overSeeds(accuracy, percent),
      overSeeds(consistency, (value) => value.toFixed(3)),
      overSeeds(margin, small),
    ]),
  )}
<p class="note">Runs whose recipes differ in their seeds alone are one row. The interval is
Student's t over seeds; it covers the choice of the seeds, not that of the questions.</p>`;
}

function overSeeds(value: MeanInterval | null, format: (value: number) => string): string {
  if (value === null) return '–';
  const { mean, low, high } = value;
  return (
    `<b>${format(mean)}</b>` +
    (low === null || high === null ? '' : ` <small>${format(low)} to ${format(high)}</small>`)
  );
}

function pairTable({ pairs }: RunComparison, names: Names): string {
  if (pairs.length === 0) return '';
  return `${table(
    ['', 'Questions', 'Difference <small>95 % interval</small>', 'p', 'p <small>corrected</small>'],
    pairs.map(({ a, b, comparison: c, adjusted }) => [
      `${names.get(b)} − ${names.get(a)}`,
      String(c.questions),
      `<b>${signed(c.difference * 100, 1)}</b> ` +
        `<small>${signed(c.low * 100, 1)} to ${signed(c.high * 100, 1)}</small>`,
      c.p.toFixed(3),
      adjusted.toFixed(3),
    ]),
  )}
<p class="note">The last models on the questions that both answered, in points of accuracy:
Tango's score interval, McNemar's exact test, and its p corrected for the number of rows by Holm's
method.</p>`;
}

/** The shorter of the two, runs or keys, has the columns. */
function keyTable({ runs, differing }: RunComparison, names: Names): string {
  if (differing.length === 0) return '';
  const labels = runs.map(({ label }) => names.get(label)!);
  const html =
    runs.length > differing.length
      ? table(
          ['', ...differing.map(({ key }) => escapeHtml(key))],
          labels.map((name, i) => [name, ...differing.map(({ values }) => escapeHtml(values[i]!))]),
        )
      : table(
          ['', ...labels.map(escapeHtml)],
          differing.map(({ key, values }) => [key, ...values.map(escapeHtml)]),
        );
  return `<div class="keys">${html}</div>`;
}

/** One curve per run; runs of one setting have one colour. */
function curves({ runs, groups }: RunComparison, names: Names): Chart[] {
  const labels = [
    ...new Set(runs.flatMap(({ report }) => report.phases.map(({ label }) => label))),
  ];
  const series = (value: (phase: PhaseReport) => number | null | undefined): Chart['series'] =>
    runs.map(({ label, report }) => ({
      name: names.get(label)!,
      colour: groups.findIndex((group) => group.runs.includes(label)),
      points: report.phases.flatMap((phase) => {
        const y = value(phase);
        return y == null ? [] : [{ x: labels.indexOf(phase.label), y }];
      }),
    }));
  return [
    {
      title: 'Accuracy',
      note: 'Share of the test questions answered right.',
      yLabel: 'accuracy',
      categories: labels,
      format: percent,
      series: series(({ accuracy }) => accuracy?.accuracy),
    },
    {
      title: 'Consistency',
      note: `Agreement of two successive models: ${C_SCALE}`,
      yLabel: 'C',
      categories: labels,
      format: (y) => y.toFixed(2),
      include: [0, 1],
      series: series(({ ranking }) => ranking?.consistency),
    },
    {
      title: 'Length',
      note: 'Mean tokens per sampled completion.',
      yLabel: 'tokens',
      categories: labels,
      format: (y) => y.toFixed(0),
      include: [0],
      series: series(({ ranking }) => ranking?.mean_length),
    },
    {
      title: 'KL to the base model',
      note: 'Mean log π − log π of the base over the sampled completions.',
      yLabel: 'nats per token',
      categories: labels,
      format: (y) => String(Number(y.toPrecision(3))),
      include: [0],
      series: series(({ ranking }) => ranking?.kl_token),
    },
  ];
}
