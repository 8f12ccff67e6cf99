/**
 * A run that is killed at any point resumes with the same command and ends with the bytes of an
 * undisturbed run.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, cream, startCream, type Finished } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { killBefore } from '../support/kill.js';
import { pauseAt, whilePaused } from '../support/pause.js';

const work = temporaryFolder('cream-resume-');
const recipe = join(work, 'recipe.yaml');
const whole = join(work, 'whole');
let expected: Record<string, string>;

beforeAll(async () => {
  writeFileSync(
    recipe,
    `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
seed: 7
threads: 1
iterations: 2
prompts: {count: 6}
sft: {enabled: true, count: 8, batch_size: 2, learning_rate: 1.0e-3, save_steps: 1}
sample: {samples: 3, max_new_tokens: 12, save_prompts: 2}
score: {save_prompts: 2}
train: {learning_rate: 1.0e-3, batch_size: 2, epochs: 2, save_steps: 2}
evaluate: {count: 4, max_new_tokens: 8, save_prompts: 2}
`,
  );
  expect(await cream('run', recipe, '--out', whole)).toMatchObject({ code: 0 });
  expected = artefacts(whole);
});

const lines = (path: string): number =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;

/**
 * Starts the run and sends `signal` some milliseconds after its event log has grown by `events`
 * lines, or lets it finish.
 */
async function stopAfter(
  directory: string,
  events: number,
  delay: number,
  signal: NodeJS.Signals,
): Promise<Finished> {
  const log = join(directory, 'events.jsonl');
  const goal = lines(log) + events;
  const { child, finished } = startCream(['run', recipe, '--out', directory]);
  const timer = setInterval(() => {
    if (lines(log) < goal) return;
    clearInterval(timer);
    setTimeout(() => child.kill(signal), delay);
  }, 1);
  const result = await finished;
  clearInterval(timer);
  return result;
}

describe('a run that was stopped', () => {
  it('leaves no lock, no part and no trainer state behind when it is whole', () => {
    expect(Object.keys(expected).filter((name) => /lock|parts|training|tmp/.test(name))).toEqual(
      [],
    );
    expect(Object.keys(expected)).toEqual(
      expect.arrayContaining([
        'summary.json',
        'metrics.jsonl',
        'iteration-2/checkpoint/model.safetensors',
        'iteration-2/answers.jsonl',
        'sft/steps.jsonl',
      ]),
    );
  });

  it('by kill -9 at random points ends with the same bytes', async () => {
    const directory = join(work, 'killed');
    const points: string[] = [];
    let kills = 0;
    let result: Finished | undefined;
    // Each call gets further than the one before, because finished work is one event per stage.
    for (let round = 0; round < 9 && result?.code !== 0; round++) {
      const events = 2 + Math.floor(Math.random() * 6) + 3 * round;
      const delay = Math.floor(Math.random() * 40);
      points.push(`${events} events + ${delay} ms`);
      result = await stopAfter(directory, events, delay, 'SIGKILL');
      kills += result.signal === 'SIGKILL' ? 1 : 0;
    }
    if (result?.code !== 0) result = await cream('run', recipe, '--out', directory);
    expect({ code: result.code, stderr: result.code === 0 ? '' : result.stderr }).toEqual({
      code: 0,
      stderr: '',
    });
    expect(kills).toBeGreaterThan(0);
    expect({ points, files: artefacts(directory) }).toEqual({ points, files: expected });
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'by %s says how to go on, exits with %d, and ends with the same bytes',
    async (signal, code) => {
      const directory = join(work, signal);
      const args = ['run', recipe, '--out', directory];
      const { child, finished } = startCream(args, pauseAt(/"type":"step"/));
      await whilePaused(child, () => child.kill(signal));
      const stopped = await finished;
      expect(stopped.code).toBe(code);
      expect(stopped.stderr).toContain('Run the same command to resume.');
      expect(existsSync(join(directory, 'lock'))).toBe(false);
      expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
      expect(artefacts(directory)).toEqual(expected);
    },
  );

  /** Runs until the process kills itself before the `at`-th change of a path that matches. */
  const killed = async (directory: string, at: number, path: RegExp): Promise<void> => {
    const args = ['run', recipe, '--out', directory];
    expect((await startCream(args, killBefore(at, path)).finished).signal).toBe('SIGKILL');
  };

  const progress = /sft\/training\/progress\.json$/;
  const state = /sft\/training\/state\.safetensors$/;
  it.each<[string, [number, RegExp][]]>([
    [
      'its steps, twice',
      [
        [2, progress],
        [1, progress],
      ],
    ],
    [
      'its state, twice',
      [
        [2, state],
        [1, state],
      ],
    ],
    [
      'its steps and then of its state',
      [
        [2, progress],
        [1, state],
      ],
    ],
    [
      'its state and then of its steps',
      [
        [2, state],
        [1, progress],
      ],
    ],
  ])(
    'by kill -9 before the renames of %s in one save ends with the same bytes',
    async (_, kills) => {
      const directory = join(work, kills.map(([, path]) => (path === state ? 's' : 'p')).join(''));
      for (const [at, path] of kills) await killed(directory, at, path);
      expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
      expect(artefacts(directory)).toEqual(expected);
    },
  );

  it('by kill -9 while it writes a checkpoint again ends with the same bytes', async () => {
    const directory = join(work, 'again');
    await killed(directory, 7, /again\/records\.jsonl$/);
    const last = readFileSync(join(directory, 'records.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .at(-1);
    expect(JSON.parse(last!)).toMatchObject({
      file: expect.stringMatching(/^sft\/checkpoint\/tokenizer/),
    });
    await killed(directory, 1, /again\/sft\/checkpoint\/chat_template/);
    expect(await cream('verify', directory)).toMatchObject({ code: 0 });
    expect(await cream('run', recipe, '--out', directory)).toMatchObject({ code: 0 });
    expect(artefacts(directory)).toEqual(expected);
  });

  it('by kill -9 before a model card is in place has no file that it did not write', async () => {
    const directory = join(work, 'card');
    await killed(directory, 1, /card\/sft\/checkpoint\/README\.md$/);
    expect((await cream('verify', directory)).stdout).not.toContain('is not one of');
  });

  it('and is finished now is reported as finished and left unchanged', async () => {
    const times = () =>
      readdirSync(whole, { recursive: true, encoding: 'utf8' }).map(
        (name) => `${name} ${statSync(join(whole, name)).mtimeMs}`,
      );
    const before = times();
    const again = await cream('run', recipe, '--out', whole);
    expect(again).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('is finished; nothing to do'),
    });
    // The folder itself saw the lock come and go.
    expect(times()).toEqual(before);
  });

  it('refuses another recipe, naming the first key that differs', async () => {
    const other = await cream('run', recipe, '--out', whole, '--set', 'train.beta=0.5');
    expect(other).toMatchObject({ code: 1, stdout: '' });
    expect(other.stderr).toContain('was made with train.beta = 0.1, this recipe says 0.5');
  });

  it('is refused while another process works in its directory', async () => {
    const directory = join(work, 'busy');
    const { child, finished } = startCream(['run', recipe, '--out', directory]);
    while (!existsSync(join(directory, 'events.jsonl')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGSTOP'); // it must not finish before the second one looks
    const second = await cream('run', recipe, '--out', directory);
    expect(second).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`in use by process ${child.pid}`),
    });
    child.kill('SIGKILL');
    await finished;
  });
});

