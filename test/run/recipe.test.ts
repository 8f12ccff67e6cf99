import { describe, expect, it } from '@jest/globals';
import {
  firstDifference,
  parseRecipe,
  recipeDigest,
  recipeText,
} from '../../src/run/recipe-file.js';
import { recipeFields } from '../../src/run/recipe-fields.js';
import { recipeSchema } from '../../src/run/recipe.js';

const refusal = (text: string, overrides: string[] = []): string => {
  try {
    parseRecipe(text, 'recipe.yaml', overrides);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_RECIPE' });
    return (error as Error).message;
  }
  throw new Error('the recipe was accepted');
};

describe('a recipe file', () => {
  it('is completed by the defaults of the schema', () => {
    const recipe = parseRecipe('model: tiny\nsample:\n  samples: 3\n', 'recipe.yaml');
    expect(recipe).toEqual({
      ...recipeSchema.parse({}),
      model: 'tiny',
      sample: { ...recipeSchema.parse({}).sample, samples: 3 },
    });
  });

  it('reads back from its complete text as the same recipe', () => {
    const recipe = parseRecipe(
      'system_prompt: "Be brief: yes"\ntrain:\n  learning_rate: 1e-6\nsample:\n  stop: ' +
        '["\\n\\n", "#"]\n',
      'recipe.yaml',
    );
    const again = parseRecipe(recipeText(recipe), 'again.yaml');
    expect(again).toEqual(recipe);
    expect(recipeDigest(again)).toBe(recipeDigest(recipe));
  });

  it.each<[string, string, string]>([
    [
      'an unknown key',
      'model: a\nsample:\n  topp: 0.9\n',
      "recipe.yaml:3:3 sample.topp: unknown key; did you mean 'top_p'?",
    ],
    [
      'an unknown section',
      'modle: a\n',
      "recipe.yaml:1:1 modle: unknown key; did you mean 'model'?",
    ],
    [
      'a key far from any',
      'rank:\n  zebra: 1\n',
      'recipe.yaml:2:3 rank.zebra: unknown key; known here: consistency, weighting, ' +
        'fixed_consistency, min_margin, min_consistency, require_agreement, consistency_floor',
    ],
    [
      'the wrong type',
      'sample:\n  top_p: high\n',
      "recipe.yaml:2:10 sample.top_p: must be a number, got the text 'high'",
    ],
    [
      'out of range above',
      '\nsample:\n  top_p: 1.5\n',
      'recipe.yaml:3:10 sample.top_p: must be at most 1, got 1.5',
    ],
    [
      'out of range below',
      'train:\n  beta: 0\n',
      'recipe.yaml:2:9 train.beta: must be more than 0, got 0',
    ],
    [
      'a fraction for a count',
      'iterations: 1.5\n',
      'recipe.yaml:1:13 iterations: must be a whole number, got 1.5',
    ],
    [
      'a value not on the list',
      'rank:\n  consistency: pearson\n',
      'recipe.yaml:2:16 rank.consistency: must be one of kendall, spearman, top_order; got ' +
        "the text 'pearson'",
    ],
    [
      'an empty section',
      'train:\n',
      'recipe.yaml:1:7 train: must be a section of `key: value` lines, got nothing',
    ],
    [
      'a section where a value belongs',
      'seed:\n  a: 1\n',
      'recipe.yaml:2:3 seed: must be a number, got a section',
    ],
    [
      'not a number',
      'train:\n  learning_rate: .nan\n',
      'recipe.yaml:2:18 train.learning_rate: must be a number, got NaN',
    ],
    [
      'infinity',
      'train:\n  max_grad_norm: .inf\n',
      'recipe.yaml:2:18 train.max_grad_norm: must be a number, got Infinity',
    ],
    [
      'a list entry of another type',
      'sample:\n  stop: [a, 3]\n',
      'recipe.yaml:2:13 sample.stop.1: must be text, got 3',
    ],
    [
      'a duplicate key',
      'seed: 1\nseed: 2\n',
      'recipe.yaml:2:1 this key stands twice in its section; keep one',
    ],
    [
      'keys that contradict',
      'sample:\n  min_new_tokens: 9\n  max_new_tokens: 8\n',
      'recipe.yaml:2:19 sample.min_new_tokens: must not be larger than max_new_tokens, got 9',
    ],
    [
      'no mapping',
      '- a\n',
      'recipe.yaml:1:1 a recipe is a list of `key: value` lines, this file holds something else',
    ],
    [
      'an empty file',
      '# nothing\n',
      'recipe.yaml: the recipe is empty; write at least one setting, such as `model: ' +
        'smollm2-135m-instruct`',
    ],
    ['a prototype', '__proto__: {a: 1}\n', 'recipe.yaml:1:1 __proto__: unknown key'],
    [
      'a whole number beyond what is counted',
      'seed: 99999999999999999999\n',
      'recipe.yaml:1:7 seed: must be at most 9007199254740991, got 100000000000000000000',
    ],
    [
      'a second document',
      'seed: 1\n---\nseed: 2\n',
      'recipe.yaml:2:1 a second document (`---`) begins here; a recipe is one',
    ],
    [
      'an alias of nothing',
      'model: *base\n',
      'recipe.yaml: the alias *base has no anchor &base before it',
    ],
    ['null for text', 'model: null\n', 'recipe.yaml:1:8 model: must be text, got nothing'],
  ])('refuses %s', (_, text, message) => {
    expect(refusal(text).split('; known here: model')[0]).toBe(message);
  });

  it.each<[string, string, string]>([
    [
      'one judge outside and a measured C',
      'reward: {source: gold}\n',
      'recipe.yaml:1:1 rank.weighting: must be fixed where reward.source is gold and ' +
        'reward.against is none: a single ranking has no consistency (set reward.against to ' +
        'implicit or likelihood to measure one), got nothing',
    ],
    [
      'the same with a threshold',
      'reward: {source: function}\nrank: {weighting: fixed, min_consistency: 0.5}\n',
      'recipe.yaml:2:43 rank.min_consistency: must be 0 where reward.source is function ' +
        'and reward.against is none: a single ranking has no consistency (set reward.against ' +
        'to implicit or likelihood to measure one), got 0.5',
    ],
    [
      'a reward model without a name',
      'reward: {source: model}\nrank: {weighting: fixed}\n',
      'recipe.yaml:1:9 reward.model: must name the reward model where reward.source is ' +
        'model, got nothing',
    ],
    [
      'scores without a file',
      'reward: {source: file}\n',
      'recipe.yaml:1:9 reward.file: must name the file of scores where reward.source is ' +
        'file, got nothing',
    ],
    [
      'one file of scores for two iterations',
      'reward: {source: file, file: s.jsonl}\n',
      'recipe.yaml:1:30 reward.file: must contain {t}, the number of the iteration, where ' +
        "iterations is above 1: each has completions of its own, got the text 's.jsonl'",
    ],
    [
      'a reward model that nobody asks',
      'reward: {model: rm}\n',
      'recipe.yaml:1:17 reward.model: has no effect here: it is used only where reward.source is ' +
        'model; set that, or leave it out',
    ],
    [
      'a label of nothing',
      'reward: {label: 1}\n',
      'recipe.yaml:1:17 reward.label: has no effect here: it is used only where reward.source is ' +
        'model; set that, or leave it out',
    ],
    [
      'a second ranking where there are two already',
      'reward: {source: judge, against: implicit}\n',
      'recipe.yaml:1:34 reward.against: must be none or own_implicit where reward.source is ' +
        "judge: θ_{t−1} judges too, or θ_t has a second reward, got the text 'implicit'",
    ],
    [
      'given pairs twice',
      'pairs: {source: p.jsonl}\n',
      'recipe.yaml:1:1 iterations: must be 1 where pairs.source gives the pairs: they are ' +
        'learnt in one iteration (train.epochs passes over them again), got nothing',
    ],
    [
      'given pairs and a reward',
      'iterations: 1\npairs: {source: p.jsonl}\nreward: {source: likelihood}\n',
      'recipe.yaml:3:18 reward.source: has no effect here: it is used only where pairs.source is ' +
        'not given; set that, or leave it out',
    ],
    [
      'a checkpoint for no SFT',
      'sft: {checkpoint: m1}\n',
      'recipe.yaml:1:19 sft.checkpoint: has no effect here: it is used only where sft.enabled is ' +
        'true; set that, or leave it out',
    ],
    [
      'a weighting of given pairs',
      'iterations: 1\npairs: {source: p.jsonl}\nrank: {weighting: fixed}\n',
      'recipe.yaml:3:19 rank.weighting: has no effect here: it is used only where pairs.source ' +
        'is not given; set that, or leave it out',
    ],
    [
      'a warm-up of no steps',
      'train: {warmup_ratio: 0, warmup_start: first_step}\n',
      'recipe.yaml:1:40 train.warmup_start: has no effect here: it is used only where ' +
        'train.warmup_ratio is not 0; set that, or leave it out',
    ],
    [
      'split masters of weights that are float32 themselves',
      'dtype: float32\ntrain: {master_weights: split}\n',
      'recipe.yaml:2:25 train.master_weights: has no effect here: it is used only where dtype is ' +
        'bfloat16; set that, or leave it out',
    ],
    [
      'a constant that another weighting does not read',
      'rank: {weighting: dyn, fixed_consistency: 0.8}\n',
      'recipe.yaml:1:43 rank.fixed_consistency: has no effect here: it is used only where ' +
        'rank.weighting is fixed; set that, or leave it out',
    ],
    [
      'a mean of what is a mean already',
      'reward: {source: likelihood, length: mean}\n',
      'recipe.yaml:1:38 reward.length: has no effect here: a likelihood is a mean already, and ' +
        'no reward is implicit; leave it out, or set it to controlled, got the text ' +
        "'mean'",
    ],
    [
      'judgements without a judge',
      'reward: {judgements: 8}\n',
      'recipe.yaml:1:22 reward.judgements: has no effect here: it is used only where ' +
        'reward.source is judge or judge_implicit; set that, or leave it out',
    ],
    [
      'settings of a section that is off by default',
      'lora: {rank: 8}\n',
      'recipe.yaml:1:14 lora.rank: has no effect here: it is used only where lora.enabled is ' +
        'true; set that, or leave it out',
    ],
    [
      'columns of generated prompts',
      'prompts: {columns: [prompt=query]}\n',
      'recipe.yaml:1:20 prompts.columns: has no effect here: it is used only where ' +
        'prompts.source is not builtin; set that, or leave it out',
    ],
    [
      'samples beside given pairs',
      'iterations: 1\npairs: {source: p.jsonl}\nsample: {samples: 9}\n',
      'recipe.yaml:3:19 sample.samples: has no effect here: it is used only where pairs.source ' +
        'is not given; set that, or leave it out',
    ],
    [
      'no work at all',
      'iterations: 0\n',
      'recipe.yaml:1:13 iterations: must be at least 1 where sft.enabled is false: there ' +
        'would be nothing to do, got 0',
    ],
  ])('refuses %s, naming the keys', (_, text, message) => expect(refusal(text)).toBe(message));

  it.each([
    'reward: {source: gold, against: likelihood}',
    'reward: {source: gold}\nrank: {weighting: fixed}',
    'reward: {source: file, file: "s-{t}.jsonl"}',
    'iterations: 0\nsft: {enabled: true}',
    'iterations: 1\npairs: {source: p.jsonl}',
    'reward: {source: model, model: rm, label: 1}\nrank: {weighting: fixed}',
    // A section may be switched off where it stands, and a default says nothing.
    'lora: {enabled: false, rank: 8}\nsft: {enabled: false, count: 3}',
    'iterations: 1\npairs: {source: p.jsonl}\nrank: {weighting: avg}',
    'rank: {fixed_consistency: 1}',
  ])('takes %j', (text) => expect(() => parseRecipe(text, 'recipe.yaml')).not.toThrow());

  it('names every mistake, not the first only', () => {
    expect(refusal('seed: -1\nsample:\n  topk: 3\n').split('\n')).toEqual([
      'recipe.yaml:1:7 seed: must be at least 0, got -1',
      "recipe.yaml:3:3 sample.topk: unknown key; did you mean 'top_k'?",
    ]);
  });

  it('says where the YAML breaks', () => {
    expect(refusal('model: [a\nseed: 1\n')).toMatch(/^recipe\.yaml:\d+:\d+ /);
    expect(refusal('a: !!js/function x\n')).toMatch(/^recipe\.yaml:1:4 /);
  });

  it('refuses aliases that expand without end', () => {
    const bomb = [
      'a: &a [x, x, x, x, x, x, x, x, x]',
      ...'bcdefgh'
        .split('')
        .map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[i]}`).join(', ')}]`),
    ].join('\n');
    expect(refusal(bomb)).toBe(
      'recipe.yaml: the aliases (`*name`) expand to too much; write the settings out',
    );
  });

  it('refuses a file too large to be one', () => {
    expect(refusal('#'.repeat(2 << 20))).toMatch(/at most 1 MB/);
  });
});

