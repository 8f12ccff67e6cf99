/** Commands used wrongly: exit codes, JSON on standard output, and flags that are never ignored. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { cream, openCream, startCream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-wrong-use-');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
const prompts = join(work, 'prompts.jsonl');
writeFileSync(prompts, ['a', 'b', 'c'].map((prompt) => JSON.stringify({ prompt })).join('\n'));

describe('with --json a command that fails prints its error as JSON', () => {
  it.each<[string, string[], number, string, RegExp]>([
    ['an unknown flag', ['run', 'quickstart', '--jsn'], 2, 'ERR_USAGE', /unknown option '--jsn'/],
    ['a flag that is missing', ['score'], 2, 'ERR_USAGE', /--completions/],
    ['a recipe', ['run', 'quickstart', '--set', 'iterations=x'], 2, 'ERR_RECIPE', /a number/],
    ['a run', ['verify', work], 1, 'ERR_RUN_DATA', /is not a run directory/],
    ['a model', ['serve', '/none', '--port', '0'], 1, 'ERR_NOT_FOUND', /No model at \/none/],
    ['a shape', ['plan', '--shape', 'x'], 2, 'ERR_RECIPE', /There is no shape 'x'/],
    ['an empty key', ['serve', model, '--api-key', ''], 2, 'ERR_RECIPE', /--api-key is empty/],
    ['a sweep', ['sweep', '/none'], 2, 'ERR_RECIPE', /Cannot read the sweep \/none/],
    [
      'too many log-probs',
      ['generate', '--prompt', 'a', '--top-logprobs', '21'],
      2,
      'ERR_USAGE',
      /0 to 20/,
    ],
  ])('%s', async (_, args, exit, code, message) => {
    const { stdout, stderr, ...ended } = await cream(...args, '--json');
    expect(ended.code).toBe(exit);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    expect(error).toEqual({ code, message: expect.stringMatching(message) });
    expect(stderr).toContain(`cream: ${error.message.split('\n')[0]}`);
  });
});

describe('a sequence-classification model', () => {
  const classifier = tinyModel({ tokenizer: true, labels: 1 });
  it.each([
    ['serve', [classifier, '--port', '0']],
    ['generate', ['--model', classifier, '--prompt', 'a']],
    ['chat', [classifier]],
    ['run', ['quickstart', '--set', `model=${classifier}`, '--out', join(work, 'classified')]],
  ])('is refused by cream %s before it is used', async (command, args) => {
    const { code, stdout, stderr } = await cream(command, ...args);
    expect(stderr).toContain('is a sequence-classification model, which rates completions and');
    expect(stdout).not.toContain('Serving');
    expect(code).toBe(1);
  });
});

describe('cream chat', () => {
  it('leaves out a message that is too long and goes on', async () => {
    const child = openCream('chat', model, '--json', '--max-new-tokens', '4');
    let printed = '';
    let said = '';
    child.stdout.on('data', (data: Buffer) => (printed += data.toString()));
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.stdin.end(`hi\n${'x'.repeat(999)}\nagain\n`);
    const code = await new Promise((resolve) => child.on('close', resolve));
    const lines = printed
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { message: string; text?: string; error?: object });
    expect(lines.map(({ text, error }) => [typeof text, error !== undefined])).toEqual([
      ['string', false],
      ['undefined', true],
      ['string', false],
    ]);
    expect(said).toContain('The message is left out');
    expect(code).toBe(1);
  });
});

it('cream chat ends in a sentence on a line without an end', async () => {
  const child = openCream('chat', model);
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  child.stdin.on('error', () => {});
  const part = 'x'.repeat(2 ** 20);
  const more = (): void => {
    while (child.stdin.writable && child.stdin.write(part));
  };
  child.stdin.on('drain', more);
  more();
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(code).toBe(1);
  expect(said).toBe(
    'cream: Cannot read standard input: it has a line of more than 67108864 characters; send ' +
      'shorter ones.\n',
  );
});

describe('cream chat without a reader', () => {
  it('leaves the lines that it has got', async () => {
    const child = openCream('chat', model, '--max-new-tokens', '2');
    child.stdin.on('error', () => {});
    child.stdin.end('hi\n/reset\n'.repeat(200_000));
    child.stdout.once('data', () => child.stdout.destroy());
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  });

  it('ends', async () => {
    const child = openCream('chat', model, '--max-new-tokens', '2');
    const more = setInterval(() => child.stdin.write('hi\n/reset\n'), 20);
    child.stdin.on('error', () => {});
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.on('close', resolve));
    clearInterval(more);
    expect(code).toBe(0);
  });
});

describe('cream init', () => {
  it('says that a recipe on given pairs takes no prompts, and writes nothing', async () => {
    const out = join(work, 'dpo.yaml');
    const result = await cream('init', 'dpo', '-o', out, '--prompts', prompts);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringContaining('no --prompts') });
    expect(existsSync(out)).toBe(false);
  });

  it('refuses a path without a model, and takes a hub id that is not fetched yet', async () => {
    const out = join(work, 'model.yaml');
    expect(await cream('init', '-o', out, '--model', './none')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('No model at'),
    });
    expect(existsSync(out)).toBe(false);
    const hub = { HF_HOME: join(work, 'hub') };
    const { finished } = startCream(['init', '-o', out, '--model', 'org/none'], hub);
    expect(await finished).toMatchObject({ code: 0 });
    expect(readFileSync(out, 'utf8')).toContain('model: org/none');
  });
});

it('cream push refuses a name that is no repository, also in a dry run', async () => {
  expect(await cream('push', model, '--to', 'a name', '--dry-run')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("'a name' is not of the form org/name"),
  });
});

it('a file or a circle of links in place of a folder is one sentence', async () => {
  const loop = join(work, 'loop');
  symlinkSync(loop, loop);
  for (const [args, message] of [
    [['report', prompts], `${prompts} is not a run directory: it is no folder`],
    [['verify', prompts], `${prompts} is not a run directory: it is no folder`],
    [['report', loop], `Cannot use ${loop}: its links lead in a circle.`],
    [['verify', loop], 'its links lead in a circle.'],
    [['generate', '--prompt', 'a', '--model', loop], 'its links lead in a circle.'],
  ] as const) {
    const { code, stderr } = await cream(...args);
    expect(code).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  }
});

it('a recipe of very many mistakes names the first of them', async () => {
  const path = join(work, 'brackets.yaml');
  writeFileSync(path, '['.repeat(5000));
  const { code, stderr } = await cream('run', path);
  expect(code).toBe(2);
  expect(stderr).toMatch(/and \d+ more mistakes\n$/);
  expect(stderr.length).toBeLessThan(5000);
});

it('cream report writes the page of one run or of several where --output says', async () => {
  const { directory } = await tinyRun([]);
  const own = join(work, 'own.html');
  expect(await cream('report', directory, '-o', own)).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`Report: ${own}`),
  });
  expect(readFileSync(own, 'utf8')).toMatch(/^<!doctype html>/i);
  const { stdout } = await startCream(['report', directory, directory, '-o', '-'], {}, work)
    .finished;
  expect(stdout).toMatch(/^<!doctype html>/i);
  expect([existsSync(join(work, '-')), existsSync(join(work, 'compare.html'))]).toEqual([
    false,
    false,
  ]);
  expect(await cream('report', directory, '--live', '-o', own)).toMatchObject({ code: 2 });
});

describe('a folder that is no run', () => {
  const init = join(work, 'init');
  mkdirSync(init);
  writeFileSync(join(init, 'recipe.yaml'), `model: ${model}\n`);

  it.each(['report', 'verify'])('is refused by cream %s, also beside a recipe', async (command) => {
    expect(await cream(command, init)).toMatchObject({
      code: 1,
      stdout: '',
      stderr:
        `cream: ${init} is not a run directory: it holds a recipe.yaml, but none of the files ` +
        'that a run writes; name the one that `cream run` made.\n',
    });
    expect(readdirSync(init)).toEqual(['recipe.yaml']);
    expect((await cream(command, join(work, 'gone'))).stderr).toBe(
      `cream: There is no folder ${join(work, 'gone')}: name the run directory that ` +
        '`cream run` made.\n',
    );
  });
});

describe('a run directory', () => {
  let directory: string;
  beforeAll(async () => void ({ directory } = await tinyRun([])));

  it('is no place for a sweep', async () => {
    const sweep = join(work, 'sweep.yaml');
    writeFileSync(sweep, 'recipe: quickstart\nseeds: [1]\n');
    expect(await cream('sweep', sweep, '--out', directory)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is the directory of a run, which cannot hold a sweep'),
    });
  });

  it('is compared where it is the only one of a sweep', async () => {
    const folder = temporaryFolder();
    cpSync(directory, join(folder, 'seed=1'), { recursive: true });
    const page = join(folder, 'compare.html');
    writeFileSync(page, '');
    expect((await cream('report', folder)).stdout).toContain(`Report: ${page}\n`);
    expect(readFileSync(page, 'utf8')).toMatch(/^<!doctype html>/i);
  });

  it('has its record made by verify --accept, as JSON too', async () => {
    const { stdout } = await cream('verify', directory, '--accept', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ directory, accepted: true });
  });

  it('is shown on a port only with --live', async () => {
    expect(await cream('report', directory, '--port', '5')).toMatchObject({
      code: 2,
      stderr: 'cream: --port has no effect without --live; leave it out.\n',
    });
    const page = join(work, 'out.html');
    for (const flag of ['--out', '--output'])
      expect((await cream('report', directory, flag, page)).stdout).toContain(`Report: ${page}\n`);
  });
});
