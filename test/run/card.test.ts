/** The model card in each checkpoint. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { cardText, isOurs } from '../../src/run/card.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { cream } from '../support/cli.js';
import { tinyRun } from '../support/run.js';

const SETTINGS = [
  'iterations=2',
  'prompts.split=resample',
  'sft.enabled=true',
  'sft.count=4',
  'evaluate.tasks=[builtin]',
  'evaluate.count=4',
  'evaluate.max_new_tokens=4',
];
const read = (directory: string, phase: string): string =>
  readFileSync(join(directory, phase, 'checkpoint/README.md'), 'utf8');

describe('a model card', () => {
  it('has what the hub reads, the results, the command and the whole recipe', () => {
    const recipe = parseRecipe(
      'prompts: {source: "hub:openai/gsm8k/main:train"}\nlora: {enabled: true}',
      'r.yaml',
    );
    const accuracy = { correct: 1, total: 4, accuracy: 0.25, low: 0.1, high: 0.7 };
    const text = cardText({
      title: 'A model',
      recipe,
      method: 'A method.',
      command: 'npx cream run recipe.yaml',
      training: [['pairs', '12']],
      tasks: { gsm8k: accuracy },
    });
    const [, front, body] = /^---\n([^]*?)\n---\n([^]*)$/.exec(text)!;
    expect(parse(front!)).toEqual({
      base_model: 'HuggingFaceTB/SmolLM2-135M-Instruct',
      base_model_relation: 'adapter',
      library_name: 'peft',
      pipeline_tag: 'text-generation',
      tags: ['cream-lm', 'dpo', 'self-rewarding'],
      datasets: ['openai/gsm8k'],
      'model-index': [
        {
          name: 'A model',
          results: [
            {
              task: { type: 'text-generation' },
              dataset: { name: 'gsm8k', type: 'gsm8k' },
              metrics: [{ type: 'accuracy', value: 0.25 }],
            },
          ],
        },
      ],
    });
    expect(body).toContain('| gsm8k | 25.0 % | 10.0 % to 70.0 % | 4 |');
    expect(body).toContain('| pairs | 12 |');
    const [, yaml] = /```yaml\n([^]*?)```/.exec(body!)!;
    expect(parseRecipe(yaml!, 'card')).toEqual(recipe);
  });

  it('is in every checkpoint of a run, and an edited one stays as it is', async () => {
    const { directory } = await tinyRun(SETTINGS);
    expect(read(directory, 'sft')).toContain('Supervised fine-tuning on demonstrations.');
    const card = read(directory, 'iteration-2');
    expect(isOurs(card)).toBe(true);
    expect(card).toContain('Iteration 2 of self-rewarding training');
    expect(card).toContain('trained with DPO on the best against the worst.');
    expect(card).toContain('w is the mean agreement C of two rankings.');
    expect(card).toMatch(/\| consistency C \| \d\.\d{3} \|/);
    expect(card).toContain('| builtin | 0.0 % |');
    expect(card).not.toContain(directory);

    const edited = card.replace('# ', '# My ');
    expect(isOurs(edited)).toBe(false);
    writeFileSync(join(directory, 'iteration-2/checkpoint/README.md'), edited);
    expect(await cream('verify', directory)).toMatchObject({ code: 0 });
    await tinyRun(SETTINGS.with(0, 'iterations=3'), { directory });
    expect(read(directory, 'iteration-2')).toBe(edited);
    expect(read(directory, 'sft')).toContain('iterations: 3');
    expect(existsSync(join(directory, 'iteration-3/checkpoint/README.md'))).toBe(true);
  });

  it('names the loss and the weight of the pairs', async () => {
    const { directory } = await tinyRun([
      'rank.weighting=fixed',
      'rank.fixed_consistency=0.8',
      'train.loss=ipo',
    ]);
    const card = read(directory, 'iteration-1');
    expect(card).toContain('trained with IPO on the best against the worst.');
    expect(card).toContain('that of the reversed pair, where w is 0.8.');
  });

  it('of a run that starts from a checkpoint is its own', async () => {
    const first = await tinyRun(SETTINGS.with(0, 'iterations=1'));
    const { directory } = await tinyRun([
      'sft.enabled=true',
      `sft.checkpoint=${join(first.directory, 'sft/checkpoint')}`,
    ]);
    expect(read(directory, 'sft')).toContain('An existing checkpoint that the run started from.');
    expect(await cream('verify', directory)).toMatchObject({ code: 0 });
  });
});