describe('--set', () => {
  it('overrides the file, the last one winning', () => {
    const recipe = parseRecipe('seed: 1\n', 'recipe.yaml', [
      'seed=2',
      'seed=3',
      'sample.stop=[a, b]',
      'train.learning_rate=1e-5',
      'sft.enabled=true',
    ]);
    expect(recipe).toMatchObject({
      seed: 3,
      sample: { stop: ['a', 'b'] },
      train: { learning_rate: 1e-5 },
      sft: { enabled: true },
    });
  });

  it.each<[string, string]>([
    ['sample.top_p=2', '--set sample.top_p=2 sample.top_p: must be at most 1, got 2'],
    ['sample.topp=0.5', "--set sample.topp=0.5 sample.topp: unknown key; did you mean 'top_p'?"],
    ['seed', '--set seed: write key=value, such as --set sample.top_p=0.9'],
    ['model.x=1', "--set model.x=1 model: is not a section, so it has no key 'x'"],
    ['train=1', '--set train=1 train: must be a section of `key: value` lines, got 1'],
    ['seed=*x', '--set seed=*x: the alias *x has no anchor &x before it'],
    ['seed=', '--set seed= seed: must be a number, got nothing'],
    ['__proto__.seed=1', '--set __proto__.seed=1 __proto__: unknown key'],
  ])('%s is refused by the name of the flag', (flag, message) => {
    expect(refusal('model: a\n', [flag]).split('; known here: model')[0]).toBe(message);
    expect(({} as Record<string, unknown>).seed).toBeUndefined();
  });
});

