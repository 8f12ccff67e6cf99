/**
 * Kills and damages: a short campaign in `npm test`, a long one in `npm run faults`, which sets
 * CREAM_FAULTS to the number of killed runs and tries every damage, or CREAM_FAULTS_SHARE of them.
 */
import { beforeAll, expect, it } from '@jest/globals';
import { generator } from '../preference/generator.js';
import { Campaign } from './campaign.js';

const LONG = Number(process.env['CREAM_FAULTS'] ?? 0);
/** The share of all damages that a long campaign tries. */
const SHARE = Number(process.env['CREAM_FAULTS_SHARE'] ?? 1);
const campaign = new Campaign();
const { integer: random } = generator(LONG > 0 ? Date.now() % 2 ** 31 : 11);

beforeAll(() => campaign.prepare(), 300_000);

it(
  'of a damaged file, a run says which it is, or makes it again with the same bytes',
  async () => {
    const snapshots = await campaign.snapshots(LONG > 0 ? 12 : 3);
    const some = () => random(1000) < (LONG > 0 ? 1000 * SHARE : 25);
    const outcome = await campaign.damage(snapshots, some, random);
    process.stderr.write(`damages: ${JSON.stringify({ ...outcome, wrong: undefined })}\n`);
    expect(outcome.wrong).toEqual([]);
    expect(outcome.tried).toBeGreaterThan(20);
    expect(outcome.refused).toBeGreaterThan(outcome.tried / 2);
  },
  6 * 3_600_000,
);

it(
  'killed at random moments, a run ends with the same bytes',
  async () => {
    const outcome = await campaign.kill(LONG > 0 ? LONG : 1, random);
    process.stderr.write(`kills: ${JSON.stringify({ ...outcome, wrong: undefined })}\n`);
    expect(outcome.wrong).toEqual([]);
    expect(outcome.kills).toBeGreaterThan(0);
  },
  6 * 3_600_000,
);

it(
  'killed before changes of its files, a run ends with the same bytes',
  async () => {
    let last = 0;
    // A long campaign goes through all changes of the run, of which there are about a thousand.
    const point = () => (LONG > 0 ? (last += 1 + random(3)) : 1 + random(1000));
    const outcome = await campaign.interrupt(LONG > 0 ? 500 : 1, point, random);
    process.stderr.write(`interruptions: ${JSON.stringify({ ...outcome, wrong: undefined })}\n`);
    expect(outcome.wrong).toEqual([]);
  },
  6 * 3_600_000,
);
