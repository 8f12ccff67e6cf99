/** Runs every file of examples/ like a user: in a process of its own, on the built package. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';
import ts from 'typescript';
import { loadModel } from '../../src/lm/language-model.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024 });
const work = temporaryFolder();

/**
 * Starts an example; its types are stripped, as newer versions of Node do. Inside the package,
 * `cream-lm` is the package itself.
 */
function start(
  name: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): { child: ChildProcess; ended: Promise<string>; printed: (text: string) => Promise<string> } {
  const folder = join(root, 'build/examples');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.mjs`);
  writeFileSync(
    file,
    ts.transpileModule(readFileSync(join(root, `examples/${name}.ts`), 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
    }).outputText,
  );
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: work,
    env: { ...process.env, OMP_WAIT_POLICY: 'passive', ...env },
  });
  let output = '';
  let errors = '';
  const waiting: { text: string; resolve: (output: string) => void }[] = [];
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
    for (const { text, resolve } of waiting) if (output.includes(text)) resolve(output);
  });
  const ended = new Promise<string>((resolve, reject) =>
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`exit code ${code}: ${errors}`)),
    ),
  );
  ended.catch(() => undefined);
  return {
    child,
    ended,
    printed: (text) =>
      Promise.race([
        new Promise<string>((resolve) => {
          waiting.push({ text, resolve });
        }),
        ended,
      ]),
  };
}

interface Asked {
  path: string;
  authorization: string | undefined;
  body: Record<string, unknown>;
}

/** A service on this machine that answers with what `answer` returns; undefined is a failure. */
async function standIn(
  answer: (asked: Asked) => object | undefined,
): Promise<{ url: string; asked: Asked[]; close: () => void }> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (data: Buffer) => (text += data.toString()));
    request.on('end', () => {
      const one = {
        path: request.url!,
        authorization: request.headers.authorization,
        body: JSON.parse(text) as Record<string, unknown>,
      };
      asked.push(one);
      const body = answer(one);
      response.writeHead(body === undefined ? 503 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body ?? { error: 'busy' }));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked, close: () => server.close() };
}

const rowsOf = (directory: string): Record<string, number>[] =>
  readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);

const tests: Record<string, () => Promise<void>> = {
  'score-candidates': async () => {
    const lines = (await start('score-candidates', [model]).ended).trim().split('\n');
    expect(lines).toHaveLength(3);
    const means = lines.map((line) =>
      Number(/^(-[\d.]+) nats per token  -[\d.]+ in all  \S/.exec(line)?.[1]),
    );
    expect(means).toEqual([...means].sort((a, b) => b - a));
    expect(means.every(Number.isFinite)).toBe(true);
  },
  'stream-in-a-server': async () => {
    const { child, ended, printed } = start('stream-in-a-server', [model, '0']);
    const port = /listening on (\d+)/.exec(await printed('listening on'))![1];
    const ask = (question: string, signal?: AbortSignal): Promise<Response> =>
      fetch(`http://127.0.0.1:${port}?seed=7`, {
        method: 'POST',
        body: question,
        ...(signal && { signal }),
      });
    const [one, other] = await Promise.all([
      ask('hi').then((response) => response.text()),
      ask('hi').then((response) => response.text()),
    ]);
    expect(one.length).toBeGreaterThan(0);
    expect(other).toBe(one); // the same seed, side by side
    const failed = await fetch(`http://127.0.0.1:${port}?seed=none`, {
      method: 'POST',
      body: 'hi',
    });
    expect(failed.status).toBe(500);
    const leaving = new AbortController();
    const reader = (await ask('another', leaving.signal)).body!.getReader();
    await reader.read();
    leaving.abort();
    expect(await ask('hi').then((response) => response.text())).toBe(one);
    child.kill('SIGTERM');
    await ended;
  },
  'align-your-prompts': async () => {
    const prompts = join(work, 'prompts.jsonl');
    writeFileSync(
      prompts,
      Array.from({ length: 12 }, (_, i) => JSON.stringify({ prompt: `What is ${i} + 1?` })).join(
        '\n',
      ),
    );
    const output = await start('align-your-prompts', [prompts, join(work, 'mine'), model]).ended;
    expect(output).toMatch(/iteration 2 {2}train .*\n {2}agreement C [\d.]+, \d+ pairs\nreport: /);
    expect(readdirSync(join(work, 'mine/iteration-2/checkpoint'))).toContain('model.safetensors');
    expect(await start('align-your-prompts', [prompts, join(work, 'mine'), model]).ended).toMatch(
      /^report: /,
    ); // finished already
  },
  'align-from-memory': async () => {
    const directory = join(work, 'memory');
    const output = await start('align-from-memory', [directory, model]).ended;
    expect(output).toMatch(/^iteration 1: \d pairs\n[^]*finished in /);
    const given = readFileSync(join(directory, 'given-prompts.jsonl'), 'utf8').trim().split('\n');
    expect(given.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual([
      'cat',
      'dog',
      'owl',
      'fox',
      'bee',
      'cow',
    ]);
    // One step at the full learning rate orders a tiny model's pairs, or three iterations are over.
    const { iterations } = JSON.parse(readFileSync(join(directory, 'summary.json'), 'utf8')) as {
      iterations: { phase: number; iteration: { reward_accuracy: number } }[];
    };
    const last = iterations.at(-1)!;
    expect(last.phase === 3 || last.iteration.reward_accuracy > 0.9).toBe(true);
  },
  'model-in-a-worker': async () => {
    const lines = (await start('model-in-a-worker', [model]).ended).trim().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^\d+ tokens: "/),
      expect.stringMatching(/^\d+ tokens: "/),
      'the worker ended with 0',
    ]);
    await using lm = await loadModel(model);
    const own = await lm.generate('What is a thread?', { maxNewTokens: 32, seed: 1 });
    expect(lines[0]).toBe(`${own.tokens.length} tokens: ${JSON.stringify(own.text)}`);
  },
  'custom-reward': async () => {
    const output = await start('custom-reward', [join(work, 'short'), model]).ended;
    expect(output).toMatch(/sample: .*\n[\s\S]*train: /);
    const read = <T>(name: string): T[] =>
      readFileSync(join(work, 'short/iteration-1', name), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as T);
    const completions = new Map(
      read<{ prompt_id: string; sample: number; completion: string }>('completions.jsonl').map(
        (row) => [`${row.prompt_id} ${row.sample}`, row.completion],
      ),
    );
    for (const { prompt_id, sample, reward } of read<{
      prompt_id: string;
      sample: number;
      reward: number;
    }>('rewards.jsonl')) {
      const text = completions.get(`${prompt_id} ${sample}`)!.trim();
      expect(reward).toBeCloseTo(
        (/[.!?)"']$/.test(text) ? 1 : 0) - text.split(/\s+/).length / 50,
        6,
      );
    }
  },
};

