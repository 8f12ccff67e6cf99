/** `cream run --dry-run`, and results of the other commands as JSON. */
import { describe, expect, it } from '@jest/globals';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { dryRun, type DryRun } from '../../src/run/dry-run.js';
import { artefacts, cream } from '../support/cli.js';
import { TINY, tinyRun } from '../support/run.js';
import { temporaryFolder, tinyModel } from '../support/tiny-model.js';

const SFT = ['sft.enabled=true', 'sft.count=4', 'sft.batch_size=3', 'sft.epochs=2'];
const EVALUATE = ['evaluate.tasks=[builtin]', 'evaluate.count=4', 'evaluate.max_new_tokens=4'];
const WITHOUT_C = ['rank.weighting=fixed'];
const REWARD_MODEL = [...WITHOUT_C, 'reward.source=model', 'reward.model=./nope'];
const planned = (settings: string[], directory: string): Promise<DryRun> =>
  dryRun(parseRecipe(TINY, 'tiny.yaml', settings), directory);
const shown = ({ stages }: DryRun) =>
  stages.map(({ phase, stage, count, unit, steps, state }) =>
    [phase, stage, count, unit, ...(steps === undefined ? [] : [`${steps} steps`]), state].join(
      ' ',
    ),
  );

describe('cream run --dry-run', () => {
  it('lists the stages with their counts, as the run then has them', async () => {
    const directory = join(temporaryFolder(), 'run');
    const settings = [...SFT, ...EVALUATE, 'train.epochs=2'];
    const before = await planned(settings, directory);
    expect(before.state).toBe('new');
    expect(shown(before)).toEqual([
      '0 evaluate 4 questions to do',
      'sft sft 4 demonstrations 4 steps to do',
      'sft evaluate 4 questions to do',
      '1 sample 12 completions to do',
      '1 score 12 completions to do',
      '1 rank 4 prompts to do',
      '1 train 4 pairs 4 steps to do',
      '1 evaluate 4 questions to do',
    ]);
    expect(existsSync(directory)).toBe(false);

    const stop = new AbortController();
    await tinyRun(settings, {
      directory,
      signal: stop.signal,
      onEvent: (event) =>
        void (event.type === 'stage_finished' && event.stage === 'sample' && stop.abort()),
    }).catch(() => {});
    const files = artefacts(directory);
    const half = await planned(settings, directory);
    expect(half.state).toBe('begun');
    expect(shown(half).filter((line) => line.endsWith('finished'))).toHaveLength(4);
    expect(artefacts(directory)).toEqual(files);
    await expect(planned([...settings, 'train.beta=0.7'], directory)).rejects.toMatchObject({
      code: 'ERR_RUN_MISMATCH',
    });

    const { records } = await tinyRun(settings, { directory });
    const after = await planned(settings, directory);
    expect(after.state).toBe('finished');
    expect(after.stages.every(({ state }) => state === 'finished')).toBe(true);
    const counts = Object.fromEntries(after.stages.map((s) => [`${s.phase} ${s.stage}`, s]));
    expect(records('sft/steps.jsonl')).toHaveLength(counts['sft sft']!.steps!);
    expect(records('iteration-1/completions.jsonl')).toHaveLength(counts['1 sample']!.count);
    expect(records('iteration-1/pairs.jsonl').length).toBeLessThanOrEqual(counts['1 train']!.count);
  });

  it('lists the other models of temporal self-rewarding', async () => {
    const settings = [
      'rank.weighting=fixed',
      'sft.enabled=true',
      'sft.count=4',
      'temporal.anchored_rejection=true',
      'temporal.future_chosen=true',
    ];
    const { stages } = await planned(settings, join(temporaryFolder(), 'run'));
    const told = stages.map(({ part, stage, count }) => `${part ?? ''} ${stage} ${count}`.trim());
    expect(told).toEqual([
      'sft 4',
      'sample 12',
      'score 12',
      'initial sample 12',
      'initial score 12',
      'future rank 4',
      'future train 4',
      'future sample 12',
      'future score 12',
      'rank 4',
      'train 4',
    ]);
  });

  it.each<[string, string[], RegExp]>([
    ['a model', ['model=./nope'], /No model at .*nope/],
    ['a reward model', REWARD_MODEL, /No model at .*nope/],
    [
      'a checkpoint',
      ['sft.enabled=true', 'sft.checkpoint=none/x'],
      /^sft\.checkpoint: none\/x is not a model folder/,
    ],
    ...(engineInfo().cuda.built
      ? []
      : [['a device', ['device=cuda'], /^device 'cuda': .*has no CUDA kernels/] as never]),
    ['a reward function', [...WITHOUT_C, 'reward.source=function'], /is for Node programs/],
  ])('refuses %s that is not there', async (_, settings, message) => {
    await expect(planned(settings, join(temporaryFolder(), 'run'))).rejects.toThrow(message);
  });

  it('prints a table or JSON, writes nothing, and finds what the run would refuse', async () => {
    const folder = temporaryFolder();
    const recipe = join(folder, 'tiny.yaml');
    writeFileSync(recipe, TINY);
    const out = join(folder, 'out');
    const table = await cream('run', recipe, '--out', out, '--dry-run');
    expect(table.stdout).toMatch(/iteration 1 +sample +12 completions +to do\n/);
    expect(table.stdout).toContain('Nothing was run or written.');
    const json = await cream('run', recipe, '--out', out, '--dry-run', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ directory: out, state: 'new' });
    const few = await cream('run', recipe, '--dry-run', '--set', 'prompts.source=gone.jsonl');
    expect(few).toMatchObject({ code: 1, stderr: expect.stringContaining('gone.jsonl') });
    expect(readdirSync(folder)).toEqual(['tiny.yaml']);
  });
});

