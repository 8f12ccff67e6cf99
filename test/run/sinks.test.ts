/** Sinks of metrics: each row once and in order, whatever fails or stops. */
import { describe, expect, it } from '@jest/globals';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readMetrics, type MetricsRow } from '../../src/run/metrics-log.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { Outlets, type MetricsSink } from '../../src/run/sinks.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const recipe = parseRecipe('{}', 'default');
const row = (step: number): MetricsRow => ({
  iteration: 1,
  stage: 'train',
  step,
  stage_step: step,
  'perf/time': step,
});

/** A sink that keeps what it is told, and fails while `failing` says so. */
function keeper(failing: () => boolean = () => false) {
  const steps: number[] = [];
  const firsts: number[] = [];
  const calls: string[] = [];
  const sink: MetricsSink = {
    name: 'keeper',
    open: ({ taken }) => void calls.push(`open ${taken}`),
    log: async (rows, first) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (failing()) throw new Error('not now');
      firsts.push(first);
      steps.push(...rows.map(({ step }) => step));
    },
    close: ({ finished }) => void calls.push(`close ${finished}`),
  };
  return { sink, steps, firsts, calls };
}

describe('a sink', () => {
  it('takes all rows in order, and a resumed run goes on with the next', async () => {
    const directory = temporaryFolder();
    const first = keeper();
    const outlets = new Outlets(recipe, { directory, sinks: [first.sink] }, () => {});
    for (let step = 1; step <= 5; step++) outlets.add(row(step), false);
    await outlets.end(false);
    expect(first.steps).toEqual([1, 2, 3, 4, 5]);
    expect(first.calls).toEqual(['open 0', 'close false']);
    const second = keeper();
    const resumed = new Outlets(recipe, { directory, sinks: [second.sink] }, () => {});
    for (let step = 1; step <= 8; step++) resumed.add(row(step), step <= 5);
    await resumed.end(true);
    expect(second.steps).toEqual([6, 7, 8]);
    expect(second.firsts[0]).toBe(5);
    expect(second.calls).toEqual(['open 5', 'close true']);
  });

  it('that fails gets the same rows again; the run is warned once', async () => {
    const directory = temporaryFolder();
    let failures = 2;
    const { sink, steps } = keeper(() => failures-- > 0);
    const warnings: string[] = [];
    const outlets = new Outlets(recipe, { directory, sinks: [sink] }, (text) =>
      warnings.push(text),
    );
    for (let step = 1; step <= 3; step++) outlets.add(row(step), false);
    await outlets.end(true);
    expect(steps).toEqual([1, 2, 3]);
    expect(warnings).toEqual([
      'The sink keeper failed: not now. Its rows wait and are sent again; the run goes on.',
    ]);
  });

  it('that never answers or always fails is reported, and no row is lost', async () => {
    const directory = temporaryFolder();
    const warnings: string[] = [];
    const silent: MetricsSink = { name: 'silent', log: () => new Promise(() => {}) };
    const broken: MetricsSink = {
      name: 'broken',
      log: () => {
        throw new Error('no such host');
      },
    };
    const outlets = new Outlets(
      recipe,
      { directory, sinks: [silent, broken], lastWaitMs: 50 },
      (text) => warnings.push(text),
    );
    for (let step = 1; step <= 3; step++) outlets.add(row(step), false);
    await outlets.end(true);
    expect(warnings.slice(1).sort()).toEqual([
      `The sink broken did not take 3 of 3 rows (no such host). They are in ` +
        `${directory}/metrics.jsonl, and the same call sends them again.`,
      `The sink silent did not take 3 of 3 rows (no answer in 0.05 s). They are in ` +
        `${directory}/metrics.jsonl, and the same call sends them again.`,
    ]);
    const later = keeper();
    const again = new Outlets(
      recipe,
      { directory, sinks: [{ ...later.sink, name: 'broken' }] },
      () => {},
    );
    for (let step = 1; step <= 3; step++) again.add(row(step), true);
    await again.end(true);
    expect(later.steps).toEqual([1, 2, 3]);
  });

  it('that never answers does not hold up a run that is stopped', async () => {
    const silent: MetricsSink = { name: 'silent', log: () => new Promise(() => {}) };
    const directory = temporaryFolder();
    for (const before of [true, false]) {
      const stop = new AbortController();
      const warnings: string[] = [];
      const options = { signal: stop.signal, lastWaitMs: 3_600_000, stoppedWaitMs: 20 };
      const outlets = new Outlets(recipe, { directory, sinks: [silent], ...options }, (text) =>
        warnings.push(text),
      );
      outlets.add(row(1), false);
      if (before) stop.abort();
      const ended = outlets.end(true);
      stop.abort();
      await ended;
      expect(warnings).toEqual([
        `The sink silent did not take 1 of 1 rows (no answer in 0.02 s). They are in ` +
          `${directory}/metrics.jsonl, and the same call sends them again.`,
      ]);
    }
  });

  it('whose rows cannot be noted in sinks.json goes on, and later rows are noted', async () => {
    const directory = temporaryFolder();
    const path = join(directory, 'sinks.json');
    const warnings: string[] = [];
    const { sink, steps } = keeper();
    const outlets = new Outlets(recipe, { directory, sinks: [sink] }, (text) =>
      warnings.push(text),
    );
    mkdirSync(path); // no file can take its place
    outlets.add(row(1), false);
    while (warnings.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    rmSync(path, { recursive: true });
    outlets.add(row(2), false);
    await outlets.end(true);
    expect(steps).toEqual([1, 2]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(path);
    expect(warnings[0]).toMatch(/If the run is resumed before it can be written, the sinks get/);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ keeper: 2 });
  });

  it('needs a name of its own', () => {
    const { sink } = keeper();
    const directory = temporaryFolder();
    expect(() => new Outlets(recipe, { directory, sinks: [sink, sink] }, () => {})).toThrow(
      "Two sinks are called 'keeper': give each its own name.",
    );
  });
});

