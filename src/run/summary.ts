/** What a run came to, made of its artefacts alone: the rows of the final table (summary.json) and of metrics.jsonl. No times. */
import { existsSync } from 'node:fs';
import type { AnswerRecord, CompletionRecord, PairRecord, RankingRecord } from '../data/records.js';
import { accuracyOf, type Accuracy } from '../evaluate/intervals.js';
import type { RunContext } from './context.js';
import { policyCounts } from './policies.js';
import type { StepRecord } from './stages/optimise.js';
import { readRecords, type Phase } from './store.js';

/** One row: the base model (phase 0), SFT, or an iteration and the model it made. */
export interface IterationSummary {
  phase: Phase;
  /** Over all questions; null where nothing was measured. */
  accuracy: Accuracy | null;
  tasks: Record<string, Accuracy>;
  /** Mean tokens of an answer in evaluation; null where nothing was measured. */
  answer_tokens: number | null;
  iteration: null | {
    prompts: number;
    pairs: number;
    /** Means of C and its alternatives over the kept prompts. */
    consistency: number;
    kendall_tau: number;
    spearman: number;
    top_order: number;
    /** Mean tokens of a sampled response. */
    mean_length: number;
    /** Self-reward of chosen over rejected, nats a pair, before training. */
    pair_margin: number;
    /** β·(log π − log π_ref) of chosen over rejected: first step, and mean of the last quarter of the steps. */
    reward_margin_first: number;
    reward_margin: number;
    reward_accuracy: number;
  };
}

/** Rows of what is finished so far, in order. */
export async function summarise(run: RunContext): Promise<IterationSummary[]> {
  const rows: IterationSummary[] = [];
  for (const phase of phases(run)) {
    const row = await summaryOf(run, phase);
    if (row) rows.push(row);
  }
  return rows;
}

/** The row of one phase; undefined where nothing of it is finished. */
export async function summaryOf(run: RunContext, phase: Phase): Promise<IterationSummary | undefined> {
  const answers = await recordsOf<AnswerRecord>(run, phase, 'answers.jsonl');
  const steps = await recordsOf<StepRecord>(run, phase, 'steps.jsonl');
  if (!answers && !steps) return undefined;
  const tasks = [...new Set(answers?.map((a) => a.task))];
  return {
    phase,
    accuracy: answers && answers.length > 0 ? accuracyOf(answers) : null,
    tasks: Object.fromEntries(tasks.map((task) => [task, accuracyOf(answers!.filter((a) => a.task === task))])),
    answer_tokens: answers && answers.length > 0 ? mean(answers.map((a) => a.tokens)) : null,
    iteration: typeof phase === 'number' && phase > 0 && steps ? await iterationPart(run, phase, steps) : null,
  };
}

async function iterationPart(run: RunContext, phase: Phase, steps: StepRecord[]): Promise<IterationSummary['iteration']> {
  const rankings = (await recordsOf<RankingRecord>(run, phase, 'rankings.jsonl')) ?? [];
  const pairs = (await recordsOf<PairRecord>(run, phase, 'pairs.jsonl')) ?? [];
  const completions = (await recordsOf<CompletionRecord>(run, phase, 'completions.jsonl')) ?? [];
  const kept = rankings.filter((r) => r.skipped === undefined);
  const last = steps.slice(-Math.max(1, Math.round(steps.length / 4)));
  return {
    prompts: rankings.length,
    pairs: pairs.length,
    consistency: mean(kept.map((r) => r.consistency)),
    kendall_tau: mean(kept.map((r) => r.kendall_tau)),
    spearman: mean(kept.map((r) => r.spearman)),
    top_order: mean(kept.map((r) => r.top_order)),
    mean_length: mean(completions.map((c) => c.token_ids.length)),
    pair_margin: mean(pairs.map((p) => p.reward_chosen - p.reward_rejected)),
    reward_margin_first: steps[0]?.['rewards/margins'] ?? 0,
    reward_margin: mean(last.map((s) => s['rewards/margins'] ?? 0)),
    reward_accuracy: mean(last.map((s) => s['rewards/accuracies'] ?? 0)),
  };
}

/** One row an optimizer step and one a finished phase; TRL's names where TRL has one, ours under `cream/` and `eval/`. */
export async function metricRows(run: RunContext): Promise<object[]> {
  const rows: object[] = [];
  let globalStep = 0;
  for (const phase of phases(run)) {
    const stage = phase === 'sft' ? 'sft' : 'train';
    for (const { step, ...metrics } of (await recordsOf<StepRecord>(run, phase, 'steps.jsonl')) ?? []) {
      rows.push({ iteration: phase === 'sft' ? 0 : phase, stage, step: ++globalStep, stage_step: step, ...metrics });
    }
    const summary = await summaryOf(run, phase);
    if (summary) rows.push({ ...phaseRow(summary, globalStep), ...(await policyCounts(run, phase)) });
  }
  return rows;
}

function phaseRow({ phase, accuracy, tasks, answer_tokens, iteration }: IterationSummary, step: number): object {
  return {
    iteration: phase === 'sft' ? 0 : phase,
    stage: phase === 'sft' ? 'sft' : phase === 0 ? 'base' : 'iteration',
    step,
    ...(iteration && {
      'cream/consistency': iteration.consistency,
      'cream/kendall': iteration.kendall_tau,
      'cream/spearman': iteration.spearman,
      'cream/top_order': iteration.top_order,
      'cream/prompts': iteration.prompts,
      'cream/pairs_kept': iteration.pairs,
      'cream/pair_margin': iteration.pair_margin,
      'cream/completion_length': iteration.mean_length,
    }),
    ...(accuracy && { 'eval/accuracy': accuracy.accuracy, 'eval/accuracy_low': accuracy.low, 'eval/accuracy_high': accuracy.high, 'eval/mean_length': answer_tokens }),
    ...Object.fromEntries(Object.entries(tasks).map(([task, a]) => [`eval/${task}/accuracy`, a.accuracy])),
  };
}

function phases(run: RunContext): Phase[] {
  return [0, ...(run.recipe.sft.enabled ? (['sft'] as const) : []), ...Array.from({ length: run.recipe.iterations }, (_, i) => i + 1)];
}

async function recordsOf<T extends object>(run: RunContext, phase: Phase, name: string): Promise<T[] | undefined> {
  const path = run.file(phase, name);
  return existsSync(path) ? readRecords<T>(path) : undefined;
}

const mean = (values: readonly number[]): number => (values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length);