tests['weights-and-biases'] = async () => {
  let failures = 2;
  const service = await standIn(({ path }) =>
    path === '/graphql'
      ? { data: { upsertBucket: { bucket: { id: 'x' } } } }
      : failures-- > 0
        ? undefined
        : {},
  );
  const directory = join(work, 'wandb');
  await start('weights-and-biases', ['me/mine/first', directory, model], {
    WANDB_BASE_URL: service.url,
    WANDB_API_KEY: 'secret',
  }).ended;
  service.close();
  const [made, ...streamed] = service.asked;
  expect(made).toMatchObject({
    path: '/graphql',
    authorization: `Basic ${Buffer.from('api:secret').toString('base64')}`,
    body: { variables: { entity: 'me', project: 'mine', name: 'first' } },
  });
  const history: Record<string, number>[] = [];
  for (const { path, body } of streamed) {
    expect(path).toBe('/files/me/mine/first/file_stream');
    const part = (body as { files?: Record<string, { offset: number; content: string[] }> })
      .files?.['wandb-history.jsonl'];
    part?.content.forEach((line, i) => {
      history[part.offset + i] = JSON.parse(line) as Record<string, number>;
    });
  }
  expect(streamed.at(-1)!.body).toEqual({ complete: true, exitcode: 0 });
  expect(history.map(({ _step, _timestamp, ...row }) => row)).toEqual(rowsOf(directory));
  expect(history.map(({ _step }) => _step)).toEqual(history.map((_, i) => i));
};

tests['mlflow'] = async () => {
  const info = { run_id: 'r1' };
  const service = await standIn(({ path }) =>
    path.endsWith('/runs/search') ? {} : path.endsWith('/runs/create') ? { run: { info } } : {},
  );
  const directory = join(work, 'mlflow');
  await start('mlflow', ['first', directory, model], { MLFLOW_TRACKING_URI: service.url }).ended;
  service.close();
  const paths = service.asked.map(({ path }) => path.replace('/api/2.0/mlflow/', ''));
  expect(paths.slice(0, 2)).toEqual(['runs/search', 'runs/create']);
  expect(service.asked.at(-1)!.body).toMatchObject({ run_id: 'r1', status: 'FINISHED' });
  const logged = service.asked
    .filter(({ path }) => path.endsWith('/runs/log-batch'))
    .map(
      ({ body }) =>
        body as {
          run_id: string;
          metrics: { key: string; value: number; timestamp: number; step: number }[];
        },
    );
  const rows = rowsOf(directory);
  expect(logged).toHaveLength(rows.length);
  const step = rows.findIndex((row) => row['stage_step'] === 1);
  const losses = logged[step]!.metrics.filter(({ key }) => key === 'train/loss');
  expect(losses).toEqual([
    {
      key: 'train/loss',
      value: rows[step]!['loss'],
      timestamp: Math.round(rows[step]!['perf/time']! * 1000),
      step: rows[step]!['step'],
    },
  ]);
};

it.each(readdirSync(join(root, 'examples')).map((file) => file.replace('.ts', '')))(
  '%s runs',
  async (name) => {
    expect(Object.keys(tests)).toContain(name);
    await tests[name]!();
  },
);
