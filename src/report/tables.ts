/** The tables of the page: results, tasks, drift, speed. */
import type { Comparison } from '../evaluate/intervals.js';
import type { Flips } from './flips.js';
import { duration, percent, signed } from './format.js';
import { escapeHtml, withSubscripts } from './html.js';
import { lossText } from './loss.js';
import type { PhaseReport, RankingReport, RunReport } from './metrics.js';

/** Accuracies and rankings of each model of the run, as HTML; '' if there is none. */
export function resultsTable(run: RunReport): string {
  if (run.phases.length === 0) return '';
  const perCharacter = run.phases.some((phase) => phase.accuracyNorm);
  const measured = perCharacter
    ? 'the likeliest choice, by its summed log-prob and by its mean log-prob per character'
    : 'greedy answers';
  const measuredNoise = run.phases.some(({ ranking }) => ranking?.noise_consistency != null)
    ? 'Beside C is that of θ<sub>t</sub> with itself in float32, which rounding alone lowers.'
    : '';
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
<p class="note">Accuracy is measured on questions that no training used, with the model that was
trained in the row: ${measured}.
Change compares with the row above on the same questions: Tango's score interval, and p of
McNemar's exact test. If the interval contains 0, or p is above 0.05, chance alone could explain it.
C is the agreement of the rankings of θ<sub>t</sub> and θ<sub>t−1</sub>. It weights the loss unless
the recipe's rank.weighting says otherwise. A pair whose weight is below ½ trains the reversed
preference, also where the weight is close to ½: AdamW and gradient clipping remove the gradient's
scale. ${measuredNoise}
Reward margin is ${withSubscripts(lossText(run.recipe).reward)} of chosen less that of
rejected.</p>`;
}

/** C, and if measured, the C of the model with itself in float32. */
function consistencyCell(ranking: PhaseReport['ranking']): string {
  if (ranking?.consistency == null) return '–';
  const withItself =
    ranking.noise_consistency === null
      ? ''
      : ` <small>with itself ${ranking.noise_consistency.toFixed(2)}</small>`;
  return `<b>${ranking.consistency.toFixed(3)}</b>${withItself}`;
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
    consistencyCell(ranking),
    ranking
      ? `${ranking.pairs} of ${ranking.prompts} <small>${skippedText(ranking.skipped)}</small>`
      : '–',
    margins.length > 0 ? `${signed(margins[0]!, 4)} → <b>${signed(margins.at(-1)!, 4)}</b>` : '–',
    `${whole(ranking?.mean_length)}, ${whole(answerTokens)}`,
  ];
}

export const accuracyCell = (a: PhaseReport['accuracy']): string =>
  a ? `<b>${percent(a.accuracy)}</b> <small>${percent(a.low)} to ${percent(a.high)}</small>` : '–';
const changeCell = (c: Comparison | null): string =>
  c && c.questions > 0
    ? `${signed(c.difference * 100, 1)} <small>${signed(c.low * 100, 1)} to ` +
      `${signed(c.high * 100, 1)}, p ${c.p < 0.001 ? '&lt; 0.001' : c.p.toFixed(3)}</small>`
    : '–';

/** Accuracy and change for each task, if there are several. */
export function tasksTable(run: RunReport): string {
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

/** The agreement of the two models' rankings, and the ranking accuracy of the reward. */
export function rankingTable(run: RunReport): string {
  const rows = ranked(run);
  if (rows.length === 0) return '';
  const knows = rows.some(({ ranking }) => ranking.sample_accuracy !== null);
  const head = [
    '',
    "Kendall's τ <small>quartiles</small>",
    'Flipped <small>best, worst; reversed</small>',
    ...(knows
      ? [
          'Ranking accuracy <small>couples, ties</small>',
          'Right <small>sampled; chosen, rejected</small>',
        ]
      : []),
  ];
  return `${table(
    head,
    rows.map(({ label, ranking: r }) => [
      label,
      r.kendall_quartiles ? r.kendall_quartiles.map((q) => signed(q, 2)).join(', ') : '–',
      flipsCell(r.flips),
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
    ]),
  )}
<p class="note">Flipped: share of the prompts on which the two models have different best, or
different worst, completions; reversed, on which one model's best is the other's worst.${
    knows ? RANKING_NOTE : ''
  }</p>`;
}

/** Distance of each iteration's model from the base model, and properties of its completions. */
export function driftTable(run: RunReport): string {
  const rows = ranked(run);
  if (rows.length === 0) return '';
  const checked = rows.some(({ ranking }) => ranking.sampler_tau !== null);
  const head = [
    '',
    'KL to the base <small>nats per completion, per token</small>',
    'Cut by length',
    'Repeated <small>bigrams, 4-grams</small>',
    ...(checked ? ['Sampler and scorer apart <small>nats, τ</small>'] : []),
  ];
  return `${table(
    head,
    rows.map(({ label, ranking: r }) => [
      label,
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
of log π − log π<sub>base</sub> over them, an estimate of the divergence; it is biased towards
likely completions if temperature or top-p is below 1. Repeated: share of a completion's token
n-grams that occurred before in it.${checked ? SAMPLER_NOTE : ''}</p>`;
}

const ranked = (run: RunReport): { label: string; ranking: RankingReport }[] =>
  run.phases.flatMap(({ label, ranking }) => (ranking ? [{ label, ranking }] : []));

const share = (value: number | null): string => (value === null ? '–' : percent(value));

const flipsCell = (flips: Flips | null): string =>
  flips
    ? `${percent(flips.best / flips.prompts)}, ${percent(flips.worst / flips.prompts)} ` +
      `<small>${percent(flips.reversed / flips.prompts)}</small>`
    : '–';

const SAMPLER_NOTE =
  ' Sampler and scorer apart: on the prompts where both computed log π, the largest difference ' +
  'per completion (0 except for rounding), and the lowest τ of the two rankings (1).';
const RANKING_NOTE =
  ' Ranking accuracy: of two completions of one prompt, one right and one wrong, how often the ' +
  'reward ranks the right one higher. A tie counts half, and 50 % is chance. Training never ' +
  'sees the known answers.';

/** Ranking is left out: it takes no tokens and almost no time. */
const STAGES = ['sft', 'sample', 'score', 'reward', 'train', 'evaluate'];

/** Tokens per second of each stage, as HTML; '' if no stage has finished. */
export function speedTable(run: RunReport): string {
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

/** An HTML table. `head` and all cells except the first of each row are HTML; the first is text. */
export function table(head: readonly string[], rows: readonly string[][]): string {
  const body = rows.map(
    ([name, ...cells]) =>
      `<tr><th scope="row">${escapeHtml(name!).replaceAll(',', ',<wbr>')}</th>` +
      `${cells
        .map((cell, i) => `<td data-head="${plain(head[i + 1]!)}"><div>${cell}</div></td>`)
        .join('')}</tr>`,
  );
  const titles = head.map((cell) => `<th scope="col">${cell}</th>`).join('');
  return (
    `<div class="scroll"><table><thead><tr>${titles}</tr></thead>` +
    `<tbody>${body.join('\n')}</tbody></table></div>`
  );
}

/** A heading for an attribute: its text without tags. */
const plain = (head: string): string =>
  head.replace(/<small>(.*?)<\/small>/g, '($1)').replace(/<[^>]*>/g, '');

const skippedText = (skipped: Record<string, number>): string =>
  Object.entries(skipped)
    .map(([reason, count]) => `${count} ${escapeHtml(reason.replaceAll('_', ' '))}`)
    .join(', ');
