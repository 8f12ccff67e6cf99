/** Starts `cream` as several ranks, with the variables that torchrun sets. */
import type { ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { expect } from '@jest/globals';
import { startCream, type Finished } from './cli.js';
import { pauseAt, whilePaused } from './pause.js';

export interface RunningRanks {
  children: ChildProcess[];
  finished: Promise<Finished[]>;
}

/** `args`: of all ranks, or of each. */
export async function startRanks(
  ranks: number,
  args: readonly string[] | ((rank: number) => readonly string[]),
  env: NodeJS.ProcessEnv = {},
  through: (rank: number) => readonly string[] = () => [],
): Promise<RunningRanks> {
  const port = String(await freePort());
  const started = Array.from({ length: ranks }, (_, rank) =>
    startCream(
      typeof args === 'function' ? args(rank) : args,
      {
        RANK: String(rank),
        LOCAL_RANK: String(rank),
        WORLD_SIZE: String(ranks),
        LOCAL_WORLD_SIZE: String(ranks),
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: port,
        OMP_NUM_THREADS: '1',
        ...env,
      },
      undefined,
      through(rank),
    ),
  );
  return {
    children: started.map(({ child }) => child),
    finished: Promise.all(started.map(({ finished }) => finished)),
  };
}

export const creamOnRanks = async (ranks: number, ...args: string[]): Promise<Finished[]> =>
  (await startRanks(ranks, args)).finished;

/** The arguments of a run of `recipe` with further keys, as `key=value`. */
export const runOf = (recipe: string, directory: string, keys: readonly string[]): string[] => [
  ...['run', recipe, '--out', directory],
  ...keys.flatMap((key) => ['--set', key]),
];

/** Such a run on two ranks, which must succeed. */
export async function runsOnTwo(
  recipe: string,
  directory: string,
  keys: readonly string[],
): Promise<void> {
  const all = await creamOnRanks(2, ...runOf(recipe, directory, keys));
  expect(all.map(({ code, stderr }) => (code === 0 ? '' : stderr))).toEqual(['', '']);
}

/** Such a run on two ranks that is stopped after the first event that matches `line`. */
export async function stopsOnTwo(
  recipe: string,
  directory: string,
  keys: readonly string[],
  line: RegExp,
): Promise<void> {
  const args = runOf(recipe, directory, keys);
  const { children, finished } = await startRanks(2, args, pauseAt(line));
  await whilePaused(children[0]!, () => children[0]!.kill('SIGTERM'));
  const [first] = await finished;
  expect(first!.code).toBe(143);
}

/** A TCP port of this machine that nothing listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
