/**
 * report.html: one file that opens anywhere. No script, no request (its Content-Security-Policy
 * forbids both), light and dark, wide and narrow. Every text that a model, a user or a file
 * supplied goes through `escapeHtml`.
 */
import { createHash } from 'node:crypto';
import type { Comparison } from '../evaluate/intervals.js';
import { charts } from './charts.js';
import { duration, percent, signed } from './format.js';
import { escapeHtml } from './html.js';
import { readRun, type PhaseReport, type RunReport } from './metrics.js';
import { lineChart } from './plots.js';
import type { RankedPrompt, RankedSample } from './samples.js';
import { STYLE } from './style.js';

/**
 * The report of a run directory, finished or not. @throws DataError where a file cannot be read at
 * all.
 */
export function reportHtml(directory: string): string {
  return reportPage(readRun(directory));
}

export function reportPage(run: RunReport): string {
  const styleHash = createHash('sha256').update(STYLE).digest('base64');
  const policy =
    `default-src 'none'; style-src 'sha256-${styleHash}'; ` + "base-uri 'none'; form-action 'none'";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
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
${section('Tasks', tasksTable(run))}
${section('Drift', driftTable(run))}
${section('Speed', speedTable(run))}
${section('Curves', charts(run).map(lineChart).filter(Boolean).join('\n'), 'charts')}
${section('Ranked samples', samples(run))}
${section('Recipe', run.recipe && `<pre class="recipe">${escapeHtml(run.recipe)}</pre>`)}
</main>
<footer>Written by cream-lm. Method: CREAM, Consistency Regularized Self-Rewarding Language Models,
arXiv 2410.12735.</footer>
</body>
</html>
`;
}

const section = (title: string, body: string, kind = ''): string =>
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
  const commands = `cream run recipe.yaml --out ${run.name}\ncream report ${run.name}`;
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

function resultsTable(run: RunReport): string {
  if (run.phases.length === 0) return '';
  const perCharacter = run.phases.some((phase) => phase.accuracyNorm);
  const measured = perCharacter
    ? 'the likeliest choice, by its summed log-prob and by its mean log-prob per character'
    : 'greedy answers';
  const head = [
    '',
    'Accuracy <small>95 % interval</small>',
    ...(perCharacter ? ['Per character <small>95 % interval</small>'] : []),
    'Change <small>95 % interval, p</small>',
    'Consistency C',
    'Pairs <small>of prompts</small>',
    'Reward margin <small>first → last step</small>',
    'Mean tokens <small>sampled, in evaluation</small>',
  ];
  return `${table(
    head,
    run.phases.map((phase) => [phase.label, ...resultCells(phase, perCharacter)]),
  )}
<p class="note">Accuracy is measured on questions that no training used, with the model that the
row's training made: ${measured}.
Change compares with the row above on the same questions: a paired bootstrap interval, and p of
McNemar's exact test. Where the interval holds 0, or p is above 0.05, chance alone could explain it.
Reward margin is β·(log π − log π<sub>ref</sub>) of chosen over rejected.</p>`;
}

function resultCells(
  { accuracy, accuracyNorm, comparison, ranking, steps, answerTokens }: PhaseReport,
  perCharacter: boolean,
): string[] {
  const margins = steps.flatMap((step) => step.margin ?? []);
  const whole = (value: number | null | undefined) => (value == null ? '–' : value.toFixed(0));
  return [
    accuracyCell(accuracy),
    ...(perCharacter ? [accuracyCell(accuracyNorm)] : []),
    changeCell(comparison),
    ranking?.consistency != null ? `<b>${ranking.consistency.toFixed(3)}</b>` : '–',
    ranking
      ? `${ranking.pairs} of ${ranking.prompts} <small>${skippedText(ranking.skipped)}</small>`
      : '–',
    margins.length > 0 ? `${signed(margins[0]!, 4)} → <b>${signed(margins.at(-1)!, 4)}</b>` : '–',
    `${whole(ranking?.mean_length)}, ${whole(answerTokens)}`,
  ];
}

const accuracyCell = (a: PhaseReport['accuracy']): string =>
  a ? `<b>${percent(a.accuracy)}</b> <small>${percent(a.low)} to ${percent(a.high)}</small>` : '–';
const changeCell = (c: Comparison | null): string =>
  c && c.questions > 0
    ? `${signed(c.difference * 100, 1)} <small>${signed(c.low * 100, 1)} to ` +
      `${signed(c.high * 100, 1)}, p ${c.p < 0.001 ? '&lt; 0.001' : c.p.toFixed(3)}</small>`
    : '–';

/** Accuracy and change task by task, where there are several. */
function tasksTable(run: RunReport): string {
  const names = [...new Set(run.phases.flatMap(({ tasks }) => tasks.map(({ task }) => task)))];
  if (names.length < 2) return '';
  const measured = run.phases.filter(({ tasks }) => tasks.length > 0);
  return table(
    ['', ...names.map((name) => `${escapeHtml(name)} <small>change</small>`)],
    measured.map(({ label, tasks }) => [
      label,
      ...names.map((name) => {
        const found = tasks.find(({ task }) => task === name);
        if (!found) return '–';
        const norm = found.accuracyNorm
          ? ` <small>per character ${percent(found.accuracyNorm.accuracy)}</small>`
          : '';
        const change = found.comparison ? `<br>${changeCell(found.comparison)}` : '';
        return `${accuracyCell(found.accuracy)}${norm}${change}`;
      }),
    ]),
  );
}

/**
 * How far each iteration's model is from the base, how it speaks, and how well its reward knows
 * right from wrong.
 */
function driftTable(run: RunReport): string {
  const rows = run.phases.flatMap(({ label, ranking }) => (ranking ? [{ label, ranking }] : []));
  if (rows.length === 0) return '';
  const knows = rows.some(({ ranking }) => ranking.sample_accuracy !== null);
  const checked = rows.some(({ ranking }) => ranking.sampler_tau !== null);
  const share = (value: number | null) => (value === null ? '–' : percent(value));
  const head = [
    '',
    "Kendall's τ <small>quartiles</small>",
    ...(knows
      ? [
          'Ranking accuracy <small>couples, ties</small>',
          'Right <small>sampled; chosen, rejected</small>',
        ]
      : []),
    'KL to the base <small>nats a response, a token</small>',
    'Cut by length',
    'Repeated <small>bigrams, 4-grams</small>',
    ...(checked ? ['Sampler and scorer apart <small>nats, τ</small>'] : []),
  ];
  return `${table(
    head,
    rows.map(({ label, ranking: r }) => [
      label,
      r.kendall_quartiles ? r.kendall_quartiles.map((q) => signed(q, 2)).join(', ') : '–',
      ...(knows
        ? [
            r.ranking_accuracy === null
              ? '–'
              : `<b>${percent(r.ranking_accuracy)}</b> ` +
                `<small>${r.ranking_couples.toLocaleString('en-US')}, ` +
                `${r.ranking_ties.toLocaleString('en-US')}</small>`,
            `${share(r.sample_accuracy)} <small>${share(r.chosen_accuracy)}, ` +
              `${share(r.rejected_accuracy)}</small>`,
          ]
        : []),
      r.kl_response === null || r.kl_token === null
        ? '–'
        : `${signed(r.kl_response, 2)} <small>${signed(r.kl_token, 4)}</small>`,
      share(r.truncated),
      `${share(r.distinct_2 === null ? null : 1 - r.distinct_2)}, ${share(r.repeated_4)}`,
      ...(checked
        ? [
            r.sampler_difference === null || r.sampler_tau === null
              ? '–'
              : `${Number(r.sampler_difference.toPrecision(2))} ` +
                `<small>${r.sampler_tau.toFixed(2)}</small>`,
          ]
        : []),
    ]),
  )}
<p class="note">Measured on the completions that the iteration's first model sampled. KL is the mean
of log π − log π<sub>base</sub> over them, an estimate of the divergence; it leans to likely
completions where temperature or top-p is below 1. Repeated: share of a completion's token n-grams
that occurred before in it.${checked ? SAMPLER_NOTE : ''}${knows ? RANKING_NOTE : ''}</p>`;
}

const SAMPLER_NOTE =
  ' Sampler and scorer apart: on the prompts where both computed log π, the largest difference ' +
  'per completion (0 but for rounding), and the lowest τ of the two rankings (1).';
const RANKING_NOTE =
  ' Ranking accuracy: of two completions of one prompt, one right and one wrong, how often the ' +
  'reward ranks the right one above. A tie counts half, and 50 % is chance. Training never sees ' +
  'the known answers.';

/** Ranking takes no tokens and next to no time. */
const STAGES = ['sft', 'sample', 'score', 'reward', 'train', 'evaluate'];

function speedTable(run: RunReport): string {
  const timed = run.phases.filter((phase) => phase.stages.length > 0);
  if (timed.length === 0) return '';
  const stages = STAGES.filter((stage) =>
    timed.some((phase) => phase.stages.some((time) => time.stage === stage)),
  );
  const rows = timed.map((phase) => [
    phase.label,
    ...stages.map((stage) => speed(phase, stage)),
    duration(phase.stages.reduce((sum, time) => sum + time.seconds, 0)),
  ]);
  return table(
    ['', ...stages.map((stage) => `${stage} <small>tokens/s</small>`), 'All stages'],
    rows,
  );
}

function speed(phase: PhaseReport, stage: string): string {
  const time = phase.stages.find((candidate) => candidate.stage === stage);
  if (!time) return '–';
  const rate =
    time.seconds > 0 && time.tokens > 0
      ? `<b>${Math.round(time.tokens / time.seconds).toLocaleString('en-US')}</b>`
      : '';
  return `${rate} <small>${duration(time.seconds)}</small>`;
}

/** `head` and all cells but each row's first are HTML; the first is text. */
function table(head: readonly string[], rows: readonly string[][]): string {
  const body = rows.map(
    ([name, ...cells]) =>
      `<tr><th scope="row">${escapeHtml(name!)}</th>` +
      `${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`,
  );
  const titles = head.map((cell) => `<th scope="col">${cell}</th>`).join('');
  return (
    `<div class="scroll"><table><thead><tr>${titles}</tr></thead>` +
    `<tbody>${body.join('\n')}</tbody></table></div>`
  );
}

const skippedText = (skipped: Record<string, number>): string =>
  Object.entries(skipped)
    .map(([reason, count]) => `${count} ${escapeHtml(reason.replaceAll('_', ' '))}`)
    .join(', ');

function samples(run: RunReport): string {
  return run.phases
    .filter((phase) => phase.ranking && phase.ranking.examples.length > 0)
    .map(
      (phase) =>
        `<h3>${escapeHtml(phase.label)}</h3>` +
        phase.ranking!.examples.map(rankedPrompt).join('\n'),
    )
    .join('\n');
}

function rankedPrompt(prompt: RankedPrompt): string {
  const firstLine = prompt.prompt.trim().split('\n')[0] ?? '';
  const summary =
    firstLine.length > 110 ? `${[...firstLine].slice(0, 107).join('')}…` : firstLine || prompt.id;
  const tag =
    prompt.skipped === null
      ? `C ${prompt.consistency.toFixed(2)}`
      : `skipped: ${prompt.skipped.replaceAll('_', ' ')}`;
  const known =
    prompt.answer === null
      ? ''
      : `<p class="note">Known answer: <b>${escapeHtml(prompt.answer)}</b>. ` +
        'Training does not use it.</p>';
  return `<details><summary><span>${escapeHtml(summary)}</span> <b>${escapeHtml(tag)}</b></summary>
<pre class="prompt">${escapeHtml(prompt.prompt)}</pre>${known}
<ol>${prompt.samples.map(rankedSample).join('\n')}</ol></details>`;
}

function rankedSample(sample: RankedSample): string {
  const tags = [
    sample.role && `<span class="${sample.role}">${sample.role}</span>`,
    sample.correct === null
      ? ''
      : sample.correct
        ? '<span class="right">right</span>'
        : '<span class="wrong">wrong</span>',
    `rank <b>${sample.rankCurrent}</b> now, <b>${sample.rankPrevious}</b> before`,
    `reward ${signed(sample.rewardCurrent, 2)} now, ${signed(sample.rewardPrevious, 2)} before`,
    `${sample.tokens} tokens`,
    `sample ${sample.sample}`,
  ].filter(Boolean);
  return (
    `<li${sample.role ? ` class="is-${sample.role}"` : ''}><p ` +
    `class="tags">${tags.join(' <i>·</i> ')}</p><pre>${escapeHtml(sample.text)}</pre></li>`
  );
}

function when(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime())
    ? time
    : `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
