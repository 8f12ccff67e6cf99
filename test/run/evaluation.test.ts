/** Evaluation within a run, on a tiny model: measured, saved and reported values. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import type {
  AnswerRecord,
  CompletionRecord,
  GoldRecord,
  RankingRecord,
  ScoreRecord,
} from '../../src/data/records.js';
import { isCorrect } from '../../src/evaluate/answer.js';
import { readRun } from '../../src/report/metrics.js';
import { reportHtml } from '../../src/report/page.js';
import { readRecords } from '../../src/run/store.js';
import { tinyRun } from '../support/run.js';
import { temporaryFolder } from '../support/tiny-model.js';

const ROWS = (name: string) =>
  fileURLToPath(new URL(`../golden/lm-eval/${name}.jsonl`, import.meta.url));
const LIKELIHOOD = [
  `evaluate.tasks=[${['arc_easy', 'siqa'].map((name) => `"${name}:${ROWS(name)}"`).join(', ')}]`,
  'evaluate.method=loglikelihood',
  'evaluate.count=8',
];
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

interface Row extends Record<string, unknown> {
  iteration: number;
  stage: string;
}

describe('by log-likelihood', () => {
  it('measures every phase by both rules, in answers, metrics, summary and report', async () => {
    const { directory, records, text, events } = await tinyRun(LIKELIHOOD);
    const before = records<AnswerRecord>('iteration-0/answers.jsonl');
    const after = records<AnswerRecord>('iteration-1/answers.jsonl');
    expect(after.map(({ task, prompt_id }) => [task, prompt_id])).toEqual(
      before.map(({ task, prompt_id }) => [task, prompt_id]),
    );
    expect(after).toHaveLength(16);
    expect(after.some((answer, i) => answer.choice_logps![0] !== before[i]!.choice_logps![0])).toBe(
      true,
    );
    const row = records<Row>('metrics.jsonl').find(({ stage }) => stage === 'iteration')!;
    expect(row).toMatchObject({
      'eval/accuracy': mean(after.map((a) => Number(a.correct))),
      'eval/accuracy_norm': mean(after.map((a) => Number(a.correct_norm))),
      'eval/arc_easy/accuracy': mean(
        after.filter((a) => a.task === 'arc_easy').map((a) => Number(a.correct)),
      ),
      'eval/siqa/accuracy_norm': mean(
        after.filter((a) => a.task === 'siqa').map((a) => Number(a.correct_norm)),
      ),
    });
    expect(row).not.toHaveProperty(['eval/mean_length']); // nothing was generated
    const [, iteration] = readRun(directory).phases;
    expect(iteration).toMatchObject({
      accuracyNorm: { total: 16 },
      comparison: { questions: 16 },
      tasks: [
        { task: 'arc_easy', accuracy: { total: 8 }, comparison: { questions: 8 } },
        { task: 'siqa' },
      ],
    });
    const html = reportHtml(directory);
    for (const shown of [
      '<h2>Tasks</h2>',
      'Per character',
      'Accuracy per character',
      'arc_easy',
      'siqa',
    ])
      expect(html).toContain(shown);
    expect(html).not.toMatch(/NaN|undefined|\[object/);
    const summary = JSON.parse(text('summary.json')) as { iterations: object[] };
    expect(summary.iterations[1]).toMatchObject({
      accuracy_norm: { total: 16 },
      tasks_norm: { siqa: { total: 8 } },
      answer_tokens: null,
    });
    expect(
      events.find((event) => event.type === 'stage_finished' && event.stage === 'evaluate'),
    ).toMatchObject({ note: expect.stringMatching(/^accuracy \d.* %.*, length-normalised \d/) });
  });

  it.each([
    ['gsm8k', 'the task gsm8k has no choices to compare by log-likelihood'],
    ['builtin', 'the task builtin has no choices'],
  ])('refuses %s before anything is fetched or loaded', async (task, message) => {
    await expect(
      tinyRun([`evaluate.tasks=[${task}]`, 'evaluate.method=loglikelihood']),
    ).rejects.toThrow(message);
  });

  it('refuses TruthfulQA’s mc2 by generation', async () => {
    await expect(
      tinyRun(['evaluate.tasks=[truthfulqa_mc2]', 'evaluate.method=generate']),
    ).rejects.toThrow(
      'the task truthfulqa_mc2 has several right choices, which one generated answer cannot ' +
        'name; measure it with `method: loglikelihood`',
    );
  });

  it('refuses a row without a bare question before anything is loaded, naming it', async () => {
    const path = join(temporaryFolder(), 'rows.jsonl');
    writeFileSync(
      path,
      `${JSON.stringify({
        id: 'p',
        prompt: 'Which?',
        choices: [
          { label: 'A', text: 'x' },
          { label: 'B', text: 'y' },
        ],
        answer: 'A',
      })}\n`,
    );
    await expect(
      tinyRun([`evaluate.tasks=["arc:${path}"]`, 'evaluate.method=loglikelihood']),
    ).rejects.toThrow(
      'the question "p" of arc has no column "question" without earlier turns to compare by',
    );
  });
});

describe('an iteration’s numbers', () => {
  it(
    'follow from its artefacts: KL, length, ranking accuracy against the answers that ' +
      'training did not see',
    async () => {
      const { directory, records } = await tinyRun(['iterations=2', 'sample.max_new_tokens=12']);
      const folder = 'iteration-2';
      const completions = records<CompletionRecord>(`${folder}/completions.jsonl`);
      const scores = records<ScoreRecord>(`${folder}/scores.jsonl`);
      const gold = new Map(
        records<GoldRecord>(`${folder}/gold.jsonl`).map((record) => [record.id, record]),
      );
      expect(readFileSync(join(directory, folder, 'prompts.jsonl'), 'utf8')).not.toContain(
        '"answer"',
      );
      const row = records<Row>('metrics.jsonl').find(
        ({ stage, iteration }) => stage === 'iteration' && iteration === 2,
      )!;
      const ratio = scores.map((s) => s.logp_current - s.logp_base);
      const tokens = scores.map((s) => s.tokens);
      expect(row['cream/kl_response']).toBeCloseTo(mean(ratio), 10);
      expect(row['cream/kl_token']).toBeCloseTo(mean(ratio) / mean(tokens), 10);
      expect(row['cream/truncated']).toBe(
        mean(completions.map((c) => Number(c.finish_reason === 'length'))),
      );
      expect(row['cream/sample_accuracy']).toBe(
        mean(completions.map((c) => Number(isCorrect(gold.get(c.prompt_id)!, c.completion)))),
      );
      expect(row['cream/kendall_q50']).toBeGreaterThanOrEqual(row['cream/kendall_q25'] as number);
      const { ranking } = readRun(directory).phases.find(({ label }) => label === 'Iteration 2')!;
      expect(ranking).toMatchObject({
        kl_response: row['cream/kl_response'],
        repeated_4: row['cream/repeated_4'],
        distinct_2: row['cream/distinct_2'],
        consistency: row['cream/consistency'],
      });
      const first = records<Row>('metrics.jsonl').find(({ stage }) => stage === 'iteration')!;
      expect(first['cream/kl_response']).toBe(0); // θ_1 is θ_0 without SFT
    },
  );

  it('of an artefact that was damaged by hand are refused with file, line and column', async () => {
    const { directory, records } = await tinyRun([]);
    const path = join(directory, 'iteration-1/rankings.jsonl');
    const [first, ...others] = records<RankingRecord>('iteration-1/rankings.jsonl');
    writeFileSync(
      path,
      [{ ...first, kendall_tau: 'high' }, ...others].map((row) => JSON.stringify(row)).join('\n'),
    );
    await expect(readRecords(path)).rejects.toThrow(
      'rankings.jsonl:1: column "kendall_tau" must be a number, but is "high"',
    );
    // Written after each stage, before the damage.
    expect(existsSync(join(directory, 'report.html'))).toBe(true);
    expect(reportHtml(directory)).toContain(
      'iteration-1/rankings.jsonl: 1 line could not be read and is left out.',
    );
  });
});
