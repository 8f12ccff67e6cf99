/**
 * report.html of a run that is embedded in a program: it is written during the run and never
 * disturbs it.
 */
import { expect, it } from '@jest/globals';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

it('shows what a stopped run has, and the finished run', async () => {
  const directory = join(temporaryFolder(), 'run');
  const stop = new AbortController();
  const stopped = tinyRun(['iterations=1', 'train.save_steps=1'], {
    directory,
    signal: stop.signal,
    onEvent: ({ type }) => void (type === 'step' && stop.abort()),
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  const report = () => readFileSync(join(directory, 'report.html'), 'utf8');
  expect(report()).toContain('In progress: Iteration 1, train, ');
  expect(report()).toContain('Ranked samples');
  expect(report()).toContain('Preference loss'); // of the steps in metrics.jsonl
  expect(existsSync(join(directory, 'iteration-1/steps.jsonl'))).toBe(false);
  await tinyRun(['iterations=1', 'train.save_steps=1'], { directory });
  expect(report()).toContain('<dd>finished</dd>');
  expect(report()).not.toContain('In progress');
});

it('that cannot be written is reported once, and the run finishes', async () => {
  const directory = join(temporaryFolder(), 'run');
  mkdirSync(join(directory, 'report.html'), { recursive: true });
  writeFileSync(join(directory, 'report.html/x'), '');
  const { events } = await tinyRun([], { directory });
  const warnings = events.flatMap((event) => (event.type === 'warning' ? event.message : []));
  expect(warnings.filter((message) => message.startsWith('The report is not written'))).toEqual([
    expect.stringMatching(/report\.html: it is a folder.* The run continues\.$/),
  ]);
  expect(events.some(({ type }) => type === 'run_finished')).toBe(true);
});
