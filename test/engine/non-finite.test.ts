/** Weights and config.json files with NaN: read where they are read as numbers, else told. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { Model } from '../../src/engine/model.js';
import { tinyModel } from '../support/tiny-model.js';

it("a config.json with Python's NaN under an unread key loads, and is saved as JSON", async () => {
  const folder = tinyModel();
  const path = join(folder, 'config.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('{', '{"an_unread_key": NaN, '));
  const model = await Model.load(folder, { dtype: 'float32' });
  expect(JSON.parse(model.configJson)).toMatchObject({ model_type: 'llama', an_unread_key: null });
  await model.dispose();
});

it('a log-prob that is not finite is an error, for sampling and for scoring', async () => {
  const folder = tinyModel();
  const path = join(folder, 'model.safetensors');
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  bytes.writeFloatLE(NaN, start + header['model.norm.weight']!.data_offsets[0]);
  writeFileSync(path, bytes);
  const model = await Model.load(folder, { dtype: 'float32' });
  const groups = [{ prompt: [1, 2], completions: [[3, 4]] }];
  await expect(model.score({ groups })).rejects.toMatchObject({
    code: 'ERR_NON_FINITE',
    message: expect.stringContaining('a log-prob is not finite'),
  });
  await expect(
    model.generate({ prompts: [{ tokens: [1] }], maxNewTokens: 2, stopIds: [] }).all(),
  ).rejects.toThrow('no token has a finite logit');
  await model.dispose();
});
