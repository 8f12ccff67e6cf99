/**
 * Whole runs whose models are adapters on one base: PEFT checkpoints, DPO's references,
 * interruption and resumption.
 */
import { beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PairRecord, ScoreRecord } from '../../src/data/records.js';
import type { StepRecord } from '../../src/run/stages/objective.js';
import { artefacts } from '../support/cli.js';
import { expectMarginAgainstBase } from '../support/margin.js';
import { tinyRun, type Ran } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const SETTINGS = [
  'iterations=2',
  'sft.enabled=true',
  'sft.count=4',
  'sft.batch_size=2',
  'sft.learning_rate=1.0e-2',
  'train.learning_rate=1.0e-2',
  'train.epochs=2',
  'train.save_steps=1',
  'lora.enabled=true',
  'lora.rank=4',
  'lora.alpha=8',
  'lora.dropout=0.2',
  'evaluate.tasks=[builtin]',
  'evaluate.count=2',
  'evaluate.max_new_tokens=4',
];
let whole: Ran;

beforeAll(async () => {
  whole = await tinyRun(SETTINGS);
});

describe('a run with LoRA', () => {
  it('leaves PEFT folders that name their base, and no full weights', () => {
    for (const phase of ['sft', 'iteration-1', 'iteration-2']) {
      const folder = join(whole.directory, phase, 'checkpoint');
      expect(readdirSync(folder)).toEqual(
        expect.arrayContaining([
          'adapter_config.json',
          'adapter_model.safetensors',
          'tokenizer.json',
        ]),
      );
      expect(readdirSync(folder).filter((name) => /^(config|model)/.test(name))).toEqual([]);
      const config = JSON.parse(
        readFileSync(join(folder, 'adapter_config.json'), 'utf8'),
      ) as Record<string, unknown>;
      expect(config).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, lora_dropout: 0.2 });
      expect(existsSync(join(String(config.base_model_name_or_path), 'config.json'))).toBe(true);
    }
    const weights = (phase: string) =>
      readFileSync(join(whole.directory, phase, 'checkpoint/adapter_model.safetensors'));
    expect(weights('sft').equals(weights('iteration-1'))).toBe(false);
    expect(weights('iteration-1').equals(weights('iteration-2'))).toBe(false);
  });

  it('scores with three different models: θ_t, θ_{t−1} and θ_0 over one base', () => {
    const first = whole.records<ScoreRecord>('iteration-1/scores.jsonl');
    const second = whole.records<ScoreRecord>('iteration-2/scores.jsonl');
    expect(
      first.every((s) => s.logp_previous === s.logp_base && s.logp_current !== s.logp_base),
    ).toBe(true);
    expect(
      second.every((s) => new Set([s.logp_current, s.logp_previous, s.logp_base]).size === 3),
    ).toBe(true);
  });

  it('a run that is stopped in training and resumed ends with the same bytes', async () => {
    for (const [stage, iteration] of [
      ['sft', 0],
      ['train', 1],
      ['sample', 2],
      ['train', 2],
    ] as const) {
      const directory = join(temporaryFolder(), 'run');
      const stop = new AbortController();
      await expect(
        tinyRun(SETTINGS, {
          directory,
          signal: stop.signal,
          onEvent: (event) =>
            event.type === 'stage_progress' &&
            event.stage === stage &&
            event.iteration === iteration &&
            stop.abort(),
        }),
      ).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
      await tinyRun(SETTINGS, { directory });
      expect({ stage, iteration, files: artefacts(directory) }).toEqual({
        stage,
        iteration,
        files: artefacts(whole.directory),
      });
    }
  });

  it('can take the base as reference, as the official code does: the adapter off', async () => {
    const ran = await tinyRun([
      ...SETTINGS,
      'iterations=1',
      'train.reference=base',
      'lora.dropout=0',
      'train.batch_size=8',
      'evaluate.tasks=[]',
    ]);
    const pairs = ran.records<PairRecord>('iteration-1/pairs.jsonl');
    const [first] = ran.records<StepRecord>('iteration-1/steps.jsonl');
    expectMarginAgainstBase(pairs, first!);
  });

  it('trains the named modules alone', async () => {
    const ran = await tinyRun(['lora.enabled=true', 'lora.target_modules=[q_proj, v_proj]']);
    const config = JSON.parse(ran.text('iteration-1/checkpoint/adapter_config.json')) as {
      target_modules: string[];
    };
    expect([...config.target_modules].sort()).toEqual(['q_proj', 'v_proj']);
    await expect(tinyRun(['lora.enabled=true', 'lora.target_modules=[w_proj]'])).rejects.toThrow(
      /w_proj/,
    );
  });
});
