/**
 * Files that follow from others, and files beside those of a run: what differs from what the run
 * wrote is told or made again, and nothing else hinders it.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { artefacts, cream } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { tinyRun } from '../support/run.js';

const work = temporaryFolder('cream-derived-');
const prompts = join(work, 'prompts.jsonl');
const settings = [`prompts.source=[${prompts}]`, 'prompts.count=2', 'iterations=1'];
const writePrompts = (first: string): void =>
  writeFileSync(prompts, `{"id": "a", "prompt": "${first}"}\n{"id": "b", "prompt": "Two?"}\n`);
let whole: string;
let stopped: string;

beforeAll(async () => {
  writePrompts('One?');
  whole = (await tinyRun(settings, { directory: join(work, 'whole') })).directory;
  stopped = join(work, 'stopped');
  const stop = new AbortController();
  await expect(
    tinyRun(settings, {
      directory: stopped,
      signal: stop.signal,
      onEvent: (event) => void (event.type === 'stage_finished' && stop.abort()),
    }),
  ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
});

function copy(run: string): (name: string) => string {
  const folder = join(temporaryFolder('cream-derived-'), 'run');
  cpSync(run, folder, { recursive: true });
  return (name) => join(folder, name);
}

const change = (path: string, by: (text: string) => string): void =>
  writeFileSync(path, by(readFileSync(path, 'latin1')), 'latin1');
const toCrLf = (text: string): string => text.replaceAll('\n', '\r\n');

describe('of a finished run', () => {
  const TENSORBOARD = 'tensorboard/events.out.tfevents.cream';
  it.each([
    ['metrics.jsonl with CRLF', 'metrics.jsonl', toCrLf],
    [
      'TensorBoard’s file with zeros',
      TENSORBOARD,
      (text) => `${text.slice(0, -9)}${'\0'.repeat(9)}`,
    ],
    ['TensorBoard’s file, cut off', TENSORBOARD, (text) => text.slice(0, 300)],
    ['TensorBoard’s file, empty', TENSORBOARD, () => ''],
  ] as [string, string, (text: string) => string][])(
    '%s is told, and made again',
    async (_, name, by) => {
      const at = copy(whole);
      change(at(name), by);
      const { code, stdout } = await cream('verify', at(''));
      expect([code, stdout]).toEqual([1, expect.stringMatching(new RegExp(`^${name} is damaged`))]);
      await tinyRun(settings, { directory: at('') });
      expect((await cream('verify', at(''))).stdout).toContain('are as they were written');
      expect(artefacts(at(''))).toEqual(artefacts(whole));
    },
  );

  it('records.jsonl with CRLF does not fit', async () => {
    const at = copy(whole);
    change(at('records.jsonl'), toCrLf);
    await expect(tinyRun(settings, { directory: at('') })).rejects.toThrow(
      'records.jsonl is damaged: line 1',
    );
  });

  it('a lost record of its files is told by the report too', async () => {
    const at = copy(whole);
    rmSync(at('records.jsonl'));
    const { code, stderr } = await cream('report', at(''));
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining(
        'records.jsonl is missing, so the files of the run cannot be checked',
      ),
    ]);
  });

  it('other files and folders beside those of the run are no hindrance', async () => {
    const at = copy(whole);
    writeFileSync(at('iteration-9'), 'a note');
    mkdirSync(at('iteration-3'));
    writeFileSync(at('iteration-1/notes.txt'), 'a note');
    expect(await cream('verify', at(''))).toMatchObject({ code: 0 });
    await tinyRun(settings, { directory: at('') });
    expect(await cream('report', at(''))).toMatchObject({ code: 0 });
    expect(readFileSync(at('iteration-9'), 'utf8')).toBe('a note');
  });

  it('a missing file gets the advice that makes it again', async () => {
    const at = copy(whole);
    rmSync(at('summary.json'));
    rmSync(at('iteration-1/checkpoint'), { recursive: true });
    const { stdout } = await cream('verify', at(''));
    expect(stdout).toContain(
      'summary.json is missing: run the same command again to make it again',
    );
    expect(stdout).not.toContain('remove');
    rmSync(at('iteration-1/rankings.jsonl'));
    expect((await cream('verify', at(''))).stdout).toContain(
      'rankings.jsonl is missing: remove iteration-1/rankings.jsonl and iteration-1/pairs.jsonl',
    );
    rmSync(at('recipe.yaml'));
    expect((await cream('verify', at(''))).stderr).toContain('recipe.yaml is missing');
  });
});

describe('run.json that is missing', () => {
  it('is made again where nothing has changed', async () => {
    const at = copy(stopped);
    rmSync(at('run.json'));
    await tinyRun(settings, { directory: at('') });
    expect(artefacts(at(''))).toEqual(artefacts(whole));
  });

  it('is not made again with other inputs than the run began with', async () => {
    const at = copy(stopped);
    rmSync(at('run.json'));
    writePrompts('Another one?');
    await expect(tinyRun(settings, { directory: at('') })).rejects.toThrow(
      /run\.json is missing, and recipe, model, inputs or versions are no longer what the run/,
    );
    expect(existsSync(at('run.json'))).toBe(false);
    writePrompts('One?');
  });
});
