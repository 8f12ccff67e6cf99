/**
 * The device of a model. test/cuda tests what a GPU computes; this file tests that asking for a
 * missing GPU fails with one clear sentence.
 */
import { describe, expect, it } from '@jest/globals';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import { Model } from '../../src/engine/model.js';
import { loadModel } from '../../src/lm/language-model.js';
import { cream } from '../support/cli.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const folder = tinyModel({ tokenizer: true, maxPositionEmbeddings: 256 });
const { built, gpus, problem } = engineInfo().cuda;
const without = gpus.length > 0 ? describe.skip : describe;
const refused = (device: string) =>
  `device '${device}': ${problem}; use device ` +
  `'cpu'${built ? ' on this machine' : ', or build it with CUDA (docs/cuda.md)'}.`;

describe('device', () => {
  it('is the CPU if none is named, and the model reports it', async () => {
    const model = await Model.load(folder);
    const again = model.snapshot();
    expect([model.device, again.device]).toEqual(['cpu', 'cpu']);
    await Promise.all([model.dispose(), again.dispose()]);
  });

  it.each(['gpu', 'cuda:', 'cuda:x', 'CPU', 'cuda:0 '])('%j is no device', async (device) => {
    await expect(Model.load(folder, { device })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: `device '${device}' is none of 'cpu', 'cuda' and 'cuda:N'.`,
    });
  });

  it('is a key of the recipe', async () => {
    expect(
      await cream(
        'generate',
        '--model',
        folder,
        '--device',
        'gpu',
        '--out',
        join(temporaryFolder(), 'x.jsonl'),
      ),
    ).toMatchObject({
      code: 2,
      stderr:
        'cream: --device gpu device: must be cpu, cuda or cuda:N such as cuda:1, got the ' +
        "text 'gpu'\n",
    });
  });
});

without('device on a machine without a GPU', () => {
  it.each(['cuda', 'cuda:1'])(
    '%s: one sentence says why, before the model is read',
    async (device) => {
      const error = { name: 'CreamError', code: 'ERR_UNSUPPORTED', message: refused(device) };
      await expect(Model.load(folder, { device })).rejects.toMatchObject(error);
      await expect(Model.load(`${folder}-missing`, { device })).rejects.toMatchObject(error);
      await expect(loadModel('smollm2-135m-instruct', { device })).rejects.toMatchObject(error);
    },
  );

  it('the commands say the same', async () => {
    const out = join(temporaryFolder(), 'completions.jsonl');
    expect(
      await cream('generate', '--model', folder, '--device', 'cuda', '--count', '1', '--out', out),
    ).toMatchObject({ code: 1, stderr: `cream: ${refused('cuda')}\n` });
    expect(
      await cream(
        'run',
        'recipes/quickstart.yaml',
        '--out',
        join(temporaryFolder(), 'run'),
        '--set',
        `model=${folder}`,
        '--set',
        'device=cuda:1',
      ),
    ).toMatchObject({ code: 1, stderr: expect.stringContaining(`cream: ${refused('cuda:1')}\n`) });
  });
});
