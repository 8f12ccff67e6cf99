/** `cream generate --prompt`, `chat`, `serve`, `init` with flags and `plan` on the CPU. */
import { describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sideBySide } from '../../src/cli/columns.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { cream, openCream, startCream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const work = temporaryFolder('cream-try-');
const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 512 });

describe('cream generate --prompt', () => {
  const generate = (...more: string[]) =>
    cream('generate', '--model', model, '--prompt', 'hi', '--max-new-tokens', '8', ...more);

  it('prints one completion, the same for the same seed', async () => {
    const [one, two] = [await generate('--seed', '3'), await generate('--seed', '3')];
    expect(one).toMatchObject({ code: 0, stderr: expect.stringContaining('seed 3') });
    expect(two.stdout).toBe(one.stdout);
    const { stdout } = await generate('--seed', '3', '--samples', '2', '--json');
    const { completions } = JSON.parse(stdout) as {
      completions: { text: string; token_ids: number[]; logprobs: number[]; seed: number }[];
    };
    expect(completions.map(({ seed }) => seed)).toEqual([3, 4]);
    expect(`${completions[0]!.text}\n`).toBe(one.stdout);
    expect(completions[0]!.logprobs).toHaveLength(completions[0]!.token_ids.length);
  });

  it('tells the most likely tokens beside each', async () => {
    const { stdout } = await generate('--seed', '3', '--json', '--top-logprobs', '2');
    const [one] = (
      JSON.parse(stdout) as {
        completions: { token_ids: number[]; top_logprobs: { logprob: number }[][] }[];
      }
    ).completions;
    expect(one!.top_logprobs).toHaveLength(one!.token_ids.length);
    for (const [first, second] of one!.top_logprobs)
      expect(first!.logprob).toBeGreaterThanOrEqual(second!.logprob);
    expect(await generate('--top-logprobs', '2')).toMatchObject({ code: 2 });
  });

  it('decodes greedily at --temperature 0, and takes one --stop without a list', async () => {
    const greedy = ['--temperature', '0', '--json'];
    const texts = await Promise.all(
      [['1'], ['2', '--stop', 'no such text']].map(async ([seed, ...more]) => {
        const { stdout } = await generate('--seed', seed!, ...greedy, ...more);
        return (JSON.parse(stdout) as { completions: { text: string }[] }).completions[0]!.text;
      }),
    );
    expect(texts[0]).toBe(texts[1]);
    const file = ['generate', '--out', join(work, 'x'), '--model', model, '--temperature', '0'];
    expect(await cream(...file)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('give --samples 1'),
    });
  });

  it('asks for a lower --count where the prompts are too few', async () => {
    const prompts = join(work, 'two.jsonl');
    writeFileSync(prompts, '{"prompt": "a"}\n{"prompt": "b"}\n');
    const few = ['--prompts', prompts, '--count', '3', '--out', join(work, 'x')];
    expect((await cream('generate', '--model', model, ...few)).stderr).toContain(
      `${prompts} holds 2 prompts, fewer than --count 3: lower it, or leave it out.\n`,
    );
  });

  it('refuses --out together with --prompt, and the absence of both', async () => {
    expect(await generate('--out', 'x')).toMatchObject({ code: 2 });
    expect(await cream('generate')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('needs --out'),
    });
  });
});

describe('cream chat', () => {
  /** Sends these lines to a chat and returns what it printed. */
  async function chat(lines: string[], ...args: string[]): Promise<string> {
    const child = openCream('chat', ...args, '--max-new-tokens', '6');
    let printed = '';
    child.stdout.on('data', (data: Buffer) => (printed += data.toString()));
    child.stdin.end(`${lines.join('\n')}\n`);
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code).toBe(0);
    return printed;
  }

  it('answers a line at a time, and forgets after /reset', async () => {
    const printed = await chat(
      ['hi', '/reset', 'hi'],
      model,
      '--temperature',
      '0.01',
      '--top-k',
      '1',
    );
    const half = printed.length / 2;
    expect(printed.slice(0, half)).toBe(printed.slice(half));
  });

  it('prints each answer as one line of JSON', async () => {
    const printed = await chat(['hi', 'and?'], model, '--compare', model, '--json', '--seed', '5');
    const answers = printed
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(answers.map((answer) => [answer['model'], answer['message']])).toEqual([
      [model, 'hi'],
      [model, 'hi'],
      [model, 'and?'],
      [model, 'and?'],
    ]);
    for (const { text, seed, token_ids, logprobs, finish_reason } of answers) {
      expect(typeof text).toBe('string');
      expect(seed).toBe(5);
      expect(finish_reason).toMatch(/^(eos|length)$/);
      expect((token_ids as number[]).length).toBe((logprobs as number[]).length);
    }
  });

  it("compares a run's newest checkpoint with its base model", async () => {
    const run = join(work, 'run');
    mkdirSync(join(run, 'iteration-1'), { recursive: true });
    writeFileSync(join(run, 'recipe.yaml'), `model: ${model}\n`);
    writeFileSync(join(run, 'events.jsonl'), '');
    const aligned = tinyModel({ tokenizer: true, maxPositionEmbeddings: 512, seed: 2 });
    cpSync(aligned, join(run, 'iteration-1/checkpoint'), { recursive: true });
    const printed = await chat(['hi'], run, '--compare', '--seed', '1');
    expect(printed).toContain(`[${model}]\n`);
    expect(printed).toContain(`[${run}]\n`);
  });

  it('puts two texts beside each other where there is room', () => {
    const columns = [
      { title: 'base', text: 'one two three' },
      { title: 'aligned', text: `${'word '.repeat(9)}end` },
    ];
    const lines = sideBySide(columns, 83).split('\n');
    expect(lines[0]).toMatch(/^base {36} │ aligned$/);
    expect(lines[2]).toMatch(/^one two three {27} │ word /);
    expect(lines).toHaveLength(4);
    expect(sideBySide(columns, 40)).toBe(`[base]\none two three\n\n[aligned]\n${columns[1]!.text}`);
  });
});

