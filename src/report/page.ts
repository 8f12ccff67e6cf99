/**
 * report.html: one file that opens anywhere. It makes no request and runs one script, which
 * searches the samples (its Content-Security-Policy forbids all else); it reads without that
 * script, in light and dark, wide and narrow. Every text that a model, a user or a file
 * supplied goes through `escapeHtml`. The page of live.ts also asks its server for news.
 */
import { createHash } from 'node:crypto';
import { charts, tauHistogram } from './charts.js';
import { histogram } from './histogram.js';
import { small } from './format.js';
import { escapeHtml } from './html.js';
import { readRun, type RunReport, type WorkReport } from './metrics.js';
import { lineChart } from './plots.js';
import { PAGE_PROMPTS, sampleList } from './sample-list.js';
import { FOLLOW, SCRIPT } from './script.js';
import { STYLE } from './style.js';
import { driftTable, rankingTable, resultsTable, speedTable, tasksTable } from './tables.js';

/**
 * The report of a run directory, finished or not. @throws DataError if a file cannot be read at all
 */
export function reportHtml(directory: string): string {
  return reportPage(readRun(directory, { examples: PAGE_PROMPTS }));
}

/** The report as one HTML page without external files. */
export function reportPage(run: RunReport): string {
  return page(`${run.name} · CREAM run`, partsHtml(reportParts(run)));
}

/** A part of the page, replaced as a whole while the page follows its run. */
export type Part = readonly [id: string, html: string];

/** The parts of the page, in their order. */
export function reportParts(run: RunReport): Part[] {
  const curves = [...charts(run).map(lineChart), histogram(tauHistogram(run))];
  return [
    ['header', header(run)],
    ['notices', notices(run)],
    ['results', section('Results', resultsTable(run))],
    ['tasks', section('Tasks', tasksTable(run))],
    ['rankings', section('Rankings', rankingTable(run))],
    ['drift', section('Drift', driftTable(run))],
    ['speed', section('Speed', speedTable(run))],
    ['curves', section('Curves', curves.filter(Boolean).join('\n'), 'charts')],
    ['samples', section('Ranked samples', sampleList(run))],
    [
      'recipe',
      section('Recipe', run.recipe && `<pre class="recipe">${escapeHtml(run.recipe)}</pre>`),
    ],
  ];
}

export const partsHtml = (parts: readonly Part[]): string =>
  `<main>\n${parts.map(([id, html]) => `<div id="${id}">${html}</div>`).join('\n')}\n</main>`;

/** The address from which a page requests its newest parts. */
export interface Following {
  /** Number of the state of the run that the page shows; a newer state has a higher one. */
  version: number;
}

/**
 * A whole page around `body`, which is HTML; the title is text. A page that follows its run asks
 * its own server alone.
 */
export function page(title: string, body: string, following?: Following): string {
  const script = following ? SCRIPT + FOLLOW : SCRIPT;
  const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const policy =
    `default-src 'none'; style-src ${sha256(STYLE)}; script-src ${sha256(script)}; ` +
    (following ? "connect-src 'self'; img-src 'self'; " : '') +
    "base-uri 'none'; form-action 'none'";
  return `<!doctype html>
<html lang="en"${following ? ` data-version="${following.version}"` : ''}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
${body}
<footer>Written by cream-lm, which implements CREAM, Consistency Regularized Self-Rewarding Language
Models, arXiv 2410.12735.</footer>
<script>${script}</script>
</body>
</html>
`;
}

export const section = (title: string, body: string, kind = ''): string =>
  body ? `<section><h2>${title}</h2>\n<div class="${kind || 'plain'}">${body}</div></section>` : '';

function header(run: RunReport): string {
  const facts: [string, string][] = [
    ['Model', run.model ?? 'unknown'],
    ['State', run.finished ? 'finished' : 'not finished'],
    ...(run.started ? [['Started', when(run.started)] as [string, string]] : []),
    ...(run.ended
      ? [[run.finished ? 'Ended' : 'Last event', when(run.ended)] as [string, string]]
      : []),
    ...Object.entries(run.versions),
  ];
  const commands =
    `cream run ${run.directory}/recipe.yaml --out ${run.directory}\n` +
    `cream report ${run.directory}`;
  const list = facts.map(
    ([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return `<header><h1>${escapeHtml(run.name)}</h1>
<dl>${list.join('')}</dl>
<pre>${escapeHtml(commands)}</pre></header>`;
}

function notices(run: RunReport): string {
  const lines = [...run.leftOut.map(({ message }) => message), ...run.problems];
  if (run.working) lines.unshift(`In progress: ${workText(run.working)}.`);
  if (run.recipe === '' && run.phases.length === 0)
    lines.unshift('The run has not begun: there is no run directory yet.');
  else if (run.phases.length === 0)
    lines.unshift('Nothing is finished yet: the run directory holds no results.');
  else if (!run.finished)
    lines.unshift(
      'The run is not finished; this page shows its results so far. The same command resumes it.',
    );
  return lines.length === 0
    ? ''
    : `<aside>${lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('')}</aside>`;
}

/** `Iteration 1, train, 8 of 24 pairs, loss 0.6931, margin 0.0021, learning rate 9.8e-7` */
function workText({ label, stage, done, total, unit, step }: WorkReport): string {
  const figures: [string, number | null | undefined, (value: number) => string][] = [
    ['loss', step?.loss, (value) => value.toFixed(4)],
    ['margin', step?.margin, (value) => value.toFixed(4)],
    ['learning rate', step?.learningRate, small],
  ];
  return [
    label,
    stage,
    `${done} of ${total} ${unit}`,
    ...figures.flatMap(([name, value, format]) =>
      value == null ? [] : `${name} ${format(value)}`,
    ),
  ].join(', ');
}

function when(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? time
    : `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
