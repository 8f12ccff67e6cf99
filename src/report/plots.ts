/**
 * Line charts as plain SVG, drawn when the report is written, so that the page needs no script.
 * Colours and text come from the page's CSS (style.ts), so they follow light and dark mode. Values
 * are shown as tooltips (`<title>`).
 */
import { average } from '../data/average.js';
import { escapeHtml, withSubscripts } from './html.js';

export interface Point {
  x: number;
  y: number;
  /** Ends of an interval around y. */
  low?: number;
  high?: number;
}

export interface Chart {
  title: string;
  /** One sentence on how to read it. */
  note: string;
  /** `colour` is the number of one of the page's six; by default its place among the series. */
  series: { name: string; points: Point[]; colour?: number }[];
  /** Named positions of a categorical axis; without them x is a number. */
  categories?: string[];
  xLabel?: string;
  /** Title of the y-axis, with the unit. */
  yLabel: string;
  format: (y: number) => string;
  /** Values that the axis must reach. */
  include?: number[];
}

export const WIDTH = 440;
export const HEIGHT = 240;
export const LEFT = 68;
export const RIGHT = 14;
export const TOP = 12;
export const BOTTOM = 38;
/** Longer series are averaged in buckets, because a screen has no more columns. */
const MOST_POINTS = 240;
/** Up to this number, each point is drawn. */
const DOTS_UP_TO = 40;

/** A `<figure>`, or '' if there is nothing to draw. The first series is drawn on top. */
export function lineChart(chart: Chart): string {
  const series = chart.series
    .map(({ name, points, colour }, i) => ({
      name,
      colour: (colour ?? i) % 6,
      points: thin(points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y))),
    }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return '';
  const all = series.flatMap(({ points }) => points);
  const y = scale(
    [...all.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]), ...(chart.include ?? [])],
    HEIGHT - BOTTOM,
    TOP,
  );
  const x = chart.categories
    ? categoryScale(chart.categories.length)
    : numberScale(all.map((p) => p.x));
  const legend = series.map(
    ({ name, points, colour }) =>
      `<li class="s${colour}">${escapeHtml(name)} ` +
      `<b>${escapeHtml(chart.format(points.at(-1)!.y))}</b></li>`,
  );
  const lines = series.map((one) => drawSeries(one, { x: x.at, y: y.at }, chart)).reverse();
  return figure(chart, legend, describe(chart, series), [
    yAxis(y, chart),
    xAxis(x, chart),
    ...lines,
  ]);
}

/** The frame of a chart: title, note, legend, and the drawing with its spoken description. */
export function figure(
  { title, note }: Pick<Chart, 'title' | 'note'>,
  legend: readonly string[],
  description: string,
  drawing: readonly string[],
): string {
  return `<figure><figcaption><h3>${escapeHtml(title)}</h3>
<p>${withSubscripts(note)}</p><ul class="legend">${legend.join('')}</ul></figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(description)}">
${drawing.join('')}</svg></figure>`;
}

export interface Scale {
  at: (value: number) => number;
  ticks: number[];
}

function drawSeries(
  { name, points, colour }: { name: string; points: readonly Point[]; colour: number },
  { x, y }: Record<'x' | 'y', Scale['at']>,
  chart: Chart,
): string {
  const path = points.map((p, i) => `${i === 0 ? 'M' : 'L'}${at(x(p.x))} ${at(y(p.y))}`).join('');
  const bars = points
    .flatMap((p) =>
      p.low === undefined || p.high === undefined
        ? []
        : [`M${at(x(p.x))} ${at(y(p.low))}V${at(y(p.high))}`],
    )
    .join('');
  const place = (p: Point) =>
    chart.categories?.[p.x] ?? `${chart.xLabel ?? ''} ${short(p.x)}`.trim();
  const interval = (p: Point) =>
    p.low === undefined || p.high === undefined
      ? ''
      : ` (95 % interval ${chart.format(p.low)} to ${chart.format(p.high)})`;
  const dots =
    points.length > DOTS_UP_TO
      ? ''
      : points
          .map(
            (p) =>
              `<circle cx="${at(x(p.x))}" cy="${at(y(p.y))}" ` +
              `r="4"><title>${escapeHtml(name)}, ${escapeHtml(place(p))}: ` +
              `${escapeHtml(chart.format(p.y) + interval(p))}</title></circle>`,
          )
          .join('');
  return (
    `<g class="s${colour}">${bars && `<path class="interval" d="${bars}"/>`}<path ` +
    `class="line" d="${path}"/>${dots}</g>`
  );
}

