/** metrics.jsonl and the TensorBoard file contain each row once, independent of interruptions. */
import { beforeEach, describe, expect, it } from '@jest/globals';
import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { encodeEvent, encodeVersion, type ScalarEvent } from '../../src/run/tensorboard.js';
import { MetricsLog, type MetricsRow } from '../../src/run/metrics-log.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { untimed } from '../../src/run/timing.js';
import { temporaryFolder } from '../support/tiny-model.js';

const EVENT_FILE = 'tensorboard/events.out.tfevents.cream';
let directory: string;
beforeEach(() => {
  directory = temporaryFolder('cream-metrics-');
});

const record = (step: number, loss = step / 10): StepRecord => ({
  step,
  epoch: step / 4,
  loss,
  grad_norm: 1,
  learning_rate: 1e-6,
  num_tokens: 100 * step,
});
const timing = { 'perf/seconds': 0.5, 'perf/tokens_per_second': 200, 'perf/memory_gib': 1 };
const rows = (): MetricsRow[] =>
  readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsRow);
const events = (): Buffer => readFileSync(join(directory, EVENT_FILE));
/** Events after the version, by the lengths that the file tells. */
function eventCount(): number {
  const bytes = events();
  let count = 0;
  for (let at = 0; at < bytes.length; at += 16 + Number(bytes.readBigUInt64LE(at))) count++;
  return count - 1;
}
const log = (time: number, told: MetricsRow[] = []) =>
  new MetricsLog(
    directory,
    (row) => told.push(row),
    () => time,
  );

/** SFT of two steps, then two of four steps of iteration 1. */
function begin(metrics: MetricsLog): void {
  metrics.step('sft', record(1), timing);
  metrics.step('sft', record(2), timing);
  metrics.finish('sft', { 'eval/accuracy': 0.5 });
  metrics.step(1, record(1), timing);
  metrics.step(1, record(2), timing);
}

describe('the metrics of a run', () => {
  it('grow with every step and count the steps of all stages', () => {
    begin(log(100));
    expect(rows().map(({ stage, step, stage_step }) => [stage, step, stage_step])).toEqual([
      ['sft', 1, 1],
      ['sft', 2, 2],
      ['sft', 2, undefined],
      ['train', 3, 1],
      ['train', 4, 2],
    ]);
    expect(rows()[0]).toEqual({
      iteration: 0,
      stage: 'sft',
      step: 1,
      stage_step: 1,
      epoch: 0.25,
      loss: 0.1,
      grad_norm: 1,
      learning_rate: 1e-6,
      num_tokens: 100,
      ...timing,
      'perf/time': 100,
    });
    expect(eventCount()).toBe(5);
  });

  it('go on after a stop with each row once, and the timing of the call that took it', () => {
    begin(log(100));
    const inode = statSync(join(directory, 'metrics.jsonl')).ino;
    const told: MetricsRow[] = [];
    const resumed = log(200, told);
    // SFT is finished; of iteration 1 one step was saved, so its second step is taken again.
    resumed.steps('sft', [record(1), record(2)]);
    resumed.finish('sft', { 'eval/accuracy': 0.5 });
    resumed.steps(1, [record(1)]);
    expect(rows()).toHaveLength(5);
    resumed.step(1, record(2), { ...timing, 'perf/seconds': 9 });
    resumed.step(1, record(3), timing);
    resumed.steps(1, [record(1), record(2), record(3)]);
    resumed.finish(1, { 'cream/consistency': 0.75 });
    resumed.end();
    expect(rows().map(({ stage, step }) => `${stage} ${step}`)).toEqual([
      'sft 1',
      'sft 2',
      'sft 2',
      'train 3',
      'train 4',
      'train 5',
      'iteration 5',
    ]);
    expect(rows().map((row) => row['perf/time'])).toEqual([100, 100, 100, 100, 100, 200, 200]);
    expect(told).toEqual(rows());
    expect(eventCount()).toBe(7);
    expect(statSync(join(directory, 'metrics.jsonl')).ino).toBe(inode);
  });

  it('are what an undisturbed run writes, but for the timing, also where the end was lost', () => {
    begin(log(100));
    const whole = readFileSync(join(directory, 'metrics.jsonl'), 'utf8');
    const wholeEvents = events();
    for (const cut of [0, 1, 40, whole.length - 1, whole.length - 60]) {
      writeFileSync(join(directory, 'metrics.jsonl'), whole.slice(0, cut));
      writeFileSync(join(directory, EVENT_FILE), wholeEvents.subarray(0, cut));
      begin(log(300));
      expect(rows().map((row) => untimed(JSON.stringify(row)))).toEqual(
        whole.trimEnd().split('\n').map(untimed),
      );
      expect(eventCount()).toBe(5);
    }
  });

  it('lose what differs, what is damaged and what no row accounts for', () => {
    begin(log(100));
    const other = log(200);
    other.step('sft', record(1, 7), timing);
    other.end();
    expect(rows()).toHaveLength(1);
    expect(rows()[0]).toMatchObject({ loss: 7, 'perf/time': 200 });
    expect(eventCount()).toBe(1);

    appendFileSync(join(directory, 'metrics.jsonl'), '{"stage": "sft", "perf/time": \n[1]\n');
    const again = log(300);
    again.step('sft', record(1, 7), timing);
    again.step('sft', record(2), timing);
    again.end();
    expect(rows().map((row) => row['perf/time'])).toEqual([200, 300]);
    expect(eventCount()).toBe(2);
  });

  it('stop with a sentence where something else has the name of their file', () => {
    mkdirSync(join(directory, 'metrics.jsonl'));
    expect(() => log(1)).toThrow(/metrics\.jsonl is not a regular file: move it away/);
    const disk = temporaryFolder();
    writeFileSync(join(disk, 'tensorboard'), '');
    expect(() => new MetricsLog(disk)).toThrow(
      /^Cannot write .*tfevents\.cream: part of this path is a file/,
    );
  });
});

describe('the event file', () => {
  const golden = JSON.parse(
    readFileSync(resolve(import.meta.dirname, '../golden/event_file.json'), 'utf8'),
  ) as { version: { time: number; hex: string }; events: (ScalarEvent & { hex: string })[] };

  it("has the bytes of TensorBoard's own writer", () => {
    expect(encodeVersion(golden.version.time).toString('hex')).toBe(golden.version.hex);
    expect(golden.events.length).toBeGreaterThan(3);
    for (const { hex, ...event } of golden.events)
      expect(encodeEvent(event).toString('hex')).toBe(hex);
  });

  it('has the columns of a step as curves of its stage, those of a phase by their names', () => {
    begin(log(100));
    const text = events().toString('latin1');
    for (const tag of ['sft/loss', 'train/grad_norm', 'train/perf/memory_gib', 'eval/accuracy'])
      expect(text).toContain(tag);
    expect(text).not.toContain('sft/eval');
    expect(text).not.toContain('stage_step');
  });
});
