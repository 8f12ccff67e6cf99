/**
 * The first tasks of three users, from the commands in the docs to the results: an ML engineer with
 * prompts of her own, a Node developer who embeds the package (packed and installed), and a
 * researcher who compares losses over seeds. They use a tiny model to be short.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import OpenAI from 'openai';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const root = resolve(import.meta.dirname, '../..');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });

const environment = {
  ...process.env,
  NODE_OPTIONS: '',
  NO_COLOR: '1',
  OMP_WAIT_POLICY: 'passive',
};

/** A command in `folder`, which must succeed. */
function run(folder: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: environment,
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr}`);
  return stdout;
}

const cream = (folder: string, ...args: string[]): string =>
  run(folder, process.execPath, join(root, 'dist/cli/main.js'), ...args);

const read = (...parts: string[]): string => readFileSync(join(...parts), 'utf8');

describe('an ML engineer with prompts of her own', () => {
  const folder = temporaryFolder('cream-journey-');
  const short = [
    ...['--set', 'sample.max_new_tokens=12', '--set', 'sft.enabled=false'],
    ...['--set', 'rank.weighting=fixed', '--set', 'evaluate.tasks=[]'],
    ...['--set', 'prompts.count=6'],
  ];

  it('plans, aligns and tries the model, and gives the run away as one page', () => {
    const rows = Array.from({ length: 24 }, (_, i) => `Say something kind about the number ${i}.`);
    writeFileSync(
      join(folder, 'mine.csv'),
      `instruction\n${rows.map((row) => JSON.stringify(row)).join('\n')}\n`,
    );
    cream(folder, 'init', 'quickstart', '--prompts', 'mine.csv', '--model', model);
    const recipe = read(folder, 'recipe.yaml');
    expect(recipe).toContain('mine.csv');
    expect(cream(folder, 'plan', 'recipe.yaml')).toMatch(/memory[^]*disk/i);
    expect(
      cream(folder, 'run', 'recipe.yaml', '--out', 'runs/mine', ...short, '--dry-run'),
    ).toMatch(/sample/);
    expect(existsSync(join(folder, 'runs/mine'))).toBe(false);

    expect(cream(folder, 'run', 'recipe.yaml', '--out', 'runs/mine', ...short)).toMatch(
      /^Report: .*report\.html$/m,
    );
    const again = cream(folder, 'run', 'recipe.yaml', '--out', 'runs/mine', ...short);
    expect(again).toMatch(/^Model: .*iteration-2.checkpoint$/m);
    expect(cream(folder, 'verify', 'runs/mine')).toMatch(/\d/);
    expect(read(folder, 'runs/mine/report.html')).toContain('number');
    expect(read(folder, 'runs/mine/metrics.jsonl')).toContain('rewards/margins');

    const checkpoint = join(folder, 'runs/mine/iteration-2/checkpoint');
    expect(readdirSync(checkpoint)).toEqual(
      expect.arrayContaining(['README.md', 'config.json', 'model.safetensors', 'tokenizer.json']),
    );
    const said = cream(
      folder,
      ...['generate', '--prompt', 'Hello', '--model', checkpoint, '--max-new-tokens', '8'],
      ...['--seed', '3', '--json'],
    );
    expect(JSON.parse(said)).toMatchObject({ completions: [{ seed: 3 }] });

    // The aligned model beside the base model, and what an upload would send.
    const asked = spawnSync(
      process.execPath,
      [join(root, 'dist/cli/main.js'), 'chat', 'runs/mine', '--compare', '--json'],
      { cwd: folder, input: 'Hello\n', encoding: 'utf8', env: environment },
    );
    const answers = asked.stdout.trim().split('\n');
    expect(answers.map((line) => (JSON.parse(line) as { model: string }).model)).toEqual([
      model,
      'runs/mine',
    ]);
    // The run's recipe tells the base model of its checkpoints.
    const completions = ['--completions', 'runs/mine/iteration-2/completions.jsonl'];
    const ofRun = ['--model', 'runs/mine/iteration-2/checkpoint', '-o', 'scores.jsonl'];
    cream(folder, 'score', ...completions, ...ofRun);
    expect(read(folder, 'scores.jsonl').trim().split('\n').length).toBeGreaterThan(10);
    const upload = cream(folder, 'push', 'runs/mine', '--to', 'me/mine', '--dry-run');
    expect(upload).toContain('model.safetensors');
    expect(upload).toContain('README.md');
  });

  it('stops a run, resumes it, and goes on with more iterations', async () => {
    const more = ['run', 'recipe.yaml', ...short, '--set', 'prompts.split=resample'];
    const whole = ['--set', 'iterations=2', '--out', 'runs/whole'];
    cream(folder, ...more, ...whole);
    const child = spawn(
      process.execPath,
      [join(root, 'dist/cli/main.js'), ...more, '--set', 'iterations=1', '--out', 'runs/stopped'],
      { cwd: folder, env: environment, stdio: 'ignore' },
    );
    const ended = once(child, 'exit');
    while (!existsSync(join(folder, 'runs/stopped/iteration-1'))) await setTimeout(20);
    child.kill('SIGKILL');
    await ended;
    cream(folder, ...more, '--set', 'iterations=1', '--out', 'runs/stopped');
    cream(folder, ...more, '--set', 'iterations=2', '--out', 'runs/stopped');
    for (const file of ['completions.jsonl', 'pairs.jsonl', 'steps.jsonl'])
      expect(read(folder, 'runs/stopped/iteration-2', file)).toBe(
        read(folder, 'runs/whole/iteration-2', file),
      );
  });
});

describe('a Node developer', () => {
  const folder = temporaryFolder('cream-journey-');
  const packed = spawnSync(
    process.execPath,
    [
      'scripts/prebuild.mjs',
      ...['--out', folder, '--addon', process.env['CREAM_ADDON'] ?? 'build/Release/cream.node'],
    ],
    { cwd: root, encoding: 'utf8' },
  );
  const tarballs = packed.stdout.trim().split('\n');
  const project = join(folder, 'project');
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{"name": "service", "private": true}\n');
  const installed = spawnSync(
    'npm',
    ['install', '--no-audit', '--no-fund', '--prefer-offline', '--omit=optional', ...tarballs],
    { cwd: project, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } },
  );
  // Without the registry the dependencies are not there.
  const itInstalls = installed.status === 0 ? it : it.skip;
  if (installed.status !== 0) console.warn(`npm install: ${installed.stderr}`);

  itInstalls('installs the package, streams, aligns from memory and serves', () => {
    writeFileSync(
      join(project, 'service.mjs'),
      `
