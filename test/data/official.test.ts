import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  officialDemonstrations,
  officialPrompts,
  officialRewards,
  officialSamples,
  officialText,
  readOfficial,
  toOfficialDemonstrations,
  toOfficialDpo,
  toOfficialPrompts,
  toOfficialRewarding,
  toOfficialSampling,
  type Entries,
  type OfficialFile,
} from '../../src/data/official.js';
import { loadPreferences } from '../../src/data/preferences.js';
import type { CompletionRecord, PairRecord, ScoreRecord } from '../../src/data/records.js';
import { assistant, user } from '../support/rows.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cream-official-'));
});
afterAll(() => rm(folder, { recursive: true }));
async function file(content: unknown, name = 'x.json'): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content, null, 4));
  return path;
}
const read = async (content: unknown): Promise<OfficialFile> =>
  (await readOfficial(await file(content)))!;
const written = async (entries: Entries) => read(officialText(entries));

// Ids that look like numbers, in an order that a JavaScript object would not keep.
const ids = ['10', 'a"b\u2028', '2'];
const completions: CompletionRecord[] = ids.flatMap((prompt_id) =>
  [0, 1, 2].map((sample) => ({
    prompt_id,
    sample,
    prompt: [user(`Question ${prompt_id}`)],
    completion: `Answer ${sample} ü🙂\n`,
    prompt_token_ids: [1],
    token_ids: [sample, 2],
    logprob: -sample,
    finish_reason: 'eos' as const,
  })),
);
const scores: ScoreRecord[] = completions.map(({ prompt_id, sample }, i) => ({
  prompt_id,
  sample,
  tokens: 2,
  logp_current: -1 - sample - i,
  logp_previous: -8,
  logp_base: -8,
}));

describe('what cream-lm writes, the official shapes, read back', () => {
  it('sampling', async () => {
    const text = officialText(toOfficialSampling(completions));
    const read = JSON.parse(text) as Record<string, unknown>;
    expect(read['10']).toEqual({
      prompt: [user('Question 10')],
      responses: ['Answer 0 ü🙂\n', 'Answer 1 ü🙂\n', 'Answer 2 ü🙂\n'],
    });
    const keys = [...text.matchAll(/^("(?:[^"\\]|\\.)*"): /gm)].map(([, key]) => key!);
    expect(keys.map((key): unknown => JSON.parse(key))).toEqual(ids);
    const back = officialSamples(await written(toOfficialSampling(completions)));
    const order = (
      a: { prompt_id: string; sample: number },
      b: { prompt_id: string; sample: number },
    ) => ids.indexOf(a.prompt_id) - ids.indexOf(b.prompt_id) || a.sample - b.sample;
    expect(back.sort(order)).toEqual(
      completions.map(({ prompt_id, sample, prompt, completion }) => ({
        prompt_id,
        sample,
        prompt,
        completion,
      })),
    );
  });

  it('rewards the current model against its reference and the base model by its mean', async () => {
    const current = toOfficialRewarding(scores, completions, 'current');
    const previous = toOfficialRewarding(scores, completions, 'previous');
    expect(current[0]![1]).toEqual({
      prompt: [user('Question 10')],
      response: [0, 1, 2].map((n) => [user('Question 10'), assistant(`Answer ${n} ü🙂\n`)]),
      score: [-1, -3, -5],
      ref_score: [-8, -8, -8],
      reward: [7, 5, 3],
    });
    expect(previous[0]![1]).toMatchObject({
      score: [-4, -4, -4],
      ref_score: [0, 0, 0],
      reward: [-4, -4, -4],
    });
    const rewards = officialRewards(await written(current), await written(previous));
    expect(rewards).toHaveLength(9);
    expect(rewards.find(({ prompt_id, sample }) => prompt_id === '10' && sample === 1)).toEqual({
      prompt_id: '10',
      sample: 1,
      completion: 'Answer 1 ü🙂\n',
      reward: 5,
      reward_previous: -4,
    });
  });

  it('dpo, as pairs', async () => {
    const pair = {
      prompt_id: '7',
      prompt: [user('Hi')],
      chosen: [assistant('a')],
      rejected: [assistant('b')],
      consistency: 0.75,
    } as unknown as PairRecord;
    const path = await file(
      officialText(
        toOfficialDpo([
          { ...pair, id: '7' },
          { id: 'x', prompt: [user('Ho')], chosen: [assistant('c')], rejected: [assistant('d')] },
        ]),
      ),
    );
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
      7: {
        prompt: [user('Hi')],
        selected: [user('Hi'), assistant('a')],
        rejected: [user('Hi'), assistant('b')],
        consistency: 0.75,
      },
      x: {
        prompt: [user('Ho')],
        selected: [user('Ho'), assistant('c')],
        rejected: [user('Ho'), assistant('d')],
        consistency: null,
      },
    });
    expect((await loadPreferences(path)).records).toEqual([
      {
        id: '7',
        prompt: [user('Hi')],
        chosen: [assistant('a')],
        rejected: [assistant('b')],
        consistency: 0.75,
      },
      { id: 'x', prompt: [user('Ho')], chosen: [assistant('c')], rejected: [assistant('d')] },
    ]);
  });

  it('prompts and demonstrations', async () => {
    const prompts = [
      { id: 'b', prompt: [user('Hi')] },
      { id: 'a', prompt: [user('Ho')] },
    ];
    const demonstrations = [{ id: 'b', prompt: [user('Hi')], completion: [assistant('Yes')] }];
    expect(officialPrompts(await written(toOfficialPrompts(prompts)))).toEqual(prompts);
    expect(officialDemonstrations(await written(toOfficialDemonstrations(demonstrations)))).toEqual(
      demonstrations,
    );
    expect(() =>
      toOfficialDemonstrations([
        {
          id: 's',
          prompt: [{ role: 'system', content: 'Kind.' }, user('Hi')],
          completion: [assistant('Yes')],
        },
      ]),
    ).toThrow(
      /"s" has the turns system, user, assistant; the official code trains on one user turn/,
    );
  });
});