describe('the schema', () => {
  it('has these keys and defaults', () => {
    expect(
      recipeFields().map(
        (field) => `${field.key} (${field.type}) ${JSON.stringify(field.default)}`,
      ),
    ).toMatchSnapshot();
  });

  it('has keys whose conditions name other keys and values that these can have', () => {
    const fields = recipeFields();
    const keys = new Map(fields.map((field) => [field.key, field]));
    for (const { effects } of fields)
      for (const condition of effects.flat())
        for (const [key, wanted] of Object.entries(condition)) {
          expect(keys.has(key)).toBe(true);
          if (typeof wanted === 'string') continue;
          const values = Array.isArray(wanted) ? wanted : (wanted as { not: unknown[] }).not;
          for (const value of values)
            expect(`${keys.get(key)!.type} builtin`.split(/,? (?:\| )?/)).toContain(String(value));
        }
  });

  it('names the first key in which two recipes differ', () => {
    const a = parseRecipe('seed: 1\n', 'a');
    const b = parseRecipe('seed: 1\ntrain: {beta: 0.2}\nevaluate: {tasks: []}\n', 'b');
    expect(firstDifference(a, b)).toEqual({ key: 'train.beta', a: '0.1', b: '0.2' });
    expect(firstDifference(a, a)).toBeUndefined();
  });
});

it('a recipe that is nested too deeply is one sentence', () => {
  expect(() => parseRecipe(`sample: ${'['.repeat(9e4)}${']'.repeat(9e4)}`, 'deep.yaml')).toThrow(
    /deep\.yaml:1:\d+ the settings are nested too deeply/,
  );
});
