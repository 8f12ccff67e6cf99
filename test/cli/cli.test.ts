/** Messages for mistakes of users, and exit codes of the program. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { firstSentence, readRecipe } from '../../src/cli/recipes.js';
import { cream, startCream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

const work = temporaryFolder('cream-cli-');
const file = (name: string, text: string): string => {
  writeFileSync(join(work, name), text);
  return join(work, name);
};
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
const tiny = (more = ''): string =>
  `model: ${model}\nthreads: 1\niterations: 1\nprompts: {count: 2}\nsample: {samples: 2, ` +
  `max_new_tokens: 4}\nevaluate: {tasks: []}\n${more}`;

describe('a wrong command line', () => {
  it.each<[string, string[], number, string]>([
    [
      'an unknown command',
      ['generat'],
      2,
      "cream: unknown command 'generat'\n(Did you mean generate?)\n",
    ],
    ['a missing argument', ['run'], 2, "cream: missing required argument 'recipe'\n"],
    [
      'an unknown flag',
      ['run', 'x.yaml', '--ouT', 'y'],
      2,
      "cream: unknown option '--ouT'\n(Did you mean --out?)\n",
    ],
    [
      'a flag out of range',
      ['generate', '--out', 'x', '--top-p', '2'],
      2,
      'cream: --top-p 2 sample.top_p: must be at most 1, got 2\n',
    ],
    [
      'a flag of the wrong type',
      ['prefer', '--scores', 'a', '--completions', 'b', '--out', 'c', '--weighting', 'some'],
      2,
      'cream: --weighting some rank.weighting: must be one of avg, dyn, permuted, sign, fixed; ' +
        "got the text 'some'\n",
    ],
    [
      'a number that is none',
      ['generate', '--out', 'x', '--iteration', 'two'],
      2,
      "cream: option '--iteration <number>' argument 'two' is invalid. It must be a whole " +
        'number from 0 to 999999999.\n',
    ],
  ])('%s: one sentence, exit code 2', async (_, args, code, stderr) => {
    expect(await cream(...args)).toEqual({ code, signal: null, stdout: '', stderr });
  });

  it('a recipe that is not there', async () => {
    expect(await cream('run', 'nope.yaml')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^cream: There is no recipe 'nope\.yaml': no such file/),
    });
  });
});

describe('bad input to a run', () => {
  const run = (recipe: string, ...more: string[]) =>
    cream('run', file('recipe.yaml', recipe), '--out', join(work, `run-${Math.random()}`), ...more);

  it.each<[string, () => string, number, string | RegExp]>([
    [
      'a mistake in the recipe',
      () => tiny('train:\n  bta: 0.1\n'),
      2,
      /recipe\.yaml:8:3 train\.bta: unknown key; did you mean 'beta'\?\n$/,
    ],
    ['a model that is nothing', () => tiny().replace(model, './nowhere'), 1, /nowhere/],
    [
      'prompts that are nowhere',
      () => tiny().replace('{count: 2}', '{source: gone.jsonl}'),
      1,
      'cream: cannot read gone.jsonl: there is no such file\n',
    ],
    [
      'an empty prompt file',
      () => tiny().replace('{count: 2}', `{source: ${file('empty.jsonl', '')}}`),
      1,
      /empty\.jsonl is empty; it needs at least one row\n$/,
    ],
    [
      'a prompt line that is no JSON',
      () =>
        tiny().replace(
          '{count: 2}',
          `{source: ${file('bad.jsonl', '{"prompt": "a"}\n{"prompt": \n')}}`,
        ),
      1,
      /bad\.jsonl line 2: not JSON/,
    ],
    [
      'fewer prompts than asked for',
      () =>
        tiny().replace(
          '{count: 2}',
          `{source: ${file('few.jsonl', '{"prompt": "a"}\n')}, count: 2}`,
        ),
      1,
      /few\.jsonl holds 1 prompts and the recipe needs 2 \(2 for each .*: lower prompts\.count/,
    ],
    [
      'a prompt longer than the context',
      () =>
        tiny().replace(
          '{count: 2}',
          '{source: ' +
            `${file('long.jsonl', `{"id": "essay", "prompt": "${'x'.repeat(300)}"}\n`)}, ` +
            'count: 1}',
        ),
      1,
      new RegExp(
        String.raw`^Prompt "essay" \(.*long\.jsonl line 1\) is at least \d+ tokens long and the ` +
          "model's context holds 256: shorten it or remove it, or set prompts.on_bad_row to " +
          String.raw`skip\.$`,
        'm',
      ),
    ],
    [
      'an unknown task',
      () => tiny().replace('tasks: []', 'tasks: [trivia]'),
      2,
      /evaluate\.tasks: 'trivia' is not a task; known are builtin, arc_easy, .*, gsm8k\.\n$/,
    ],
    [
      'a loss that explodes',
      () =>
        tiny('train: {learning_rate: 1.0e+30, warmup_ratio: 0, epochs: 20, max_grad_norm: 0}\n'),
      1,
      /Training stopped at step \d+: the loss or its gradient is not a finite number\./,
    ],
  ])('%s: one sentence, a code, no stack', async (_, recipe, code, message) => {
    const result = await run(recipe());
    const error = result.stderr.slice(result.stderr.lastIndexOf('cream: '));
    expect({ code: result.code, signal: result.signal, stdout: result.stdout }).toEqual({
      code,
      signal: null,
      stdout: '',
    });
    if (typeof message === 'string') expect(error).toBe(message);
    else expect(error.replace(/^cream: /, '')).toMatch(message);
    expect(result.stderr).not.toMatch(/^ {4}at /m);
  });

  it('a directory that holds other things is not touched', async () => {
    const directory = join(work, 'precious');
    mkdirSync(directory);
    writeFileSync(join(directory, 'thesis.tex'), 'x');
    const result = await cream('run', file('recipe.yaml', tiny()), '--out', directory);
    expect(result).toMatchObject({
      code: 1,
      stderr:
        `cream: ${directory} is not a run directory and holds "thesis.tex": choose another ` +
        'one.\n',
    });
    expect(existsSync(join(directory, 'recipe.yaml'))).toBe(false);
  });

  it('a run that failed before it made anything can start again with another recipe', async () => {
    const directory = join(work, 'second-try');
    expect(
      await cream(
        'run',
        file('recipe.yaml', tiny().replace('{count: 2}', '{source: gone.jsonl}')),
        '--out',
        directory,
      ),
    ).toMatchObject({ code: 1 });
    expect(await cream('run', file('recipe.yaml', tiny()), '--out', directory)).toMatchObject({
      code: 0,
    });
    expect(
      await cream('run', file('recipe.yaml', tiny('seed: 7\n')), '--out', directory),
    ).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('was made with seed = 42, this recipe says 7'),
    });
    writeFileSync(join(directory, 'run.json'), '{');
    rmSync(join(directory, 'summary.json'));
    expect(await cream('run', file('recipe.yaml', tiny()), '--out', directory)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/run\.json is damaged: .*choose another run directory\.\n$/),
    });
  });

  it('a file where a folder is needed, and the other way round', async () => {
    const path = file('taken', 'x');
    expect(await run(tiny(), '--out', join(path, 'run'))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^cream: Cannot write .*run: part of this path is a file\./),
    });
    expect(await cream('generate', '--model', model, '--count', '1', '--out', work)).toMatchObject({
      code: 1,
      stderr: `cream: Cannot write ${work}: it is a folder; name a file.\n`,
    });
    const made = join(work, 'no/such/folder.yaml');
    expect(await cream('init', 'srlm', '--out', made)).toMatchObject({ code: 0 });
    expect(existsSync(made)).toBe(true);
  });

  it('train replaces nothing that is there', async () => {
    const path = file('precious.txt', 'x');
    for (const out of [path, model])
      expect(
        await cream('train', '--model', model, '--pairs', 'pairs.jsonl', '--out', out),
      ).toMatchObject({
        code: 1,
        stderr: `cream: ${out} exists already and is not replaced: choose another --out.\n`,
      });
    expect(readFileSync(path, 'utf8')).toBe('x');
  });

  it('--verbose adds where it comes from', async () => {
    expect((await run(tiny().replace(model, './nowhere'), '--verbose')).stderr).toMatch(
      /^ {4}at /m,
    );
  });
});

describe('a reader that goes away', () => {
  it.each(['stdout', 'stderr'] as const)(
    'of %s: no stack, and the work goes on',
    async (stream) => {
      const directory = join(work, `unread-${stream}`);
      const { child, finished } = startCream([
        'run',
        file('recipe.yaml', tiny()),
        '--out',
        directory,
      ]);
      child[stream]!.destroy();
      const { code, stderr } = await finished;
      expect({ code, stack: /^ {4}at /m.test(stderr) }).toEqual({ code: 0, stack: false });
      expect(existsSync(join(directory, 'report.html'))).toBe(true);
    },
  );
});

describe('commands without an engine', () => {
  it('doctor works where the addon is not built, and says so', async () => {
    const { finished } = startCream(['doctor'], { CREAM_ADDON: join(work, 'none.node') });
    const result = await finished;
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/^ok {2}node/m);
    expect(result.stdout).toMatch(
      /^-- {2}addon +CREAM_ADDON names no file \(.*none\.node\): unset it, or name the file of/m,
    );
  });

  it('doctor shows CPU, kernels, libtorch, threads, CUDA, cache and model', async () => {
    const findings = JSON.parse((await cream('doctor', '--json')).stdout) as {
      what: string;
      found: string;
    }[];
    expect(findings.map((finding) => finding.what).filter((what) => !/^cuda:/.test(what))).toEqual([
      'node',
      'machine',
      'cache',
      'addon',
      'libtorch',
      'cpu',
      'kernels',
      'threads',
      'cuda',
      'model',
    ]);
  });

  it('CREAM_CPU_LEVEL lowers the kernels, and doctor says what that loses', async () => {
    const { finished } = startCream(['doctor', '--json'], { CREAM_CPU_LEVEL: 'plain' });
    const findings = JSON.parse((await finished).stdout) as { what: string; found: string }[];
    expect(findings.find(({ what }) => what === 'kernels')!.found).toMatch(
      /^plain ATen\. No AVX2: every op is plain ATen/,
    );
  });

  it('recipes lists what init copies, and init overwrites nothing', async () => {
    const listed = JSON.parse((await cream('recipes', '--json')).stdout) as {
      name: string;
      path: string;
    }[];
    expect(listed.map((recipe) => recipe.name)).toEqual(
      expect.arrayContaining(['cream', 'quickstart', 'srlm']),
    );
    const copy = join(work, 'copy.yaml');
    expect(await cream('init', 'srlm', '--out', copy)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/ is a copy of srlm\.\n[^]*npx cream run .*\n$/),
    });
    expect(readFileSync(copy, 'utf8')).toBe(
      readFileSync(listed.find((recipe) => recipe.name === 'srlm')!.path, 'utf8'),
    );
    expect(await cream('init', 'srlm', '--out', copy)).toMatchObject({
      code: 1,
      stderr: `cream: Cannot write ${copy}: the file exists; choose another --out.\n`,
    });
    expect(await cream('init', 'nope')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("There is no recipe 'nope'; there are cream-dyn, "),
    });
  });

  it.each([
    ['One\nsentence. Two.\n\nmore', 'One sentence.'],
    ['As of Zhou et al., 2025: x.', 'As of Zhou et al., 2025: x.'],
    ['No end', 'No end'],
  ])('%j begins with a whole sentence', (about, sentence) =>
    expect(firstSentence(about)).toBe(sentence),
  );

  it('a folder with the name of a recipe, such as a run directory, does not hide it', async () => {
    mkdirSync(join(work, 'srlm'));
    const before = process.cwd();
    process.chdir(work);
    expect((await readRecipe('srlm')).file).toMatch(/recipes\/srlm\.yaml$/);
    process.chdir(before);
  });

  it('starts without WebAssembly, whose address space may be limited', async () => {
    const env = { NODE_OPTIONS: '--import data:text/javascript,delete%20globalThis.WebAssembly' };
    const ended = await startCream(['--version'], env).finished;
    expect(ended).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it('--help and --version exit with 0', async () => {
    expect(await cream('--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
    expect(await cream('train', '--help')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('--learning-rate <value>'),
    });
  });
});