describe('--json', () => {
  it('is the whole output of generate, score, train, merge, init and convert', async () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    const model = tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024 });
    const json = async (...args: string[]): Promise<unknown> => {
      const { code, stdout, stderr } = await cream(...args, '--json');
      expect({ args, code, stderr: code === 0 ? '' : stderr }).toEqual({
        args,
        code: 0,
        stderr: '',
      });
      return JSON.parse(stdout);
    };
    const completions = at('completions.jsonl');
    const sampling = ['--model', model, '--count', '2', '--samples', '3', '--max-new-tokens', '8'];
    expect(await json('generate', ...sampling, '-o', completions)).toEqual({
      file: completions,
      rows: 6,
    });
    const models = ['--model', model, '--base', model];
    expect(
      await json('score', '--completions', completions, ...models, '-o', at('scores.jsonl')),
    ).toEqual({ file: at('scores.jsonl'), rows: 6 });
    const pair = { prompt: 'a', chosen: 'b', rejected: 'c' };
    writeFileSync(at('pairs.jsonl'), `${JSON.stringify(pair)}\n`);
    const lora = ['--lora-enabled', 'true', '--lora-rank', '2'];
    const trained = ['train', '--pairs', at('pairs.jsonl'), '--model', model, '-o', at('adapter')];
    expect(await json(...trained, ...lora)).toMatchObject({
      directory: at('adapter'),
      last_step: { step: 1, 'rewards/margins': expect.any(Number) },
    });
    expect(readFileSync(at('adapter/README.md'), 'utf8')).toContain('npx cream train --pairs ');
    // The adapter's folder names its base model.
    const merge = ['merge', '--adapter', at('adapter'), '-o', at('merged')];
    expect(await json(...merge)).toEqual({ directory: at('merged'), dtype: 'bfloat16' });
    expect(await json('init', 'cream', '-o', at('r.yaml'))).toEqual({
      file: at('r.yaml'),
      recipe: 'cream',
    });
    expect(await json('convert', at('pairs.jsonl'), at('trl.jsonl'), '--to', 'trl')).toEqual({
      file: at('trl.jsonl'),
      rows: 1,
    });
  });
});
