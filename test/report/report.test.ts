import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { escapeHtml } from '../../src/report/html.js';
import { readRun } from '../../src/report/metrics.js';
import { reportHtml } from '../../src/report/page.js';
import { lineChart } from '../../src/report/plots.js';
import { writeRun } from './fixture.js';
import { temporaryFolder } from '../support/folders.js';

let directory: string;
beforeEach(() => {
  directory = temporaryFolder('cream-report-');
});

/** Elements left open or closed out of order. */
function unbalanced(html: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, close, name, self] of html
    .replace(/<style>.*?<\/style>/s, '')
    .replace(/(<script[^>]*>).*?(<\/script>)/gs, '$1$2')
    .matchAll(/<(\/?)([a-z][a-z0-9]*)(?:\s[^<>]*?)?(\/?)>/gi)) {
    if (self || ['meta', 'br', 'input'].includes(name!)) continue;
    if (!close) open.push(name!);
    else if (open.pop() !== name) wrong.push(name!);
  }
  return [...wrong, ...open];
}

describe('readRun', () => {
  it('gives a row for the base model, SFT and each iteration', () => {
    writeRun(directory);
    const run = readRun(directory);
    expect(run).toMatchObject({
      model: 'tiny',
      versions: { cream: '0.1.0' },
      started: '2026-01-02T03:04:05.000Z',
      finished: true,
      problems: [],
    });
    expect(run.phases.map(({ label }) => label)).toEqual([
      'Base model',
      'After SFT',
      'Iteration 1',
      'Iteration 2',
    ]);
    expect(run.phases.map(({ accuracy }) => accuracy!.correct)).toEqual([10, 15, 20, 25]);
    expect(
      run.phases.map(
        ({ comparison }) => comparison && [comparison.onlyAfter, comparison.onlyBefore],
      ),
    ).toEqual([null, [5, 0], [5, 0], [5, 0]]);
    expect(run.phases[1]!.steps).toEqual([
      { step: 1, loss: 2.5, margin: null, kl: null, gradNorm: null, learningRate: null },
      { step: 2, loss: 2, margin: null, kl: null, gradNorm: null, learningRate: null },
    ]);
  });

  it('sums the runs of a stage, and tells SFT from the base model', () => {
    writeRun(directory);
    expect(readRun(directory).phases.map(({ stages }) => stages)).toEqual([
      [{ stage: 'evaluate', seconds: 10, tokens: 500 }],
      [
        { stage: 'sft', seconds: 10, tokens: 900 },
        { stage: 'evaluate', seconds: 9, tokens: 450 },
      ],
      [{ stage: 'sample', seconds: 20, tokens: 24_000 }],
      [],
    ]);
  });

  it('joins rankings, completions and pairs by id', () => {
    writeRun(directory);
    const { ranking } = readRun(directory).phases[2]!;
    expect(ranking).toMatchObject({
      prompts: 12,
      pairs: 11,
      skipped: { all_equal: 1 },
      mean_length: 3,
      truncated: 0,
      distinct_2: 1,
      repeated_4: null,
    });
    expect(ranking!.consistency).toBeCloseTo((ranking!.kendall_tau! + 1) / 2, 12);
    expect(ranking!.kendallShares.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    expect(ranking!.examples).toHaveLength(6);
    let chosenRight = 0;
    for (const { samples, skipped } of ranking!.examples) {
      expect(samples.map(({ rankCurrent }) => rankCurrent)).toEqual([1, 2, 3, 4]);
      if (skipped === null)
        expect([samples[0]!.role, samples[3]!.role]).toEqual(['chosen', 'rejected']);
      for (const { sample, correct } of samples) expect(correct).toBe(sample === 1);
      chosenRight += samples[0]!.role === 'chosen' && samples[0]!.correct ? 1 : 0;
    }
    expect(ranking!.sample_accuracy).toBe(0.25);
    expect(ranking!.chosen_accuracy! * 11).toBeGreaterThanOrEqual(chosenRight);
    expect(ranking!.ranking_couples).toBe(36);
  });
});

describe('reportHtml', () => {
  it('has every section and balanced tags', () => {
    writeRun(directory);
    const html = reportHtml(directory);
    for (const text of [
      'Results',
      'Speed',
      'Rankings',
      'Drift',
      'Curves',
      'KL to the base model',
      'Repetition',
      'Ranking accuracy',
      '0.000012 <small>1.00</small>',
      'by prompt',
      'Ranked samples',
      'Recipe',
      '62.5 %',
      '1,200',
      'Preference loss',
      'iterations: 2',
      'class="chosen"',
    ])
      expect(html).toContain(text);
    expect(unbalanced(html)).toEqual([]);
    expect(html).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  it('asks the network for nothing and allows its own script alone', () => {
    writeRun(directory);
    const html = reportHtml(directory);
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/<link|<iframe|<img|https?:\/\/|url\(|@import|\son\w+=|\sstyle=/i);
    const scripts = [...html.matchAll(/<script>(.*?)<\/script>/gs)].map(([, text]) => text!);
    expect(scripts).toHaveLength(1);
    const hash = createHash('sha256').update(scripts[0]!).digest('base64');
    expect(html).toContain(`script-src 'sha256-${hash}'`);
    expect(html.replace(/<script( type="application\/json")?>/g, '')).not.toContain('<script');
  });

  it.each([
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '</pre></details><h1>owned</h1>',
    '</title></style><b>',
    '<!--',
    '&lt;script&gt;',
    '\u0000\u001b[31m\ud800\u202egpj.exe',
    ']]>',
  ])('shows hostile text as text: %j', (hostile) => {
    writeRun(directory, { hostile });
    const html = reportHtml(directory);
    expect(unbalanced(html)).toEqual([]);
    const own = /<script>|<script type="application\/json">/g;
    expect(html.replace(own, '')).not.toMatch(
      /<script|<img|<h1>owned|onmouseover='|<!--|\u0000|\u202e/,
    );
    expect(html.match(own)).toHaveLength(3);
    expect(html.match(/<b>/g)!.length).toBe(html.match(/<\/b>/g)!.length);
    expect(html).toContain(escapeHtml(hostile));
  });

  it('explains an empty directory, a missing one, and a run without a summary', () => {
    expect(reportHtml(directory)).toContain('The run has not begun');
    expect(unbalanced(reportHtml(join(directory, 'none')))).toEqual([]);
    writeRun(directory);
    rmSync(join(directory, 'summary.json'));
    expect(reportHtml(directory)).toContain('The run is not finished');
  });

  it('is written although any one file is missing, empty, cut or replaced', () => {
    const files = () =>
      readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name));
    const harms: ((path: string) => void)[] = [
      (path) => rmSync(path),
      (path) => truncateSync(path, 0),
      (path) => truncateSync(path, 100),
      (path) =>
        writeFileSync(
          path,
          '{"prompt_id": 7, "samples": ["a"], "step": null, "type": "stage_finished", ' +
            '"correct": "yes", "answer": {}, "choices": [null]}\n[1]\nnull\n',
        ),
      (path) => writeFileSync(path, Buffer.from([0xff, 0xfe, 0x0a, 0x7b])),
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
    ];
    writeRun(directory);
    for (const path of files()) {
      const whole = readFileSync(path);
      for (const [index, harm] of harms.entries()) {
        rmSync(path, { recursive: true });
        writeFileSync(path, whole);
        harm(path);
        let html = '';
        try {
          html = reportHtml(directory);
        } catch (error) {
          // a folder in place of a file
          expect([index, (error as Error).name]).toEqual([5, 'DataError']);
          continue;
        }
        expect(unbalanced(html)).toEqual([]);
        expect(html).not.toMatch(/NaN|undefined|\[object/);
        if (!existsSync(path)) writeFileSync(path, whole);
      }
      rmSync(path, { recursive: true });
      writeFileSync(path, whole);
    }
  });

  it('counts the lines it left out', () => {
    writeRun(directory);
    appendFileSync(join(directory, 'events.jsonl'), '{"time": "20');
    appendFileSync(join(directory, 'iteration-1/completions.jsonl'), '{}\n{"token_ids": [1]}\n');
    expect(reportHtml(directory)).toContain(
      'events.jsonl: 1 line could not be read and is left out.',
    );
    expect(reportHtml(directory)).toContain(
      'iteration-1/completions.jsonl: 2 lines could not be read and are left out.',
    );
  });
});

describe('lineChart', () => {
  const chart = (points: { x: number; y: number; low?: number; high?: number }[]) =>
    lineChart({
      title: 'T',
      note: '',
      yLabel: 'y',
      series: [{ name: 'a', points }],
      format: String,
    });

  it('is empty without data', () => expect(chart([{ x: 0, y: NaN }])).toBe(''));
  it('draws one point, and equal points', () => {
    for (const points of [
      [{ x: 1, y: 5 }],
      [
        { x: 1, y: 0 },
        { x: 2, y: 0 },
      ],
    ])
      expect(chart(points)).not.toMatch(/NaN|Infinity/);
  });
  it('keeps within its frame', () => {
    const svg = chart(
      Array.from({ length: 30 }, (_, x) => ({ x, y: Math.sin(x) * 1e-6, low: -2e-6, high: 2e-6 })),
    );
    for (const [, cx, cy] of svg.matchAll(/cx="([\d.-]+)" cy="([\d.-]+)"/g)) {
      expect(Number(cx)).toBeGreaterThan(50);
      expect(Number(cx)).toBeLessThan(440);
      expect(Number(cy)).toBeGreaterThanOrEqual(12);
      expect(Number(cy)).toBeLessThanOrEqual(202);
    }
  });
  it('thins long series to what a screen shows', () => {
    const svg = chart(Array.from({ length: 100_000 }, (_, x) => ({ x, y: x })));
    expect(svg.length).toBeLessThan(10_000);
    expect(svg).not.toContain('<circle');
  });
});
