/** The disk space that a run needs. */
import { describe, expect, it } from '@jest/globals';
import { tmpdir } from 'node:os';
import { checkDisk, diskBytes } from '../../src/run/disk.js';
import { parseRecipe } from '../../src/run/recipe-file.js';

const recipe = (...settings: string[]) => parseRecipe('{}', 'disk.yaml', settings);

describe('the disk that a run needs', () => {
  it('is its checkpoints and one trainer state', () => {
    // keep 2, the best and the new one: 4 checkpoints of 4 bytes; masters and moments: 12 bytes.
    expect(diskBytes(recipe('iterations=8'), 1000)).toBe(4 * 4000 + 12_000);
    expect(diskBytes(recipe('iterations=8', 'keep=all'), 1000)).toBe(8 * 4000 + 12_000);
    expect(diskBytes(recipe('iterations=1', 'sft.enabled=true'), 1000)).toBe(8000 + 12_000);
    expect(diskBytes(recipe('train.checkpoint_dtype=bfloat16'), 1000)).toBe(2 * 2000 + 12_000);
    expect(diskBytes(recipe('lora.enabled=true'), 1000)).toBe(0);
  });

  it('is refused in a sentence where it is not there', async () => {
    await expect(checkDisk(tmpdir(), recipe(), 1)).resolves.toBeUndefined();
    await expect(checkDisk(tmpdir(), recipe(), 1e15)).rejects.toMatchObject({
      code: 'ERR_DISK',
      message: expect.stringMatching(/^The run needs up to \d+\.\d GB in .* clear some space/),
    });
  });
});
