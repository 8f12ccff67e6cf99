/**
 * report.html: one file that opens anywhere. It makes no request and runs one script, which
 * searches the samples (its Content-Security-Policy forbids all else); it reads without that
 * script, in light and dark, wide and narrow. Every text that a model, a user or a file
 * supplied goes through `escapeHtml`.
 */
import { createHash } from 'node:crypto';
import { charts, tauHistogram } from './charts.js';
import { histogram } from './histogram.js';
import { escapeHtml } from './html.js';
import { readRun, type RunReport } from './metrics.js';
import { lineChart } from './plots.js';
import { PAGE_PROMPTS, sampleList } from './sample-list.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';
import { driftTable, rankingTable, resultsTable, speedTable, tasksTable } from './tables.js';

/**
 * The report of a run directory, finished or not. @throws DataError where a file cannot be read at
 * all.
 */
export function reportHtml(directory: string): string {
  return reportPage(readRun(directory, { examples: PAGE_PROMPTS }));
}

export function reportPage(run: RunReport): string {
  const curves = [...charts(run).map(lineChart), histogram(tauHistogram(run))];
  return page(
    `${run.name} · CREAM run`,
    `${header(run)}
<main>
${notices(run)}
${section('Results', resultsTable(run))}
${section('Tasks', tasksTable(run))}
${section('Rankings', rankingTable(run))}
${section('Drift', driftTable(run))}
${section('Speed', speedTable(run))}
${section('Curves', curves.filter(Boolean).join('\n'), 'charts')}
${section('Ranked samples', sampleList(run))}
${section('Recipe', run.recipe && `<pre class="recipe">${escapeHtml(run.recipe)}</pre>`)}
</main>`,
  );
}

/** A whole page around `body`, which is HTML; the title is text. */
export function page(title: string, body: string): string {
  const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const policy =
    `default-src 'none'; style-src ${sha256(STYLE)}; script-src ${sha256(SCRIPT)}; ` +
    "base-uri 'none'; form-action 'none'";
  return `<!doctype html>
<html lang="en">
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
<footer>Written by cream-lm. Method: CREAM, Consistency Regularized Self-Rewarding Language Models,
arXiv 2410.12735.</footer>
<script>${SCRIPT}</script>
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
  if (run.phases.length === 0)
    lines.unshift('Nothing is finished yet: the run directory holds no results.');
  else if (!run.finished)
    lines.unshift(
      'The run is not finished; this shows what it has so far. The same command goes on with it.',
    );
  return lines.length === 0
    ? ''
    : `<aside>${lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('')}</aside>`;
}

function when(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? time
    : `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