import { loadModel, parseRecipe, run } from 'cream-lm';

const lm = await loadModel(process.argv[2]);
let text = '';
for await (const chunk of lm.stream('Hello', { maxNewTokens: 12, seed: 5 })) text += chunk;
const whole = await lm.generate('Hello', { maxNewTokens: 12, seed: 5 });
if (whole.text !== text) throw new Error('the stream said something else');
const answer = (seed) => lm.generate('Hi', { maxNewTokens: 8, seed });
const [a, b] = await Promise.all([answer(1), answer(2)]);
await lm.dispose();

const recipe = parseRecipe(
  \`
iterations: 2
prompts: {source: program, count: 0, split: resample}
sample: {samples: 3, max_new_tokens: 8}
reward: {source: function}
rank: {weighting: fixed}
train: {loss: simpo, beta: 2, simpo_gamma: 1, warmup_ratio: 0}
evaluate: {tasks: []}
\`,
  'service',
  ['model=' + process.argv[2]],
);
const told = [];
for await (const event of run(recipe, {
  directory: 'aligned',
  prompts: ['One?', 'Two?', 'Three?', 'Four?'],
  rewards: (batch) => batch.map(({ completion }) => -completion.length),
  until: ({ phase }) => phase === 1,
}))
  told.push(event.type);
const [tokens, other] = [a.tokens.length, b.tokens.length];
console.log(JSON.stringify({ finish: whole.finishReason, tokens, other, last: told.at(-1) }));
`,
    );
    const said = JSON.parse(run(project, process.execPath, 'service.mjs', model)) as object;
    expect(said).toEqual({
      finish: expect.stringMatching(/^(eos|length)$/),
      tokens: expect.any(Number),
      other: expect.any(Number),
      last: 'run_finished',
    });
    expect(existsSync(join(project, 'aligned/iteration-1/checkpoint/model.safetensors'))).toBe(
      true,
    );
    expect(existsSync(join(project, 'aligned/iteration-2'))).toBe(false);
    expect(run(project, 'npx', 'cream', 'verify', 'aligned')).toMatch(/\d/);
  });

  itInstalls('keeps a model in a worker, aborts a call, and serves the aligned model', async () => {
    writeFileSync(
      join(project, 'worker.mjs'),
      `
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadModel } from 'cream-lm';

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv[2] });
  worker.on('message', (told) => console.log(JSON.stringify(told)));
} else {
  const lm = await loadModel(workerData);
  const leaving = new AbortController();
  const long = lm.stream('Hello', { maxNewTokens: 200, signal: leaving.signal, seed: 1 });
  let chunks = 0;
  const reason = await (async () => {
    for await (const { tokens } of long.chunks())
      if ((chunks += tokens.length) > 3) leaving.abort(new Error('enough'));
  })().catch((error) => error.message);
  const { topLogprobs } = await lm.generate('Hi', { maxNewTokens: 2, topLogprobs: 3 });
  parentPort.postMessage({ reason, top: topLogprobs[0].length });
  await lm.dispose();
}
`,
    );
    const told: unknown = JSON.parse(run(project, process.execPath, 'worker.mjs', model));
    expect(told).toEqual({ reason: 'enough', top: 3 });

    const served = spawn(
      process.execPath,
      ['node_modules/cream-lm/dist/cli/main.js', 'serve', 'aligned', '--port', '0', '--json'],
      { cwd: project, env: environment, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      const [line] = (await once(createInterface(served.stdout), 'line')) as [string];
      const { url } = JSON.parse(line) as { url: string };
      const client = new OpenAI({ baseURL: url, apiKey: 'none', maxRetries: 0 });
      const answer = await client.chat.completions.create({
        model: 'aligned',
        messages: [{ role: 'user', content: 'Hello' }],
        max_completion_tokens: 4,
      });
      expect(answer.usage!.completion_tokens).toBeGreaterThan(0);
    } finally {
      served.kill('SIGTERM');
      await once(served, 'exit');
    }
  });
});

