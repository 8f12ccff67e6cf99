/**
 * A run on two ranks in two networks whose cable is unplugged: both end in time with a sentence
 * each, nothing is lost, and the same command goes on once the network is back.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processGroups } from '../../src/engine/ranks.js';
import { artefacts, cream } from '../support/cli.js';
import { hasNetworks, TwoNetworks } from '../support/networks.js';
import { startRanks } from '../support/ranks.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';
import { pauseAt, whilePaused } from '../support/pause.js';

const possible = processGroups().gloo && hasNetworks();
if (!possible) console.warn('skip a partition of the network: no Gloo, or no network namespaces');

const work = temporaryFolder('cream-network-');
const recipe = join(work, 'recipe.yaml');
const directory = join(work, 'run');
/** What the ranks are told to notice a loss: 20 beats of a second. */
const LOST_MS = 20_000;

(possible ? describe : describe.skip)('a network that is cut in two', () => {
  let networks: TwoNetworks;
  beforeAll(async () => {
    networks = await TwoNetworks.create();
    writeFileSync(
      recipe,
      `
model: ${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024, numHeads: 2, numKvHeads: 1 })}
seed: 7
threads: 1
iterations: 1
prompts: {count: 8}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 3}
train: {learning_rate: 1.0e-3, batch_size: 2, epochs: 3, save_steps: 1}
evaluate: {tasks: []}
`,
    );
  });
  afterAll(() => networks.close());

  const start = (settings: NodeJS.ProcessEnv = {}) =>
    startRanks(
      2,
      ['run', recipe, '--out', directory],
      {
        MASTER_ADDR: TwoNetworks.addresses[0],
        GLOO_SOCKET_IFNAME: TwoNetworks.device,
        ...settings,
      },
      (rank) => networks.through(rank as 0 | 1),
    );

  it('ends both ranks in time, and the run goes on from what is saved', async () => {
    const { children, finished } = await start(pauseAt(/"type":"step"/));
    let cut = 0;
    await whilePaused(children[0]!, () => {
      cut = performance.now();
      networks.connect(false);
    });
    const all = await finished;
    const took = performance.now() - cut;
    expect(all.map(({ code }) => code)).toEqual([1, 1]);
    expect(took).toBeLessThan(3 * LOST_MS);
    const last = all.map(({ stderr }) => stderr.trim().split('\n').at(-1));
    expect(last[0]).toMatch(
      new RegExp(
        '^cream: Rank 0 ends because rank 1 of 2 has not been heard of for 20 s: it has ended, ' +
          String.raw`or the network between the machines fails\. What was finished is saved: ` +
          'start the run again',
      ),
    );
    expect(last[1]).toMatch(
      new RegExp(
        String.raw`^cream: Rank 1 ends because the store at 10\.77\.0\.1:\d+ does not answer for ` +
          String.raw`20 s: the network between the machines fails\.`,
      ),
    );
    const completions = join(directory, 'iteration-1/completions.jsonl');
    const before = readFileSync(completions);
    expect(await cream('verify', directory)).toMatchObject({ code: 0 });

    networks.connect(true);
    const again = await (await start()).finished;
    expect(again.map(({ code, stderr }) => (code === 0 ? '' : stderr))).toEqual(['', '']);
    expect(readFileSync(completions)).toEqual(before);
    expect(Object.keys(artefacts(directory))).toContain('summary.json');
  });
});
