/**
 * A run directory with everything a report reads, made by our own functions; the rewards are made
 * up.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtinPrompts } from '../../src/data/builtin.js';
import { serialize } from '../../src/data/jsonl.js';
import type { CompletionRecord, RewardRecord, ScoreRecord } from '../../src/data/records.js';
import { prefer } from '../../src/preference/prefer.js';
import { generator } from '../preference/generator.js';

export interface FixtureOptions {
  /** Text of every first completion, and of the run's names. */
  hostile?: string;
}

export function writeRun(directory: string, { hostile }: FixtureOptions = {}): void {
  const g = generator(5);
  const write = (file: string, records: object[]) => {
    mkdirSync(join(directory, file, '..'), { recursive: true });
    writeFileSync(join(directory, file), records.map(serialize).join(''));
  };
  const test = builtinPrompts({ seed: 0, split: 'test', count: 40 });
  const answers = (folder: string, right: number) =>
    write(
      `${folder}/answers.jsonl`,
      test.map(({ id, answer }, i) => ({
        prompt_id: id,
        task: hostile ?? 'builtin',
        completion: 'x',
        extracted: null,
        answer,
        correct: i < right,
        tokens: 30,
      })),
    );
  answers('iteration-0', 10);
  answers('sft', 15);
  write('sft/steps.jsonl', [
    { step: 1, loss: 2.5 },
    { step: 2, loss: 2 },
  ]);
  for (const t of [1, 2]) {
    const prompts = builtinPrompts({ seed: t, split: 'train', count: 12 });
    const completions: CompletionRecord[] = [];
    const scores: ScoreRecord[] = [];
    const rewards: RewardRecord[] = [];
    prompts.forEach(({ id, prompt, answer }, p) => {
      for (let sample = 0; sample < 4; sample++) {
        const current = p === 5 ? 1 : g.integer(1000) / 100;
        const previous = g.integer(1000) / 100;
        const completion =
          sample === 0 && hostile !== undefined
            ? hostile
            : `Thinking ${sample}.\nAnswer: ${sample === 1 ? answer : 'none'}`;
        completions.push({
          prompt_id: id,
          sample,
          prompt,
          completion,
          prompt_token_ids: [1],
          token_ids: [2, 3, 4],
          logprob: -3,
          finish_reason: 'eos',
        });
        scores.push({
          prompt_id: id,
          sample,
          tokens: 3,
          logp_current: current - 9,
          logp_previous: previous - 9,
          logp_base: -9,
        });
        rewards.push({ prompt_id: id, sample, reward_current: current, reward_previous: previous });
      }
    });
    const { rankings, pairs } = prefer({ completions, scores, rewards });
    // without answers, as a run writes them
    const asked = prompts.map(({ id, prompt }) => ({ id, prompt }));
    const checks = [
      {
        prompt_id: prompts[0]!.id,
        samples: [0, 1],
        tokens: [3, 3],
        logp_sampled: [-3, -4],
        logp_scored: [-3, -4.000012],
        logp_base: [-9, -9],
        kendall_tau: 1,
      },
    ];
    for (const [name, records] of Object.entries({
      prompts: asked,
      completions,
      scores,
      'sampler-check': checks,
      rankings,
      pairs,
    }))
      write(`iteration-${t}/${name}.jsonl`, records);
    write(
      `iteration-${t}/steps.jsonl`,
      [1, 2, 3].map((step) => ({ step, loss: 0.7 - step / 100, 'rewards/margins': step / 100 })),
    );
    answers(`iteration-${t}`, 15 + 5 * t);
  }
  const time = '2026-01-02T03:04:05.000Z';
  write('events.jsonl', [
    { time, type: 'run_started' },
    { time, type: 'stage_finished', iteration: 0, stage: 'evaluate', seconds: 10, tokens: 500 },
    { time, type: 'stage_finished', iteration: 0, stage: 'sft', seconds: 10, tokens: 900 },
    { time, type: 'stage_finished', iteration: 0, stage: 'evaluate', seconds: 9, tokens: 450 },
    { time, type: 'stage_finished', iteration: 1, stage: 'sample', seconds: 10, tokens: 20_000 },
    { time, type: 'stage_finished', iteration: 1, stage: 'sample', seconds: 10, tokens: 4000 },
  ]);
  writeFileSync(join(directory, 'recipe.yaml'), `model: ${hostile ?? 'tiny'}\niterations: 2\n`);
  writeFileSync(
    join(directory, 'run.json'),
    JSON.stringify({ model: { name: hostile ?? 'tiny' }, versions: { cream: '0.1.0' } }),
  );
  writeFileSync(join(directory, 'summary.json'), '{}');
}
