/** `sft.checkpoint` takes the place of fine-tuning, whose settings then have no effect. */
import { describe, expect, it } from '@jest/globals';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { recipeSchema } from '../../src/run/recipe.js';

describe('sft.checkpoint in a file', () => {
  it.each([
    ['epochs: 2', '1:46 sft.epochs: has no effect here: it is used only where sft.checkpoint is'],
    ['source: d.jsonl', '1:46 sft.source: has no effect here'],
    [
      'warmup_start: first_step',
      '1:52 sft.warmup_start: has no effect here: it is used only where sft.checkpoint is not ' +
        'given and sft.warmup_ratio is not 0; set that, or leave it out',
    ],
  ])('refuses %s beside it', (setting, message) =>
    expect(() =>
      parseRecipe(`sft: {enabled: true, checkpoint: m1, ${setting}}\n`, 'recipe.yaml'),
    ).toThrow(`recipe.yaml:${message}`),
  );
});

describe('--set sft.checkpoint', () => {
  const file = 'sft: {enabled: true, epochs: 2, source: d.jsonl, columns: [prompt=q]}\n';
  it("takes the place of the file's fine-tuning", () => {
    const { sft } = parseRecipe(file, 'recipe.yaml', ['sft.checkpoint=m1']);
    expect(sft).toEqual({ ...recipeSchema.parse({}).sft, enabled: true, checkpoint: 'm1' });
  });
  it('is an error beside another flag of fine-tuning', () => {
    const flags = ['sft.checkpoint=m1', 'sft.epochs=3'];
    expect(() => parseRecipe(file, 'recipe.yaml', flags)).toThrow(
      '--set sft.epochs=3 sft.epochs: has no effect here',
    );
  });
});