describe('cream serve', () => {
  it.each(['99999', '-1', 'http'])('refuses the port %s before it loads a model', async (port) => {
    expect(await cream('serve', 'no-such-model', '--port', port)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('It must be a port from 0 to 65535'),
    });
  });

  it('serves until it is told to stop', async () => {
    const { child, finished } = startCream(['serve', model, '--port', '0']);
    const line = await new Promise<string>((resolve) =>
      child.stdout!.once('data', (data: Buffer) => resolve(data.toString())),
    );
    const url = /http:\S+/.exec(line)![0];
    const response = await fetch(`${url}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }], max_tokens: 4 }),
    });
    expect(await response.json()).toMatchObject({ object: 'chat.completion' });
    child.kill('SIGINT');
    expect(await finished).toMatchObject({ code: 0 });
  });
});

describe('cream init and plan', () => {
  it("fits a recipe's counts to the user's prompts and keeps its comments", async () => {
    const prompts = join(work, 'prompts.jsonl');
    const rows = Array.from({ length: 24 }, (_, i) => JSON.stringify({ prompt: `What is ${i}?` }));
    writeFileSync(prompts, rows.join('\n'));
    const out = join(work, 'mine.yaml');
    const made = await cream('init', 'cream', '--prompts', prompts, '--model', model, '-o', out);
    expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining(`cream run ${out}\n`) });
    const text = readFileSync(out, 'utf8');
    expect(text).toContain('# (paper)');
    // What the recipe's own head and comments say of its values is not said of the user's.
    expect(text).toMatch(/^# The recipe cream with settings of cream init\..*\n# .*\n\nmodel: /);
    expect(text).toMatch(/^ {2}source: \S+\n {2}count: 12\n/m);
    expect(parseRecipe(text, out)).toMatchObject({
      model,
      prompts: { source: prompts, count: 12 },
      train: { batch_size: 12 },
    });
    expect(
      await cream('init', 'cream', '--prompts', prompts, '--iterations', '30', '-o', `${out}2`),
    ).toMatchObject({ code: 1, stderr: expect.stringContaining('holds 24 prompts') });

    const plan = await cream('plan', out, '--json');
    expect(plan.code).toBe(0);
    const { memory, stages, disk } = JSON.parse(plan.stdout) as {
      memory: Record<string, number>;
      stages: { stage: string; tokens: number; seconds: number }[];
      disk: { needed: number };
    };
    expect(stages.map(({ stage }) => stage)).toEqual([
      'sft',
      'sample',
      'score',
      'train',
      'evaluate',
    ]);
    expect(stages[1]!.tokens).toBe(2 * 12 * 5 * 768);
    expect(stages.every(({ seconds }) => seconds > 0)).toBe(true);
    expect(memory['train']).toBeGreaterThan(0);
    expect(disk.needed).toBeGreaterThan(0);
  });
});

describe('cream completion', () => {
  it('completes commands and flags in bash', async () => {
    const script = (await cream('completion', 'bash')).stdout;
    const complete = (words: string[]): string =>
      spawnSync(
        'bash',
        [
          '-c',
          `${script}\nCOMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _cream; ` +
            'echo "${COMPREPLY[@]}"',
        ],
        { encoding: 'utf8' },
      ).stdout.trim();
    expect(complete(['cream', 'ser'])).toBe('serve');
    expect(complete(['cream', 'serve', '--po'])).toBe('--port');
  });

  it('lists commands and flags as JSON, but no script', async () => {
    const { stdout } = await cream('completion', '--json');
    const commands = JSON.parse(stdout) as {
      name: string;
      about: string;
      flags: { long: string }[];
    }[];
    expect(commands.find(({ name }) => name === 'completion')!.about).toBe(
      'print a completion script: eval "$(cream completion bash)"',
    );
    expect(commands.find(({ name }) => name === 'serve')!.flags).toContainEqual(
      expect.objectContaining({ long: '--port', takesValue: true }),
    );
    for (const args of [['bash', '--json'], []])
      expect(await cream('completion', ...args)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('Name a shell (bash, zsh, fish)'),
      });
  });

  it.each(['zsh', 'fish'])('names every command for %s', async (shell) => {
    const { stdout } = await cream('completion', shell);
    for (const name of ['run', 'serve', 'chat', 'completion']) expect(stdout).toContain(name);
  });
});
