/**
 * report.html: one file that opens anywhere. No script, no request (its Content-Security-Policy forbids both), light and dark, wide and
 * narrow. Every text that a model, a user or a file supplied goes through `escapeHtml`.
 */
import { createHash } from 'node:crypto';
import { escapeHtml } from './html.js';
import { readRun, type PhaseReport, type RunReport } from './metrics.js';
import { lineChart, type Chart, type Point } from './plots.js';
import type { RankedPrompt, RankedSample } from './samples.js';
import { STYLE } from './style.js';

/** The report of a run directory, finished or not. @throws DataError where a file cannot be read at all. */
export function reportHtml(directory: string): string {
  return reportPage(readRun(directory));
}

export function reportPage(run: RunReport): string {
  const styleHash = createHash('sha256').update(STYLE).digest('base64');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(run.name)} · CREAM run</title>
<style>${STYLE}</style>
</head>
<body>
${header(run)}
<main>
${notices(run)}
${section('Results', resultsTable(run))}
${section('Speed', speedTable(run))}
${section('Curves', charts(run).map(lineChart).filter(Boolean).join('\n'), 'charts')}
${section('Ranked samples', samples(run))}
${section('Recipe', run.recipe && `<pre class="recipe">${escapeHtml(run.recipe)}</pre>`)}
</main>
<footer>Written by cream-lm. Method: CREAM, Consistency Regularized Self-Rewarding Language Models, arXiv 2410.12735.</footer>
</body>
</html>
`;
}

const section = (title: string, body: string, kind = ''): string => (body ? `<section><h2>${title}</h2>\n<div class="${kind || 'plain'}">${body}</div></section>` : '');

function header(run: RunReport): string {
  const facts: [string, string][] = [
    ['Model', run.model ?? 'unknown'],
    ['State', run.finished ? 'finished' : 'not finished'],
    ...(run.started ? [['Started', when(run.started)] as [string, string]] : []),
    ...(run.ended ? [[run.finished ? 'Ended' : 'Last event', when(run.ended)] as [string, string]] : []),
    ...Object.entries(run.versions),
  ];
  const commands = `cream run recipe.yaml --out ${run.name}\ncream report ${run.name}`;
  return `<header><h1>${escapeHtml(run.name)}</h1>