describe('the stages as commands of their own', () => {
  const at = (name: string) => join(work, name);

  it('make the same files as the run', async () => {
    const model = readFileSync(recipe, 'utf8').match(/^model: (.*)$/m)![1]!;
    const tuned = join(whole, 'sft/checkpoint');
    const steps: string[][] = [
      [
        'score',
        '--completions',
        join(whole, 'iteration-1/completions.jsonl'),
        '--model',
        tuned,
        '--base',
        model,
        '--out',
        at('scores.jsonl'),
        '--save-prompts',
        '2',
      ],
      [
        'prefer',
        '--scores',
        at('scores.jsonl'),
        '--completions',
        join(whole, 'iteration-1/completions.jsonl'),
        '--out',
        at('pairs.jsonl'),
        '--rankings',
        at('rankings.jsonl'),
      ],
      [
        'generate',
        '--model',
        tuned,
        '--prompts',
        join(whole, 'iteration-1/prompts.jsonl'),
        '--out',
        at('completions.jsonl'),
        '--seed',
        '7',
        '--samples',
        '3',
        '--max-new-tokens',
        '12',
      ],
      [
        'train',
        '--pairs',
        at('pairs.jsonl'),
        '--model',
        tuned,
        '--out',
        at('trained'),
        '--batch-size',
        '3',
        '--learning-rate',
        '1.0e-3',
      ],
      [
        'eval',
        '--model',
        at('trained'),
        '--count',
        '4',
        '--max-new-tokens',
        '8',
        '--out',
        at('answers.jsonl'),
        '--json',
      ],
      ['report', whole],
    ];
    for (const args of steps)
      expect(
        await cream(
          ...args,
          ...(['prefer', 'report'].includes(args[0]!) ? [] : ['--threads', '1']),
        ),
      ).toMatchObject({ code: 0 });
    for (const name of ['scores.jsonl', 'pairs.jsonl', 'rankings.jsonl'])
      expect(readFileSync(at(name), 'utf8')).toBe(
        readFileSync(join(whole, 'iteration-1', name), 'utf8'),
      );
    // A file's prompts are taken in another order than the run's subset; each prompt's samples are
    // the same.
    const sorted = (path: string) => readFileSync(path, 'utf8').trimEnd().split('\n').sort();
    expect(sorted(at('completions.jsonl'))).toEqual(
      sorted(join(whole, 'iteration-1/completions.jsonl')),
    );
    expect(existsSync(join(at('trained'), 'model.safetensors'))).toBe(true);
  });
});