/** The grid lines, their labels and the name of the y axis, as SVG. */
export function yAxis(
  { at: y, ticks }: Scale,
  { format, yLabel }: Pick<Chart, 'format' | 'yLabel'>,
): string {
  const labels = tickLabels(ticks.map(format));
  const lines = ticks.map(
    (tick, i) =>
      `<path class="grid" d="M${LEFT} ${at(y(tick))}H${WIDTH - RIGHT}"/><text ` +
      `class="tick" x="${LEFT - 7}" y="${at(y(tick) + 4)}" ` +
      `text-anchor="end">${escapeHtml(labels[i]!)}</text>`,
  );
  const middle = (TOP + HEIGHT - BOTTOM) / 2;
  return (
    `${lines.join('')}<text class="tick" transform="translate(12 ${middle}) rotate(-90)" ` +
    `text-anchor="middle">${escapeHtml(yLabel)}</text>`
  );
}

/** Without the zeros that all labels of an axis end with. */
function tickLabels(labels: string[]): string[] {
  const zero = /^([^.]*\.\d*)0$/;
  let short = labels;
  while (short.every((label) => zero.test(label)))
    short = short.map((label) => zero.exec(label)![1]!);
  return short.map((label) => label.replace(/\.$/, '').replace(/^-/, '−'));
}

/** The line, labels and name of the x axis, as SVG. */
export function xAxis(
  { at: x, ticks }: Scale,
  { categories, xLabel }: Pick<Chart, 'categories' | 'xLabel'>,
): string {
  const label = (tick: number) => (categories ? (categories[tick] ?? '') : short(tick));
  const texts = ticks.map(
    (tick) =>
      `<text class="tick" x="${at(x(tick))}" y="${HEIGHT - BOTTOM + 17}" ` +
      `text-anchor="middle">${escapeHtml(label(tick))}</text>`,
  );
  const name = xLabel
    ? `<text class="tick" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 4}" ` +
      `text-anchor="middle">${escapeHtml(xLabel)}</text>`
    : '';
  return (
    `<path class="axis" d="M${LEFT} ` +
    `${HEIGHT - BOTTOM}H${WIDTH - RIGHT}"/>${texts.join('')}${name}`
  );
}

/** Round tick values over the range of `values`, mapped to pixels from `bottom` to `top`. */
export function scale(values: readonly number[], bottom: number, top: number): Scale {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) {
    const spacing = Math.abs(high) * 0.1 || 1;
    [low, high] = [low - spacing, high + spacing];
  }
  const step = niceStep((high - low) / 4);
  [low, high] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) =>
    Number((low + i * step).toPrecision(12)),
  );
  return { at: (value) => bottom + ((value - low) / (high - low)) * (top - bottom), ticks };
}

/** 1, 2 or 5 times a power of ten, at least `rough`. */
function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough * (1 - 1e-9)) ?? 10);
}

function categoryScale(count: number): Scale {
  const spacing = (WIDTH - LEFT - RIGHT) / count;
  const every = Math.ceil(count / 8);
  return {
    at: (index) => LEFT + (index + 0.5) * spacing,
    ticks: Array.from({ length: count }, (_, i) => i).filter((i) => i % every === 0),
  };
}

function numberScale(values: readonly number[]): Scale {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const span = high - low || 1;
  const step = Math.max(1, niceStep(span / 5));
  const first = Math.ceil(low / step) * step;
  const ticks = Array.from(
    { length: Math.max(0, Math.floor((high - first) / step)) + 1 },
    (_, i) => first + i * step,
  );
  return {
    at: (value) => LEFT + 8 + ((value - low) / span) * (WIDTH - LEFT - RIGHT - 16),
    ticks: high === low ? [low] : ticks,
  };
}

/** At most MOST_POINTS points, each the mean of a bucket of neighbours. */
function thin(points: readonly Point[]): Point[] {
  if (points.length <= MOST_POINTS) return [...points];
  return Array.from({ length: MOST_POINTS }, (_, i) => {
    const bucket = points.slice(
      Math.floor((i * points.length) / MOST_POINTS),
      Math.floor(((i + 1) * points.length) / MOST_POINTS),
    );
    return {
      x: average(bucket.map(({ x }) => x)),
      y: average(bucket.map(({ y }) => y)),
    };
  });
}

function describe(chart: Chart, series: { name: string; points: Point[] }[]): string {
  const told = series.map(({ name, points }) => {
    const [first, last] = [points[0]!, points.at(-1)!].map(({ y }) => chart.format(y));
    return `${name}: from ${first} to ${last}`;
  });
  return `${chart.title}. ${told.join('; ')}.`;
}

export const at = (pixel: number): string => String(Math.round(pixel * 10) / 10);
const short = (value: number): string => String(Number(value.toPrecision(6))).replace(/^-/, '−');
