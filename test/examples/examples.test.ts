/** Runs every file of examples/ like a user: in a process of its own, on the built package. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';
import ts from 'typescript';
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
    env: { ...process.env, OMP_WAIT_POLICY: 'passive' },
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

const tests: Record<string, () => Promise<void>> = {
  'score-candidates': async () => {
    const lines = (await start('score-candidates', [model]).ended).trim().split('\n');
    expect(lines).toHaveLength(3);
    const means = lines.map((line) =>
      Number(/^(-[\d.]+) nats a token  -[\d.]+ in all  \S/.exec(line)?.[1]),
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

it.each(readdirSync(join(root, 'examples')).map((file) => file.replace('.ts', '')))(
  '%s runs',
  async (name) => {
    expect(Object.keys(tests)).toContain(name);
    await tests[name]!();
  },
);
