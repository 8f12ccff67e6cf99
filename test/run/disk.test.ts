/** The disk space that a run needs. */
import { describe, expect, it } from '@jest/globals';
import { tmpdir } from 'node:os';
import { adapterParameters, checkDisk, diskBytes } from '../../src/run/disk.js';
import { parseRecipe } from '../../src/run/recipe-file.js';

/** 1000 parameters in all; a layer's matrices are 32 × 32 but for k and v, 32 × 16, and the MLP. */
const shape = {
  parameters: 1000,
  numLayers: 2,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 8,
  hiddenSize: 32,
  intermediateSize: 48,
};
const recipe = (...settings: string[]) => parseRecipe('{}', 'disk.yaml', settings);

describe('the disk that a run needs', () => {
  it('is its checkpoints and one trainer state', () => {
    // keep 2, the best and the new one: 4 checkpoints of 4 bytes; masters and moments: 12 bytes.
    expect(diskBytes(recipe('iterations=8'), shape)).toBe(4 * 4000 + 12_000);
    expect(diskBytes(recipe('iterations=8', 'keep=all'), shape)).toBe(8 * 4000 + 12_000);
    expect(diskBytes(recipe('iterations=1', 'sft.enabled=true'), shape)).toBe(8000 + 12_000);
    expect(diskBytes(recipe('train.checkpoint_dtype=bfloat16'), shape)).toBe(2 * 2000 + 12_000);
  });

  it('of adapters is that of their matrices', () => {
    const rows = 64 + 2 * 48 + 64 + 3 * 80; // q, k and v, o, the MLP's three: inputs + outputs
    const adapters = 4 * 2 * rows;
    const lora = ['lora.enabled=true', 'lora.rank=4', 'iterations=1'];
    expect(adapterParameters(shape, recipe(...lora).lora)).toBe(adapters);
    expect(diskBytes(recipe(...lora), shape)).toBe(4 * adapters + 12 * adapters);
    expect(
      adapterParameters(shape, {
        rank: 4,
        target_modules: ['q_proj', 'model.layers.0.mlp.up_proj'],
      }),
    ).toBe(4 * 2 * (64 + 80));
  });

  it('is refused in a sentence where it is not there', async () => {
    await expect(checkDisk(tmpdir(), recipe(), shape)).resolves.toBeUndefined();
    await expect(
      checkDisk(tmpdir(), recipe(), { ...shape, parameters: 1e15 }),
    ).rejects.toMatchObject({
      code: 'ERR_DISK',
      message: expect.stringMatching(/^The run needs up to \d+\.\d GB in .* clear some space/),
    });
  });
});
