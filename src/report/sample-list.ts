/**
 * The ranked samples of the page. A few are part of the HTML; all others are in a data block, from
 * which the page's script (script.ts) renders the search results.
 */
import { signed } from './format.js';
import { escapeHtml } from './html.js';
import type { PhaseReport, RunReport } from './metrics.js';
import { EXAMPLES, spread, type RankedPrompt, type RankedSample } from './samples.js';

/** Prompts of one iteration that the page contains; the run's files contain all. */
export const PAGE_PROMPTS = 2000;
/** Characters of a completion that the page shows. */
const SHOWN_CHARACTERS = 6000;

/** The filters of the list. */
const FILTERS = {
  flipped: 'best completion flipped',
  right: 'chosen is right',
  wrong: 'chosen is wrong',
  skipped: 'without a pair',
} as const;
type Filter = keyof typeof FILTERS;

/** The ranked samples of all iterations, as HTML. */
export function sampleList(run: RunReport): string {
  return run.phases
    .filter((phase) => phase.ranking && phase.ranking.examples.length > 0)
    .map(ofPhase)
    .join('\n');
}

function ofPhase({ label, ranking }: PhaseReport): string {
  const { examples, prompts } = ranking!;
  const entries = examples.map((prompt) => ({ html: promptHtml(prompt), is: filtersOf(prompt) }));
  const options = Object.entries(FILTERS)
    .filter(([name]) => entries.some(({ is }) => is.includes(name as Filter)))
    .map(([name, text]) => `<option value="${name}">${text}</option>`);
  const all =
    examples.length < prompts
      ? `${examples.length.toLocaleString('en-US')} of ${prompts.toLocaleString('en-US')} prompts`
      : `${prompts.toLocaleString('en-US')} prompts`;
  const title = escapeHtml(label);
  const few = spread(entries, EXAMPLES);
  const part =
    few.length < entries.length ? `${few.length} of ${entries.length}, from high C to low` : '';
  return `<div class="samples"><h3>${title}</h3>
<div class="find" hidden><input type="search" placeholder="Search ${all}"
aria-label="Search the samples of ${title}"><select aria-label="Narrow the samples of ${title}">
<option value="">all prompts</option>${options.join('')}</select><output>${part}</output></div>
<div class="list">${few.map(({ html }) => html).join('\n')}</div>
<button type="button" hidden>Show more</button>
<script type="application/json">${inScript(entries)}</script></div>`;
}

/** JSON in which no HTML parser finds the end of its element or a comment. */
const inScript = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

function filtersOf({ samples, skipped }: RankedPrompt): Filter[] {
  const best = samples.filter(({ rankCurrent }) => rankCurrent === samples[0]!.rankCurrent);
  const before = Math.min(...samples.map(({ rankPrevious }) => rankPrevious));
  const chosen = samples.find(({ role }) => role === 'chosen');
  const filters: Filter[] = [];
  if (!best.some(({ rankPrevious }) => rankPrevious === before)) filters.push('flipped');
  if (chosen?.correct === true) filters.push('right');
  if (chosen?.correct === false) filters.push('wrong');
  if (skipped !== null) filters.push('skipped');
  return filters;
}

function promptHtml(prompt: RankedPrompt): string {
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
<ol>${prompt.samples.map(sampleHtml).join('\n')}</ol></details>`;
}

function sampleHtml(sample: RankedSample): string {
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
    `class="tags">${tags.join(' <i>·</i> ')}</p><pre>${escapeHtml(clipped(sample.text))}</pre></li>`
  );
}

function clipped(text: string): string {
  const characters = [...text];
  return characters.length <= SHOWN_CHARACTERS
    ? text
    : `${characters.slice(0, SHOWN_CHARACTERS).join('')}… (${(
        characters.length - SHOWN_CHARACTERS
      ).toLocaleString('en-US')} more characters in completions.jsonl)`;
}
