import { describe, expect, it } from '@jest/globals';
import { duration, Progress, showEvent, thousands } from '../../src/cli/progress.js';
import { formatTable } from '../../src/cli/table.js';

/** A stream that keeps what is written, and a clock that is set by hand. */
function terminal(isTTY: boolean) {
  const stream = {
    isTTY,
    columns: 70,
    text: '',
    write: (text: string) => void (stream.text += text),
  };
  const clock = { now: 0 };
  return { stream, clock, progress: new Progress(stream, () => clock.now) };
}

const plain = (text: string): string => text.replace(/\x1b\[[0-9;]*m/g, '');
const started = {
  type: 'stage_started',
  iteration: 1,
  phase: 1,
  stage: 'sample',
  done: 0,
  total: 100,
  unit: 'completions',
} as const;
const moved = (done: number, tokens: number) =>
  ({
    type: 'stage_progress',
    iteration: 1,
    phase: 1,
    stage: 'sample',
    done,
    total: 100,
    tokens,
  }) as const;

describe('progress on a terminal', () => {
  it('without a known width still shows the line', () => {
    const { stream, progress } = terminal(true);
    stream.columns = 0;
    showEvent(progress, started);
    expect(plain(stream.text)).toContain('0/100 completions');
  });
});

describe('progress without a terminal', () => {
  it('is a plain line at most every five seconds, with rate and ETA', () => {
    const { stream, clock, progress } = terminal(false);
    showEvent(progress, started);
    for (let second = 1; second <= 11; second++) {
      clock.now = second * 1000;
      showEvent(progress, moved(second * 5, second * 300));
    }
    showEvent(progress, {
      type: 'stage_finished',
      iteration: 1,
      phase: 1,
      stage: 'sample',
      seconds: 20,
      tokens: 6000,
      note: 'mean length 60 tokens',
    });
    expect(plain(stream.text)).toBe(
      [
        'iteration 1  sample   [#####---------------] 25/100 completions, 300 tok/s, ETA 0:15',
        'iteration 1  sample   [##########----------] 50/100 completions, 300 tok/s, ETA 0:10',
        'iteration 1  sample   100 completions in 0:20, 300 tok/s · mean length 60 tokens',
        '',
      ].join('\n'),
    );
  });

  it('says where a stopped stage goes on, and counts the rate from there', () => {
    const { stream, clock, progress } = terminal(false);
    showEvent(progress, { ...started, done: 40 });
    clock.now = 5000;
    showEvent(progress, moved(50, 1000));
    expect(plain(stream.text)).toBe(
      'iteration 1  sample   resumes at 40 of 100 completions\niteration 1  sample   ' +
        '[##########----------] 50/100 completions, 200 tok/s, ETA 0:25\n',
    );
  });
});

describe('progress of training', () => {
  it('shows loss, margin and learning rate of the newest step', () => {
    const { stream, clock, progress } = terminal(false);
    const stage = { iteration: 1, phase: 1, stage: 'train' } as const;
    showEvent(progress, { type: 'stage_started', ...stage, done: 0, total: 8, unit: 'pairs' });
    const metrics = {
      step: 1,
      epoch: 0.25,
      loss: 0.69314,
      grad_norm: 1,
      learning_rate: 9.8e-7,
      num_tokens: 10,
    };
    const timing = { 'perf/seconds': 1, 'perf/tokens_per_second': 10, 'perf/memory_gib': 1 };
    showEvent(progress, {
      type: 'step',
      ...stage,
      metrics: { ...metrics, 'rewards/margins': 0.00213 },
      timing,
    });
    clock.now = 6000;
    showEvent(progress, { type: 'stage_progress', ...stage, done: 2, total: 8, tokens: 0 });
    showEvent(progress, { type: 'step', ...stage, metrics, timing });
    clock.now = 12_000;
    showEvent(progress, { type: 'stage_progress', ...stage, done: 4, total: 8, tokens: 0 });
    expect(plain(stream.text)).toBe(
      'iteration 1  train    [#####---------------] 2/8 pairs, loss 0.6931, margin 0.0021, ' +
        'lr 9.8e-7, ETA 0:18\niteration 1  train    [##########----------] 4/8 pairs, ' +
        'loss 0.6931, lr 9.8e-7, ETA 0:12\n',
    );
  });
});

describe('progress on a terminal', () => {
  it('redraws one line, within the width, and ends it', () => {
    const { stream, clock, progress } = terminal(true);
    showEvent(progress, started);
    clock.now = 1000;
    showEvent(progress, moved(50, 3000));
    clock.now = 1010;
    showEvent(progress, moved(51, 3000)); // too soon to draw again
    progress.warn('something');
    showEvent(progress, {
      type: 'stage_finished',
      iteration: 1,
      phase: 1,
      stage: 'sample',
      seconds: 2,
      tokens: 6000,
      note: '',
    });
    const drawn = plain(stream.text)
      .split(/\r\x1b\[2K|\n/)
      .filter(Boolean);
    expect(drawn.every((line) => line.length <= 80)).toBe(true);
    // start, first move, after the warning
    expect(drawn.filter((line) => line.includes('/100')).length).toBe(3);
    expect(drawn).toContain('warning something');
    expect(stream.text.endsWith('\n')).toBe(true);
  });
});

it.each([
  [3.42, '3.4 s'],
  [75, '1:15'],
  [59.7, '1:00'],
  [4000, '1:06:40'],
])('%d seconds read %s', (seconds, text) => expect(duration(seconds)).toBe(text));
it.each([
  [12.34, '12.3'],
  [1234567, '1,234,567'],
  [7, '7'],
])('%d reads %s', (value, text) => expect(thousands(value)).toBe(text));

it('a table aligns its first column left and the others right', () => {
  expect(
    formatTable(
      ['model', 'C'],
      [
        ['base', ''],
        ['iteration 1', '0.5'],
      ],
    ),
  ).toBe('model          C\n-----------  ---\nbase\niteration 1  0.5');
});
