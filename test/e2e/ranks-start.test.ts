/** Ranks that were started differently end with one sentence; a stop may reach any of them. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { processGroups } from '../../src/engine/ranks.js';
import { startCream, type Finished } from '../support/cli.js';
import { pauseAt, whilePaused } from '../support/pause.js';
import { creamOnRanks, freePort, runOf, startRanks } from '../support/ranks.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const onRanks = processGroups().gloo ? describe : describe.skip;
const work = temporaryFolder('cream-ranks-start-');
const recipe = join(work, 'recipe.yaml');

beforeAll(() =>
  writeFileSync(
    recipe,
    `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
threads: 1
iterations: 1
prompts: {count: 6}
sample: {samples: 3, max_new_tokens: 8}
rank: {weighting: fixed}
train: {learning_rate: 1.0e-3, batch_size: 2, epochs: 2}
evaluate: {tasks: []}
`,
  ),
);

onRanks('ranks with different starts', () => {
  it.each([
    ['recipes', 'a', ['seed=2'], 'This rank was started with seed = 2 and rank 0 with 42: start'],
    ['run directories', 'b', [], 'This rank was started with the run directory '],
  ])('end before any work: %s', async (_, name, keys, sentence) => {
    const directory = join(work, `different-${name}`);
    const other = keys.length > 0 ? directory : `${directory}-other`;
    const { finished } = await startRanks(2, (rank) =>
      rank === 0 ? runOf(recipe, directory, []) : runOf(recipe, other, keys),
    );
    const [first, second] = await finished;
    expect(first!.stderr.trim().split('\n').at(-1)).toMatch(
      new RegExp(`^cream: Rank 1 on [^ ]+: ${sentence}`),
    );
    expect(first!.code).toBe(1);
    expect(second).toEqual({ code: 1, signal: null, stdout: '', stderr: '' });
    expect(existsSync(join(directory, 'iteration-1/completions.jsonl'))).toBe(false);
  });
});

onRanks('ranks that do not belong together', () => {
  /** Starts one process per environment, each at the same store. */
  async function started(...envs: NodeJS.ProcessEnv[]): Promise<Finished[]> {
    const port = String(await freePort());
    const all = envs.map((env) =>
      startCream(runOf(recipe, join(work, 'apart'), []), {
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: port,
        ...env,
      }),
    );
    return Promise.all(all.map(({ finished }) => finished));
  }
  const told = (all: Finished[]): string[] => all.map(({ stderr }) => stderr.trim());

  it('end at once where two have one RANK', async () => {
    const WORLD_SIZE = '3';
    const all = await started(
      { RANK: '0', WORLD_SIZE },
      { RANK: '1', WORLD_SIZE },
      { RANK: '1', WORLD_SIZE },
    );
    const sentence =
      /^cream: \[parallel\] several processes are rank 1 at the store at 127.0.0.1:\d+; give each/;
    expect(told(all)).toEqual(all.map(() => expect.stringMatching(sentence)));
    expect(all.map(({ code }) => code)).toEqual([1, 1, 1]);
    expect(existsSync(join(work, 'apart'))).toBe(false);
  });

  it('end at once where WORLD_SIZE differs', async () => {
    const all = await started({ RANK: '0', WORLD_SIZE: '2' }, { RANK: '1', WORLD_SIZE: '3' });
    const sentence =
      /^cream: \[parallel\] WORLD_SIZE is \d for rank \d and \d for another one at the store at /;
    expect(told(all)).toEqual(all.map(() => expect.stringMatching(sentence)));
  });

  it('say that they wait for a name that is not known, without warnings of libtorch', async () => {
    const env = { MASTER_ADDR: 'name.invalid', MASTER_PORT: '1', WORLD_SIZE: '2', RANK: '1' };
    const { child, finished } = startCream(runOf(recipe, join(work, 'apart'), []), env);
    await new Promise((resolve) => child.stderr!.once('data', resolve));
    child.kill('SIGTERM');
    expect((await finished).stderr.trim()).toBe(
      'cream: Rank 1 waits for the store at name.invalid:1, which does not answer.',
    );
  });

  it('say that they wait for a store that does not answer, and which port is in use', async () => {
    const stranger = createServer();
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    const { port } = stranger.address() as AddressInfo;
    const env = { MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port), WORLD_SIZE: '2' };
    const args = runOf(recipe, join(work, 'apart'), []);
    const first = await startCream(args, { ...env, RANK: '0' }).finished;
    expect(first.stderr).toContain(
      `rank 0 cannot hold the store, because port ${port} is in use; give each run a MASTER_PORT`,
    );
    const { child, finished } = startCream(args, { ...env, RANK: '1' });
    await new Promise((resolve) => child.stderr!.once('data', resolve));
    child.kill('SIGTERM');
    const { code, stderr } = await finished;
    expect(code).toBe(143);
    expect(stderr.trim()).toBe(
      `cream: Rank 1 waits for the store at 127.0.0.1:${port}, which does not answer.`,
    );
    stranger.close();
  });
});

onRanks('a stop that reaches another rank than the first', () => {
  it('stops all after the current step, whose state is saved', async () => {
    const directory = join(work, 'stopped');
    const args = runOf(recipe, directory, ['train.epochs=1000']); // does not end by itself
    const { children, finished } = await startRanks(2, args, pauseAt(/"type":"step"/));
    await whilePaused(children[0]!, () => children[1]!.kill('SIGTERM'));
    const [first, second] = await finished;
    expect(first!.stderr.trim().split('\n').at(-1)).toBe(
      'Stopped; finished work is saved. Run the same command to resume.',
    );
    expect([first!.code, second!.code]).toEqual([143, 143]);
    expect(second!.stderr).toBe('');
    expect(existsSync(join(directory, 'iteration-1/training/progress.json'))).toBe(true);
  });
});

describe('a command on several ranks', () => {
  it('prints the plan of a run once', async () => {
    const all = await creamOnRanks(2, ...runOf(recipe, join(work, 'dry'), []), '--dry-run');
    expect(all.map(({ code }) => code)).toEqual([0, 0]);
    expect(all[0]!.stdout).toContain('Nothing was run or written.');
    expect(all[1]!.stdout).toBe('');
  });

  it.each(['verify', 'report'])('refuses to be cream %s', async (name) => {
    const env = { WORLD_SIZE: '2', RANK: '0' };
    const { code, stderr } = await startCream([name, work], env).finished;
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringContaining(`cream ${name} works in one process, and WORLD_SIZE is 2`),
    });
  });
});
