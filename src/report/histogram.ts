/** Histograms as plain SVG, in the frame of plots.ts: one bar per bin and series. */
import { escapeHtml } from './html.js';
import {
  at,
  BOTTOM,
  figure,
  HEIGHT,
  LEFT,
  RIGHT,
  scale,
  TOP,
  WIDTH,
  xAxis,
  yAxis,
  type Chart,
} from './plots.js';

export interface Histogram extends Pick<Chart, 'title' | 'note' | 'xLabel' | 'yLabel' | 'format'> {
  /** Ends of the x-axis; every series divides it into bins of equal width. */
  from: number;
  to: number;
  /** Values marked on the x-axis. */
  ticks: number[];
  /** The height of each bin, by series. */
  series: { name: string; bins: number[]; colour?: number }[];
}

/** A `<figure>`, or '' if there is nothing to draw. */
export function histogram(chart: Histogram): string {
  const series = chart.series
    .map(({ colour, ...rest }, i) => ({ ...rest, colour: (colour ?? i) % 6 }))
    .filter(({ bins }) => bins.length > 0);
  if (series.length === 0) return '';
  const y = scale([0, ...series.flatMap(({ bins }) => bins)], HEIGHT - BOTTOM, TOP);
  const x = {
    at: (value: number) =>
      LEFT + ((value - chart.from) / (chart.to - chart.from)) * (WIDTH - LEFT - RIGHT),
    ticks: chart.ticks,
  };
  const bars = series.map(({ name, bins, colour }, s) => {
    const width = (chart.to - chart.from) / bins.length;
    const drawn = bins.map((height, i) => {
      const left = chart.from + i * width;
      const start = x.at(left + width * (0.06 + (0.88 * s) / series.length));
      const end = x.at(left + width * (0.06 + (0.88 * (s + 1)) / series.length));
      const range = `${short(left)} to ${short(left + width)}`;
      return (
        `<rect x="${at(start)}" y="${at(y.at(height))}" width="${at(end - start)}" ` +
        `height="${at(y.at(0) - y.at(height))}"><title>${escapeHtml(name)}, ` +
        `${escapeHtml(range)}: ${escapeHtml(chart.format(height))}</title></rect>`
      );
    });
    return `<g class="s${colour}">${drawn.join('')}</g>`;
  });
  const legend = series.map(
    ({ name, colour }) => `<li class="s${colour}">${escapeHtml(name)}</li>`,
  );
  const description = `${chart.title}. ${series
    .map(({ name, bins }) => `${name}: ${bins.map(chart.format).join(', ')}`)
    .join('; ')}.`;
  return figure(chart, legend, description, [yAxis(y, chart), xAxis(x, chart), ...bars]);
}

const short = (value: number): string => String(Number(value.toPrecision(3))).replace(/^-/, '−');
