/** What other commands read of a run is what the run wrote, or they say which file is not. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { requireRecorded } from '../../src/run/recorded.js';
import { cream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/folders.js';

let whole: string;
beforeAll(async () => {
  whole = (await tinyRun(['iterations=2', 'evaluate.tasks=[builtin]', 'evaluate.count=2']))
    .directory;
});

function copy(): string {
  const directory = join(temporaryFolder(), 'run');
  cpSync(whole, directory, { recursive: true });
  return directory;
}

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
}
const WEIGHTS = 'iteration-1/checkpoint/model.safetensors';

describe('a file of a run', () => {
  it('passes as the run wrote it, and so does what no run wrote', async () => {
    const run = copy();
    for (const name of [
      'iteration-1/checkpoint',
      'iteration-1/answers.jsonl',
      WEIGHTS,
      '',
      'x',
      'iteration-1',
    ])
      await requireRecorded(join(run, name));
    appendFileSync(join(run, 'notes.txt'), 'mine');
    appendFileSync(join(run, 'iteration-1/mine.jsonl'), '{}\n');
    await requireRecorded(join(run, 'notes.txt'));
    await requireRecorded(join(run, 'iteration-1/mine.jsonl'));
    await requireRecorded('hub-org/name');
  });

  it.each<[string, string, (path: string) => void, RegExp]>([
    ['a flipped bit', WEIGHTS, flip, /is damaged: its SHA-256 is/],
    ['cut weights', WEIGHTS, (path) => truncateSync(path, 100), /is damaged: it has 100 bytes/],
    ['no weights', WEIGHTS, (path) => rmSync(path), /is missing/],
    [
      'weights of another iteration',
      WEIGHTS,
      (path) => copyFileSync(join(path, `../../../${WEIGHTS.replace('1', '2')}`), path),
      /holds what was written to iteration-2/,
    ],
    [
      'a file beside them',
      'iteration-1/checkpoint/adapter_config.json',
      (path) => writeFileSync(path, '{}'),
      /is not one of the files that the run wrote/,
    ],
    [
      'a link in place of a file',
      WEIGHTS,
      (path) => {
        copyFileSync(path, `${dirname(path)}/../weights`);
        rmSync(path);
        symlinkSync('../weights', path);
      },
      /is not a regular file/,
    ],
    ['a flipped bit', 'iteration-2/answers.jsonl', flip, /is damaged: its SHA-256 is/],
    ['an empty file', 'iteration-2/answers.jsonl', (path) => truncateSync(path, 0), /has 0 rows/],
  ])('is named: %s in %s', async (_, name, damage, message) => {
    const run = copy();
    damage(join(run, name));
    const asked = name.includes('checkpoint') ? dirname(name) : name;
    const refused = requireRecorded(join(run, asked));
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_RUN_DATA',
      message: expect.stringContaining(join(run, name)),
    });
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.toThrow(/remove|put both files back/);
  });

  it('is not repaired while a run may be writing the record', async () => {
    const run = copy();
    const records = join(run, 'records.jsonl');
    appendFileSync(records, '{"file":"iteration-3/pro'); // a line that is being written
    const before = readFileSync(records, 'utf8');
    await requireRecorded(join(run, WEIGHTS, '..'));
    expect(readFileSync(records, 'utf8')).toBe(before);
  });
});

describe('a command', () => {
  it('refuses the damaged checkpoint or artefact that it is given', async () => {
    const run = copy();
    flip(join(run, WEIGHTS));
    flip(join(run, 'iteration-2/answers.jsonl'));
    const folders = [1, 2].map((t) => join(run, `iteration-${t}`));
    for (const [name, args] of [
      [WEIGHTS, ['generate', '--prompt', 'x', '--model', join(folders[0]!, 'checkpoint')]],
      ['iteration-2/answers.jsonl', ['eval', '--compare', ...folders]],
    ] as const) {
      const { code, stderr } = await cream(...args);
      expect([code, stderr]).toEqual([1, expect.stringContaining(`${join(run, name)} is damaged`)]);
    }
    // The page shows what it can, and says what is not as it was written.
    const { code, stderr } = await cream('report', run);
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/answers\.jsonl is damaged: .*remove/),
    ]);
  });

  it('writes its result over no recorded file', async () => {
    const run = copy();
    for (const name of ['summary.json', 'iteration-1/pairs.jsonl']) {
      const before = readFileSync(join(run, name), 'utf8');
      const { code, stderr } = await cream('report', run, '-o', join(run, name));
      expect([code, stderr]).toEqual([
        1,
        expect.stringContaining(`Cannot write ${join(run, name)}: it is a file of a run`),
      ]);
      expect(readFileSync(join(run, name), 'utf8')).toBe(before);
    }
    expect((await cream('report', run, '-o', join(run, 'mine.html'))).code).toBe(0);
  });

  it('takes a run directory, or the folder of an iteration, in place of a model', async () => {
    const run = copy();
    const first = join(run, 'iteration-1');
    const completions = join(first, 'completions.jsonl');
    const few = ['--max-new-tokens', '2', '--quiet'];
    const made = join(temporaryFolder(), 'made');
    for (const args of [
      ['generate', '--prompt', 'x', '--model', run, ...few],
      ['eval', '--model', first, '--task', 'builtin', '--count', '1', ...few],
      ['judge', '--completions', completions, '--model', run, '--previous', first, '-o', made],
      [
        'win-rate',
        '--before',
        first,
        '--after',
        run,
        '--judge',
        run,
        '--prompts',
        'builtin',
      ].concat(['--count', '1'], few),
      ['train', '--pairs', join(first, 'pairs.jsonl'), '--model', run, '-o', `${made}-model`],
      ['rank-eval', '--pairs', join(first, 'pairs.jsonl'), '--model', first],
      ['plan', '--model', first, '--device-memory', '24'],
    ])
      expect(await cream(...args)).toMatchObject({ code: 0 });
    const { code, stderr } = await cream('merge', '--adapter', run, '-o', `${made}-merged`);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining('is no adapter: it has no adapter_'),
    ]);
    const settings = ['run', 'quickstart', '--set', `model=${first}`, '--out', `${made}-run`];
    expect((await cream(...settings)).stderr).toContain(`give ${join(first, 'checkpoint')}.`);
    rmSync(join(first, 'checkpoint'), { recursive: true });
    expect((await cream('generate', '--prompt', 'x', '--model', first)).stderr).toBe(
      `cream: ${first} has no checkpoint: name another iteration, or the run directory for its ` +
        'newest one.\n',
    );
  });

  it('takes the newest checkpoint that was written to its end', async () => {
    const run = copy();
    rmSync(join(run, 'iteration-2/steps.jsonl'));
    rmSync(join(run, 'iteration-2/checkpoint/config.json'));
    const { code, stdout } = await cream('push', run, '--to', 'me/x', '--dry-run', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ checkpoint: join(run, 'iteration-1/checkpoint') });
  });
});
