// Results as tables: for a terminal, or as Markdown to paste into BENCHMARKS.md.
import { gib, percent, short, withRange } from './statistics.mjs';

/** Edge of the roofline's square matrices: a GPU needs larger ones to reach its peak. */
export const edgeOf = (device) => (device === 'cpu' ? 2048 : 8192);

/** The measurements of machine.mjs. */
export const ROOFLINE = {
  bf16: 'bf16 GEMM, 2048³',
  fp32: 'fp32 GEMM, 2048³',
  bf16Rows: 'bf16 GEMM, 40 rows, 2048²',
  fp32Rows: 'fp32 GEMM, 40 rows, 2048²',
  bf16ModelRows: "bf16 GEMM, 40 rows, the model's own matrices",
  copy: 'memory copy, read + written',
};

export function plainTable(header, rows) {
  const widths = header.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => row[i].length)),
  );
  const line = (cells) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join(
    '\n',
  );
}

export function markdownTable(header, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [
    line(header),
    line(header.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...rows.map(line),
  ].join('\n');
}

const giga = (value) => short(value / 1e9);

export function rooflineTable(roofline, asMarkdown, gpu) {
  const rows = Object.entries(ROOFLINE).map(([key, what]) => [
    gpu ? what.replace('2048', '8192') : what,
    withRange(roofline[key], giga),
    key === 'copy' ? 'GB/s' : 'GFLOP/s',
  ]);
  return (asMarkdown ? markdownTable : plainTable)(['roofline', 'median (min–max)', 'unit'], rows);
}

/** One row per contender. Ratios are cream-lm's advantage, from trials of the same round. */
export function caseTable({ contenders }, asMarkdown) {
  const [shown, blank] = [(value, show) => (value ? show(value) : ''), ''];
  const ready = contenders.some(({ readySeconds }) => readySeconds);
  const tokens = contenders.some((c) => c.tokensPerSecond);
  const header = [
    '',
    'seconds',
    ...(ready ? ['to first logits, s'] : []),
    ...(tokens
      ? [
          'tokens/s',
          'GFLOP/s',
          'of bf16 peak',
          'of nominal peak',
          'decode, of 40-row rate',
          'decode, of copy rate',
        ]
      : []),
    'on the device',
    'peak RSS',
    'cream-lm is',
    'with memory',
  ];
  const rows = contenders.map((c) =>
    c.error
      ? [c.name, 'failed', ...header.slice(2).map(() => blank)]
      : [
          c.name,
          withRange(c.seconds),
          ...(ready ? [shown(c.readySeconds, withRange)] : []),
          ...(tokens
            ? [
                shown(c.tokensPerSecond, withRange),
                shown(c.flopsPerSecond, (v) => giga(v.median)),
                shown(c.shareOfPeak, (v) => percent(v.median)),
                shown(c.shareOfNominal, (v) => percent(v.median)),
                shown(c.decodeShareOfRows, (v) => percent(v.median)),
                shown(c.decodeShareOfCopy, (v) => percent(v.median)),
              ]
            : []),
          shown(c.peakDevice, (v) => gib(v.median)),
          gib(c.peakRss.median),
          shown(c.creamSpeed, (v) => `${withRange(v)} ×`),
          shown(c.creamMemory, (v) => `${v.median.toFixed(2)} ×`),
        ],
  );
  const used = header.map((_, i) => i === 0 || rows.some((row) => row[i] !== blank));
  const keep = (cells) => cells.filter((_, i) => used[i]);
  return (asMarkdown ? markdownTable : plainTable)(keep(header), rows.map(keep));
}

export function notes({ counts, contenders }) {
  return [
    ...(counts ? [`Tokens: ${counts}.`] : []),
    ...contenders.map(({ name, note, error }) => `${name}: ${error ? `failed: ${error}` : note}.`),
  ];
}