describe('what is wrong has file and key', () => {
  const rewarding = (over: object = {}) => ({
    a: {
      prompt: [user('Hi')],
      response: [
        [user('Hi'), assistant('x')],
        [user('Hi'), assistant('y')],
      ],
      score: [-1, -2],
      ref_score: [0, 0],
      reward: [-1, -2],
      ...over,
    },
  });
  const rewards = async (current: unknown, previous?: unknown) => {
    const first = await read(current);
    return officialRewards(first, previous === undefined ? undefined : await read(previous));
  };
  it.each([
    [{ reward: [-1, null] }, /x\.json key "a": reward 1 must be a number, but is null/],
    [{ reward: [-1] }, /key "a": 2 responses and 1 rewards/],
    [
      { response: [[user('Ho'), assistant('x')], null], reward: [-1, null] },
      /key "a": "response 0" does not begin with the row's own prompt but with .*Ho.*; it belongs/,
    ],
    [{ prompt: 'Hi' }, /key "a": "prompt" must be a list of messages, but is "Hi"/],
  ])('%j', async (over, message) => expect(rewards(rewarding(over))).rejects.toThrow(message));

  it('lists that are filled up with null', async () => {
    expect(
      await rewards(
        rewarding({ response: [[user('Hi'), assistant('x')], null], reward: [-1, null] }),
      ),
    ).toEqual([{ prompt_id: 'a', sample: 0, completion: 'x', reward: -1 }]);
  });
  it('scores of other prompts or other responses', async () => {
    await expect(rewards(rewarding(), { b: rewarding().a })).rejects.toThrow(
      /key "b": the first file has no such prompt/,
    );
    await expect(
      rewards(
        rewarding(),
        rewarding({
          response: [
            [user('Hi'), assistant('x')],
            [user('Hi'), assistant('z')],
          ],
        }),
      ),
    ).rejects.toThrow(/prompt "a", response 1: the two files have different texts \("y" and "z"\)/);
    await expect(
      rewards(rewarding(), rewarding({ response: [[user('Hi'), assistant('x')]], reward: [-1] })),
    ).rejects.toThrow(/prompt "a", response 1: the second file has no reward for it/);
    expect(() =>
      toOfficialRewarding(
        [...scores, { ...scores[0]!, prompt_id: 'else' }],
        completions,
        'current',
      ),
    ).toThrow(/prompt "else" has scores and no completions/);
    expect(() => toOfficialRewarding(scores.slice(1), completions, 'current')).toThrow(
      /prompt "10": sample 0 has no scores/,
    );
    expect(() => toOfficialSampling(completions.slice(1))).toThrow(
      /prompt "10": sample 0 is missing/,
    );
  });
  it('NaN, which Python writes', async () =>
    expect(readOfficial(await file('{\n"a": {"reward": [1, NaN]}\n}'))).rejects.toThrow(
      /x\.json line 2: it holds NaN/,
    ));
  it('rows of two kinds', async () =>
    expect(
      readOfficial(await file({ a: [user('Hi')], b: { prompt: [user('Hi')], responses: [] } })),
    ).rejects.toThrow(/key "b": this is not a row of a prompts file/));
  it('a file of another stage as pairs', async () =>
    expect(loadPreferences(await file(rewarding()))).rejects.toThrow(
      /this is a rewarding file of the official code and holds no pairs; give its dpo file/,
    ));
  it('a response that is no text', async () =>
    expect(async () =>
      officialSamples(await read({ a: { prompt: [user('Hi')], responses: ['x', 5] } })),
    ).rejects.toThrow(/key "a": response 1 must be text, but is 5/));

  it.each([
    ['a list', [1]],
    ['an object of texts', { a: 'b' }],
    ['other objects', { a: { b: 1 } }],
    ['{"data": []}', { data: [{ prompt: 'Hi' }] }],
    ['cut', '{"a": ['],
  ])('%s is none of these files', async (_, content) =>
    expect(await readOfficial(await file(content))).toBeNull(),
  );
});
