/**
 * Something else, or nothing, in place of a run's file: a resumed run refuses it by name or makes
 * the file anew. It never waits for a pipe, follows a link or reads gigabytes.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { temporaryFolder } from '../support/tiny-model.js';
import { tinyRun } from '../support/run.js';

const work = temporaryFolder('cream-odd-');
afterAll(() => rmSync(work, { recursive: true, force: true }));
const settings = ['train.save_steps=1', 'train.epochs=2'];
const stopped = join(work, 'stopped');

beforeAll(async () => {
  const stop = new AbortController();
  await tinyRun(settings, {
    directory: stopped,
    signal: stop.signal,
    onEvent: (event) => void (event.type === 'step' && event.metrics.step === 2 && stop.abort()),
  }).catch((error: unknown) => {
    if ((error as { code?: string }).code !== 'ERR_INTERRUPTED') throw error;
  });
});

const ODD: Record<string, (path: string) => void> = {
  nothing: () => undefined,
  'a pipe': (path) => expect(spawnSync('mkfifo', [path]).status).toBe(0),
  'a folder': (path) => mkdirSync(path),
  'a link to itself': (path) => symlinkSync(path, path),
  'a link to nothing': (path) => symlinkSync(`${path}-nowhere`, path),
  'a link to a device': (path) => symlinkSync('/dev/zero', path),
  '10 GB of zeros': (path) => {
    writeFileSync(path, '');
    truncateSync(path, 10e9);
  },
};

const FILES = [
  'recipe.yaml',
  'run.json',
  'records.jsonl',
  'events.jsonl',
  'metrics.jsonl',
  'lock',
  'iteration-1/prompts.jsonl',
  'iteration-1/pairs.jsonl',
  'iteration-1/training/progress.json',
  'iteration-1/training/state.safetensors',
  'iteration-1/training/records.jsonl',
];

it.each(FILES.flatMap((file) => Object.keys(ODD).map((kind) => [file, kind])))(
  '%s: %s',
  async (file, kind) => {
    const directory = join(work, 'copy');
    rmSync(directory, { recursive: true, force: true });
    cpSync(stopped, directory, { recursive: true });
    const path = join(directory, file);
    // A run that was stopped has no lock.
    expect(existsSync(path)).toBe(file !== 'lock');
    rmSync(path, { force: true });
    ODD[kind]!(path);
    const end = await tinyRun(settings, { directory }).then(
      () => 'finished',
      (error: Error) => error.message,
    );
    if (end !== 'finished') {
      expect(end).toContain(path);
      expect(end).toMatch(/^[A-Z/].*\.$/s);
      expect(end).not.toContain('\n');
    }
  },
);