describe('a researcher', () => {
  const folder = temporaryFolder('cream-journey-');

  it('compares losses over seeds and finds the numbers in one table', () => {
    writeFileSync(
      join(folder, 'tiny.yaml'),
      `model: ${model}
iterations: 1
prompts: {count: 4}
sample: {samples: 3, max_new_tokens: 8}
rank: {weighting: fixed, fixed_consistency: 0.8}
train: {learning_rate: 1.0e-3, batch_size: 2, warmup_ratio: 0}
evaluate: {count: 4, max_new_tokens: 8, baseline: false}
`,
    );
    writeFileSync(
      join(folder, 'losses.yaml'),
      'recipe: tiny.yaml\ngrid: {train.loss: [dpo, ipo]}\nseeds: [1, 2]\n',
    );
    const table = cream(folder, 'sweep', 'losses.yaml', '--out', 'sweep');
    expect(table).toMatch(/dpo/);
    expect(table).toMatch(/ipo/);
    const runs = readdirSync(join(folder, 'sweep')).filter((name) => name.includes('seed='));
    expect(runs).toHaveLength(4);
    expect(read(folder, 'sweep/compare.html')).toContain('train.loss');

    // The runs differ in the loss only: they have the same completions and pairs but other steps.
    const of = (loss: string, file: string) =>
      read(
        folder,
        'sweep',
        runs.find((n) => n.includes(loss) && n.includes('seed=1'))!,
        file,
      );
    expect(of('ipo', 'iteration-1/pairs.jsonl')).toBe(of('dpo', 'iteration-1/pairs.jsonl'));
    expect(of('ipo', 'iteration-1/steps.jsonl')).not.toBe(of('dpo', 'iteration-1/steps.jsonl'));
    const steps = of('ipo', 'iteration-1/steps.jsonl').trim().split('\n');
    expect((JSON.parse(steps[0]!) as { loss: number }).loss).toBeCloseTo(25, -1);

    // Two runs on one page and their answers beside each other.
    const [a, b] = runs.filter((run) => run.includes('seed=1')).map((run) => join('sweep', run));
    cream(folder, 'report', a!, b!, '-o', 'two.html');
    expect(read(folder, 'two.html')).toContain('Paired differences');
    const compared = JSON.parse(
      cream(
        folder,
        'eval',
        '--compare',
        join(a!, 'iteration-1'),
        join(b!, 'iteration-1'),
        '--json',
      ),
    ) as object;
    expect(JSON.stringify(compared)).toMatch(/"questions":4/);

    // A repeated run gives the same bytes.
    const name = runs.find((run) => run.includes('ipo') && run.includes('seed=1'))!;
    cream(folder, 'run', join('sweep', name, 'recipe.yaml'), '--out', 'again');
    for (const file of ['completions.jsonl', 'pairs.jsonl', 'steps.jsonl', 'answers.jsonl'])
      expect(read(folder, 'again/iteration-1', file)).toBe(of('ipo', `iteration-1/${file}`));
  });
});