<dl>${facts.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>
<pre>${escapeHtml(commands)}</pre></header>`;
}

function notices(run: RunReport): string {
  const lines = [...run.problems];
  if (run.phases.length === 0) lines.unshift('Nothing is finished yet: the run directory holds no results.');
  else if (!run.finished) lines.unshift('The run is not finished; this shows what it has so far. The same command goes on with it.');
  return lines.length === 0 ? '' : `<aside>${lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('')}</aside>`;
}

function resultsTable(run: RunReport): string {
  if (run.phases.length === 0) return '';
  const knows = run.phases.some((phase) => phase.ranking?.rightness);
  const head = ['', 'Accuracy <small>95 % interval</small>', 'Change <small>p</small>', 'Consistency C', 'Pairs <small>of prompts</small>',
    ...(knows ? ['Right <small>chosen, rejected</small>'] : []), 'Reward margin <small>first → last step</small>', 'Mean tokens <small>sampled, in evaluation</small>'];
  return `${table(head, run.phases.map((phase) => [phase.label, ...resultCells(phase, knows)]))}
<p class="note">Accuracy is of the model that the row's training made, greedy, on questions it never trained on. p is McNemar's exact test against the row above on the same questions: above 0.05, chance alone could explain the change.
Reward margin is β·(log π − log π<sub>ref</sub>) of chosen over rejected.${knows ? ' Right: how often the response that the model itself chose, or rejected, gives the known answer; training never sees it.' : ''}</p>`;
}

function resultCells({ accuracy, comparison, ranking, steps, answerTokens }: PhaseReport, knows: boolean): string[] {
  const margins = steps.flatMap((step) => step.margin ?? []), right = ranking?.rightness;
  const whole = (value: number | null | undefined) => (value == null ? '–' : value.toFixed(0));
  return [
    accuracy ? `<b>${percent(accuracy.accuracy)}</b> <small>${percent(accuracy.low)} to ${percent(accuracy.high)}</small>` : '–',
    comparison && comparison.questions > 0 ? `${signed(comparison.difference * 100, 1)} <small>p ${comparison.p.toFixed(2)}</small>` : '–',
    ranking?.consistency != null ? `<b>${ranking.consistency.toFixed(3)}</b>` : '–',
    ranking ? `${ranking.pairs} of ${ranking.prompts} <small>${skippedText(ranking.skipped)}</small>` : '–',
    ...(knows ? [right ? `${percent(right.chosen / right.pairs)}, ${percent(right.rejected / right.pairs)}` : '–'] : []),
    margins.length > 0 ? `${signed(margins[0]!, 4)} → <b>${signed(margins.at(-1)!, 4)}</b>` : '–',
    `${whole(ranking?.length)}, ${whole(answerTokens)}`,
  ];
}

/** Ranking takes no tokens and next to no time. */
const STAGES = ['sft', 'sample', 'score', 'train', 'evaluate'];

function speedTable(run: RunReport): string {
  const timed = run.phases.filter((phase) => phase.stages.length > 0);
  if (timed.length === 0) return '';
  const stages = STAGES.filter((stage) => timed.some((phase) => phase.stages.some((time) => time.stage === stage)));
  const rows = timed.map((phase) => [phase.label, ...stages.map((stage) => speed(phase, stage)), duration(phase.stages.reduce((sum, time) => sum + time.seconds, 0))]);
  return table(['', ...stages.map((stage) => `${stage} <small>tokens/s</small>`), 'All stages'], rows);
}

function speed(phase: PhaseReport, stage: string): string {
  const time = phase.stages.find((candidate) => candidate.stage === stage);
  if (!time) return '–';
  const rate = time.seconds > 0 && time.tokens > 0 ? `<b>${Math.round(time.tokens / time.seconds).toLocaleString('en-US')}</b>` : '';
  return `${rate} <small>${duration(time.seconds)}</small>`;
}

/** `head` and all cells but each row's first are HTML; the first is text. */
function table(head: readonly string[], rows: readonly string[][]): string {
  const body = rows.map(([name, ...cells]) => `<tr><th scope="row">${escapeHtml(name!)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`);
  return `<div class="scroll"><table><thead><tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr></thead><tbody>${body.join('\n')}</tbody></table></div>`;
}

const skippedText = (skipped: Record<string, number>): string =>
  Object.entries(skipped).map(([reason, count]) => `${count} ${escapeHtml(reason.replaceAll('_', ' '))}`).join(', ');

function charts(run: RunReport): Chart[] {
  const categories = run.phases.map(({ label }) => label.replace('Iteration ', 'iter. ').replace('Base model', 'base').replace('After ', ''));
  const byPhase = (value: (phase: PhaseReport) => number | null | undefined): Point[] =>
    run.phases.flatMap((phase, x) => { const y = value(phase); return y == null ? [] : [{ x, y }]; });
  const accuracy = (task?: string): Point[] => run.phases.flatMap((phase, x) => {
    const a = task === undefined ? phase.accuracy : phase.tasks.find((t) => t.task === task)?.accuracy;
    return a ? [{ x, y: a.accuracy, low: a.low, high: a.high }] : [];
  });
  const consistency = byPhase((p) => p.ranking?.consistency);
  const tasks = [...new Set(run.phases.flatMap((phase) => phase.tasks.map(({ task }) => task)))];
  const steps = (value: 'loss' | 'margin', sft: boolean) => run.phases.filter((phase) => (phase.folder === 'sft') === sft).map((phase) => ({
    name: phase.label, points: phase.steps.flatMap((step) => (step[value] === null ? [] : [{ x: step.step, y: step[value] }])),
  }));
  const two = (y: number) => y.toFixed(2), small = (y: number) => String(Number(y.toPrecision(3)));
  return [
    { title: 'Accuracy', note: 'Share of the test questions answered right; bars are 95 % intervals.', categories, format: percent,
      series: tasks.length > 1 ? tasks.map((task) => ({ name: task, points: accuracy(task) })) : [{ name: tasks[0] ?? '', points: accuracy() }] },
    { title: 'Consistency', note: 'Agreement of two successive models on the order of the responses: 0 reversed, 0.5 unrelated, 1 the same.', categories, format: two, include: [0, 1],
      // The method that C was measured by is C itself: one line for both.
      series: [{ name: 'C', points: consistency }, { name: 'Kendall', points: byPhase((p) => p.ranking?.kendall) }, { name: 'Spearman', points: byPhase((p) => p.ranking?.spearman) },
        { name: 'TopOrder', points: byPhase((p) => p.ranking?.topOrder) }].filter(({ points }, i) => i === 0 || points.some(({ y }, k) => Math.abs(y - (consistency[k]?.y ?? NaN)) > 1e-9)) },
    { title: 'Reward margin', note: 'How much more than its reference the policy prefers chosen over rejected, step by step.', xLabel: 'step', format: small, include: [0], series: steps('margin', false) },
    { title: 'Preference loss', note: 'C · DPO + (1 − C) · reverse DPO; it starts at log 2 = 0.693.', xLabel: 'step', format: (y) => y.toFixed(4), series: steps('loss', false) },
    { title: 'SFT loss', note: 'Cross-entropy of the demonstrations.', xLabel: 'step', format: two, series: steps('loss', true) },
    { title: 'Length', note: 'Mean tokens of a sampled response, and of an answer in evaluation.', categories, format: (y) => y.toFixed(0), include: [0],
      series: [{ name: 'sampled', points: byPhase((p) => p.ranking?.length) }, { name: 'evaluation', points: byPhase((p) => p.answerTokens) }] },
    { title: 'Self-reward gap', note: 'Mean reward of chosen minus rejected under the model that chose, in nats, before training on them.', categories, format: two, include: [0],
      series: [{ name: 'gap', points: byPhase((p) => p.ranking?.pairMargin) }] },
  ];
}

function samples(run: RunReport): string {
  return run.phases.filter((phase) => phase.ranking && phase.ranking.examples.length > 0).map((phase) =>
    `<h3>${escapeHtml(phase.label)}</h3>${phase.ranking!.examples.map(rankedPrompt).join('\n')}`).join('\n');
}

function rankedPrompt(prompt: RankedPrompt): string {
  const firstLine = prompt.prompt.trim().split('\n')[0] ?? '';
  const summary = firstLine.length > 110 ? `${[...firstLine].slice(0, 107).join('')}…` : firstLine || prompt.id;
  const tag = prompt.skipped === null ? `C ${prompt.consistency.toFixed(2)}` : `skipped: ${prompt.skipped.replaceAll('_', ' ')}`;
  return `<details><summary><span>${escapeHtml(summary)}</span> <b>${escapeHtml(tag)}</b></summary>
<pre class="prompt">${escapeHtml(prompt.prompt)}</pre>${prompt.answer === null ? '' : `<p class="note">Known answer: <b>${escapeHtml(prompt.answer)}</b>. Training does not use it.</p>`}
<ol>${prompt.samples.map(rankedSample).join('\n')}</ol></details>`;
}

function rankedSample(sample: RankedSample): string {
  const tags = [
    sample.role && `<span class="${sample.role}">${sample.role}</span>`,
    sample.correct === null ? '' : sample.correct ? '<span class="right">right</span>' : '<span class="wrong">wrong</span>',
    `rank <b>${sample.rankCurrent}</b> now, <b>${sample.rankPrevious}</b> before`,
    `reward ${signed(sample.rewardCurrent, 2)} now, ${signed(sample.rewardPrevious, 2)} before`,
    `${sample.tokens} tokens`, `sample ${sample.sample}`,
  ].filter(Boolean);
  return `<li${sample.role ? ` class="is-${sample.role}"` : ''}><p class="tags">${tags.join(' <i>·</i> ')}</p><pre>${escapeHtml(sample.text)}</pre></li>`;
}

const percent = (share: number): string => `${Number((share * 100).toFixed(1))} %`;
const signed = (value: number, digits: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
const duration = (seconds: number): string => {
  const total = Math.round(seconds), minutes = Math.floor(total / 60);
  return total < 60 ? `${total} s` : minutes < 60 ? `${minutes} min ${total % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

function when(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
