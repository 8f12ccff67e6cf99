/** `-o` of the commands: files, links, pipes, devices, folders and standard output. */
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from '@jest/globals';
import { newFolder, outputOf, writeOutput } from '../../src/cli/output.js';
import { readRecipe } from '../../src/cli/recipes.js';
import { writeAtomic } from '../../src/run/store.js';
import { cream } from '../support/cli.js';
import { temporaryFolder } from '../support/tiny-model.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = temporaryFolder('cream-output-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const write = (path: string, text: string, { signal } = new AbortController()): Promise<void> =>
  writeOutput(outputOf(path), text, signal);

it('a file is replaced, and a link to it stays a link', async () => {
  writeFileSync(at('old'), 'old');
  symlinkSync(at('old'), at('link'));
  await write(at('link'), 'new');
  expect(readFileSync(at('old'), 'utf8')).toBe('new');
  expect(lstatSync(at('link')).isSymbolicLink()).toBe(true);
  await writeAtomic(at('link'), 'newer');
  expect([readFileSync(at('old'), 'utf8'), lstatSync(at('link')).isSymbolicLink()]).toEqual([
    'newer',
    true,
  ]);
  await write(at('made'), 'made');
  expect(readFileSync(at('made'), 'utf8')).toBe('made');
});

it('a pipe and a device are written through, and are still there', async () => {
  const pipe = at('pipe');
  expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
  const reader = spawn('cat', [pipe]);
  let text = '';
  reader.stdout.on('data', (data: Buffer) => (text += data.toString()));
  const ended = new Promise((resolve) => reader.on('close', resolve));
  await write(pipe, 'through');
  await ended;
  expect([text, lstatSync(pipe).isFIFO()]).toEqual(['through', true]);
  await write('/dev/null', 'gone');
  expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
  await expect(writeAtomic(pipe, 'x')).rejects.toThrow(/Cannot write .*pipe: it is not a regular/);
  expect(lstatSync(pipe).isFIFO()).toBe(true);
});

it('a folder and a link to nothing are refused', async () => {
  mkdirSync(at('folder'));
  symlinkSync(at('nothing'), at('dangling'));
  expect(() => outputOf(at('folder'))).toThrow(/folder: it is a folder; name a file/);
  expect(() => outputOf(at('dangling'))).toThrow(/dangling: it is a dangling link/);
  for (const name of ['folder', 'dangling']) {
    const result = await cream('init', '-o', at(name));
    expect([result.code, result.stderr]).toEqual([1, expect.stringContaining('Cannot write')]);
  }
});

it('links in a circle, a file in place of a folder and no name are one sentence', async () => {
  symlinkSync(at('circle'), at('circle'));
  writeFileSync(at('plain'), '');
  for (const check of [outputOf, newFolder]) {
    const refused = async (path: string) => check(path);
    if (check === outputOf)
      await expect(refused(at('circle'))).rejects.toThrow(/circle: its links lead in a circle/);
    await expect(refused(join(at('plain'), 'x'))).rejects.toThrow(/Cannot write .*is a file/);
    await expect(refused('')).rejects.toThrow(/its name is empty; name a f/);
  }
});

it("a new model's folder may be there if it is empty, and may not be a link", async () => {
  symlinkSync(at('folder'), at('folder-link'));
  await newFolder(at('folder'));
  await newFolder(at('new'));
  for (const name of ['folder-link', 'dangling', 'old'])
    await expect(newFolder(at(name))).rejects.toThrow(/exists already/);
});

it('- is standard output, with nothing else on it', async () => {
  const { code, stdout } = await cream('init', 'sft', '-o', '-');
  expect([code, stdout]).toEqual([0, (await readRecipe('sft')).text]);
  const rows = '{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n';
  writeFileSync(at('pairs.jsonl'), rows);
  const converted = await cream('convert', at('pairs.jsonl'), '-', '--to', 'trl-standard');
  expect(JSON.parse(converted.stdout)).toMatchObject({ prompt: 'Hi', chosen: 'a', rejected: 'b' });
  expect(readdirSync('.')).not.toContain('-');
});