describe('onMetrics', () => {
  it('may be async: its rejection is a warning', async () => {
    const warnings: string[] = [];
    let calls = 0;
    const onMetrics = (async () => {
      calls++;
      await Promise.resolve();
      throw new Error('mine');
    }) as () => void;
    const directory = temporaryFolder();
    const outlets = new Outlets(recipe, { directory, onMetrics }, (text) => warnings.push(text));
    outlets.add(row(1), false);
    await new Promise(setImmediate);
    outlets.add(row(2), false);
    await outlets.end(true);
    expect(calls).toBe(1);
    expect(warnings).toEqual([
      'onMetrics failed and is not called again: mine. The run goes on; metrics.jsonl has all ' +
        'rows.',
    ]);
  });
});

describe('run()', () => {
  it('passes the rows of metrics.jsonl to sinks and callback, stopped and resumed', async () => {
    const directory = join(temporaryFolder(), 'run');
    const { sink, steps, calls } = keeper();
    const called: MetricsRow[] = [];
    const stop = new AbortController();
    const options = {
      directory,
      sinks: [sink],
      onMetrics: (one: MetricsRow) => {
        called.push(one);
        if (called.length === 1) throw new Error('mine');
      },
    };
    const settings = ['iterations=1', 'train.save_steps=1'];
    await expect(
      tinyRun(settings, {
        ...options,
        signal: stop.signal,
        onEvent: ({ type }) => void (type === 'step' && stop.abort()),
      }),
    ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const { events } = await tinyRun(settings, options);
    const all = readMetrics(directory);
    expect(steps).toEqual(all.map(({ step }) => step));
    expect(called.slice(1)).toEqual(all.slice(-called.length + 1));
    expect(calls).toEqual([
      'open 0',
      'close false',
      `open ${all.length - called.length + 1}`,
      'close true',
    ]);
    const warnings = events.flatMap((event) => (event.type === 'warning' ? event.message : []));
    expect(warnings.filter((text) => /sink|onMetrics/.test(text))).toEqual([]);
    // Finished: a sink that is new gets all rows.
    const late = keeper();
    await tinyRun(settings, { directory, sinks: [{ ...late.sink, name: 'late' }] });
    expect(late.steps).toEqual(steps);
    expect(JSON.parse(readFileSync(join(directory, 'sinks.json'), 'utf8'))).toEqual({
      keeper: all.length,
      late: all.length,
    });
  });
});
