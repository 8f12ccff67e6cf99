/** What a rank compares of its start with rank 0's. */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { modelDigest, resolveModel } from '../../src/models/resolve.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import type { Recipe } from '../../src/run/recipe.js';
import { agreedBase, startOf } from '../../src/run/same-start.js';
import { inputDigests } from '../../src/run/sources.js';
import type { Start } from '../../src/run/team.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const { signal } = new AbortController();
const work = temporaryFolder('cream-same-start-');
const directory = join(work, 'run');
const model = join(work, 'model');
const judge = join(work, 'judge');
const recipeOf = (...settings: string[]): Recipe =>
  parseRecipe(
    `model: ${model}\nreward: {source: model, model: ${judge}}\nrank: {weighting: fixed}`,
    'recipe.yaml',
    settings,
  );

let start: Start;
const agreed = (own = {}, theirs: Partial<Start> = {}): Promise<string> =>
  agreedBase(
    { ...start, ...theirs },
    { recipe: recipeOf(), directory, ...own },
    {
      signal,
      lateMs: 0,
    },
  );

beforeAll(async () => {
  cpSync(tinyModel({ tokenizer: true }), model, { recursive: true });
  cpSync(tinyModel({ tokenizer: true, labels: 1 }), judge, { recursive: true });
  mkdirSync(directory);
  writeFileSync(join(directory, 'lock'), '{"pid":1,"host":"first"}');
  const digest = await modelDigest(await resolveModel(model, { signal }), signal);
  start = startOf(recipeOf(), directory, digest, await inputDigests(recipeOf(), signal));
});

describe('the start of a rank', () => {
  it('agrees with an equal one, also through a link to the run directory', async () => {
    expect(await agreed()).toBe(model);
    const link = join(work, 'link');
    symlinkSync(directory, link);
    expect(await agreed({ directory: link })).toBe(model);
  });

  it('sees a lock that its storage shows late', async () => {
    const late = join(work, 'late');
    mkdirSync(late);
    const own = { recipe: recipeOf(), directory: late };
    const seen = agreedBase({ ...start, directory: late }, own, { signal });
    writeFileSync(join(late, 'lock'), start.lock);
    expect(await seen).toBe(model);
  });

  it.each<[string, () => [own: object, theirs: Partial<Start>]]>([
    [
      'was started with seed = 3 and rank 0 with 42: start all ranks with the same recipe.',
      () => [{ recipe: recipeOf('seed=3') }, {}],
    ],
    [
      'runs cream [^ ]+ and rank 0 0.0.1: install the same versions on all machines.',
      () => [{}, { versions: { ...start.versions, cream: '0.0.1' } }],
    ],
    [
      'runs torch [^ ]+ and rank 0 1.0.0: install the same versions on all machines.',
      () => [{}, { versions: { ...start.versions, torch: '1.0.0' } }],
    ],
    [
      'has kernels for .* and rank 0 for none, which round differently: use machines of one ' +
        'kind, or set CREAM_CPU_LEVEL to the lower level on all.',
      () => [{}, { versions: { ...start.versions, kernels: 'none' } }],
    ],
    [
      'was started with the run directory .*/other and rank 0 with .*/run: give all ranks the ' +
        'same one, and start them in the same folder if it is relative.',
      () => [{ directory: join(work, 'other') }, {}],
    ],
    [
      "does not see rank 0's .*/run: the run directory must lie on storage that all machines " +
        'share, under the same path.',
      () => [{}, { lock: '{"pid":1,"host":"second"}' }],
    ],
    [
      'has other weights of .*/model than rank 0: give all machines the same.',
      () => [{}, { model: 'sha256:0' }],
    ],
    [
      'has other weights of .*/judge than rank 0: give all machines the same.',
      () => [{}, { rewardModel: 'sha256:0' }],
    ],
  ])('is refused where it %s', async (sentence, differ) => {
    await expect(agreed(...differ())).rejects.toMatchObject({
      code: 'ERR_RUN_MISMATCH',
      message: expect.stringMatching(new RegExp(`^This rank ${sentence}$`)),
    });
  });
});