it('a recipe that is not there is told with those that are', async () => {
  await expect(readRecipe('quikstart')).rejects.toThrow(
    "There is no recipe 'quikstart': no such file, and none that comes with the program. Did " +
      "you mean 'quickstart'?",
  );
  await expect(readRecipe('my-own.yaml')).rejects.toThrow(/These do: .*cream, .*srlm/);
  await expect(readRecipe(at('folder'))).rejects.toThrow(/is a folder; name a recipe's YAML file/);
  writeFileSync(join(at('folder'), 'recipe.yaml'), 'seed: 1\n');
  await expect(readRecipe(at('folder'))).rejects.toThrow(/run its recipe: cream run .*--out/);
  const plan = await cream('plan', 'nowhere.yaml');
  expect([plan.code, plan.stderr]).toEqual([2, expect.stringContaining('There is no recipe')]);
});

it('a pipe waits for its reader, and what does not fit into it at once is not lost', async () => {
  const pipe = at('late-pipe');
  expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
  const text = 'x'.repeat(300_000);
  const written = write(pipe, text);
  await Promise.race([written, new Promise((resolve) => setTimeout(resolve, 200))]);
  const reader = spawn('cat', [pipe]);
  let read = '';
  reader.stdout.on('data', (data: Buffer) => (read += data.toString()));
  await new Promise((resolve) => reader.on('close', resolve));
  await written;
  expect(read).toBe(text);
});

it('a pipe that nobody reads does not hold a command that is stopped', async () => {
  const pipe = at('deaf-pipe');
  expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
  const stop = new AbortController();
  const unopened = write(pipe, 'x', stop);
  setTimeout(() => stop.abort(), 100);
  await expect(unopened).rejects.toThrow(/aborted/);
  // Opened by a reader that takes nothing: the pipe is full after some kB.
  const reader = openSync(pipe, constants.O_RDWR);
  const again = new AbortController();
  const full = write(pipe, 'x'.repeat(1_000_000), again);
  setTimeout(() => again.abort(), 100);
  await expect(full).rejects.toThrow(/aborted/);
  closeSync(reader);
});

it('a command whose standard output is a full pipe hears a signal', async () => {
  const pipe = at('stdout-pipe');
  expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
  const rows = Array.from({ length: 20_000 }, (_, i) => ({
    prompt: `${i}?`,
    chosen: 'y',
    rejected: 'n',
  }));
  writeFileSync(at('many.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const ends = openSync(pipe, constants.O_RDWR);
  const child = spawn(process.execPath, [MAIN, 'convert', at('many.jsonl'), '-', '--to', 'cream'], {
    stdio: ['ignore', ends, 'ignore'],
  });
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)));
  // Its first bytes show that it writes; nobody reads the rest.
  const bytes = Buffer.alloc(1);
  await new Promise<void>((resolve, reject) =>
    read(ends, bytes, 0, 1, null, (error) => (error ? reject(error) : resolve())),
  );
  child.kill('SIGTERM');
  expect(await ended).toBe(143);
  closeSync(ends);
});

it('a run directory that is a file, a link to nothing or a device is one sentence', async () => {
  writeFileSync(at('a-file'), '');
  symlinkSync(at('nowhere'), at('lost-link'));
  for (const [path, what] of [
    [at('a-file'), 'it is a file'],
    [at('lost-link'), 'it is a link that leads to no folder'],
    ['/dev/null', 'it is a pipe or a device'],
  ] as const) {
    const { code, stderr } = await cream('run', 'quickstart', '-o', path);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`${path} cannot be a run directory: ${what}; choose another`),
    ]);
  }
});

it('a name that is too long, or ends as that of a folder, is one sentence', () => {
  expect(() => outputOf(at('n'.repeat(300)))).toThrow(/Cannot write .*: its name is too long/);
  expect(() => outputOf(`${at('not-there')}/`)).toThrow(/ends as that of a folder; name a file/);
});

it('nothing is written over what it is made from, whatever name it has', async () => {
  const rows = '{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n';
  const input = at('own.jsonl');
  writeFileSync(input, rows);
  symlinkSync(input, at('own-link'));
  linkSync(input, at('own-twin'));
  mkdirSync(at('model'));
  for (const out of ['own.jsonl', 'own-link', 'own-twin', 'folder/../own.jsonl'])
    for (const args of [
      ['convert', input, at(out), '--to', 'trl'],
      ['generate', '--prompts', input, '--model', at('model'), '-o', at(out)],
      ['rank-eval', '--pairs', input, '--model', at('model'), '-o', at(out)],
      ['win-rate', '--before', 'x', '--after', input, '--judge', at('model'), '-o', at(out)],
      ['eval', '--task', `arc_easy:${input}`, '--model', at('model'), '-o', at(out)],
      ['prefer', '--scores', 's', '--completions', input, '-o', 'p', '--rankings', at(out)],
    ]) {
      const { code, stderr } = await cream(...args);
      expect([args[0], code, stderr]).toEqual([
        args[0],
        1,
        expect.stringMatching(/Cannot write .*: it is the file that the command reads/),
      ]);
    }
  expect(readFileSync(input, 'utf8')).toBe(rows);
});

it('a result that cannot be written is refused before any work', async () => {
  const { code, stderr } = await cream('rank-eval', '--pairs', 'gone', '-o', at('folder'));
  expect([code, stderr]).toEqual([1, expect.stringContaining('it is a folder; name a file')]);
});

it('a folder may be named with a slash at its end, and is not standard output', async () => {
  expect(await newFolder(`${at('to-be-made')}//`)).toBe(at('to-be-made'));
  await expect(newFolder('/')).rejects.toThrow('/ exists already');
  for (const [out, reason] of [
    ['', 'its name is empty; name a folder'],
    ['-', 'the result is a folder, not standard output; name one'],
  ] as const)
    for (const args of [
      ['train', '--pairs', 'p', '--model', 'm'],
      ['merge', '--adapter', 'a'],
      ['run', 'quickstart'],
      ['sweep', 's'],
    ]) {
      const { code, stderr } = await cream(...args, '-o', out);
      expect([args[0], code, stderr]).toEqual([args[0], 1, expect.stringContaining(reason)]);
    }
});

it('a completion that is listed twice is not scored twice', async () => {
  const row = {
    ...{ prompt_id: 'p', sample: 1, prompt: [{ role: 'user', content: 'a' }], completion: 'b' },
    ...{ prompt_token_ids: [1], token_ids: [2], logprob: -1, finish_reason: 'eos' },
  };
  writeFileSync(at('twice.jsonl'), `${JSON.stringify(row)}\n`.repeat(2));
  for (const args of [['score', '--base', at('model')], ['judge']]) {
    const given = ['--completions', at('twice.jsonl'), '--model', at('model'), '-o', at('out')];
    const { code, stderr } = await cream(...args, ...given);
    expect([args[0], code, stderr]).toEqual([
      args[0],
      1,
      expect.stringContaining('sample 1 of prompt "p" is listed twice in the completions'),
    ]);
  }
});
