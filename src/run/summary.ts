/**
 * Summaries of a run: the rows of summary.json, and the rows of metrics.jsonl about a finished
 * phase. They are computed from the artefacts alone and contain no times.
 */
import { existsSync } from 'node:fs';
import type {
  AnswerRecord,
  CompletionRecord,
  GoldRecord,
  NoiseRecord,
  PairRecord,
  RankingRecord,
  SamplerCheckRecord,
  ScoreRecord,
} from '../data/records.js';
import { accuracyOf, byTask, normalised, type Accuracy } from '../evaluate/intervals.js';
import {
  mean,
  measureCompletion,
  measureIteration,
  measurePair,
  type IterationMetrics,
} from '../evaluate/iteration.js';
import type { RunContext } from './context.js';
import { untilAborted } from './errors.js';
import type { RunOptions } from './options.js';
import { caseCounts } from './case-counts.js';
import type { StepRecord } from './stages/objective.js';
import type { Phase } from './store.js';

/** One row: the base model (phase 0), SFT, or an iteration with the model that it trained. */
export interface IterationSummary {
  /** 0 for the base model, `sft`, or the number of the iteration. */
  phase: Phase;
  /** Over all questions; null if there are none. */
  accuracy: Accuracy | null;
  /** Accuracy of the length-normalised choice; null unless log-likelihood was measured. */
  accuracy_norm: Accuracy | null;
  /** Accuracy by task. */
  tasks: Record<string, Accuracy>;
  /** `accuracy_norm` by task. */
  tasks_norm: Record<string, Accuracy>;
  /** Mean tokens per answer in evaluation; null if nothing was generated. */
  answer_tokens: number | null;
  /** Metrics of the iteration (docs/evaluation.md); null for the base model and SFT. */
  iteration: IterationMetrics | null;
}

/** Whether `until`, which may never settle, ends the run after an iteration. */
export async function endsAfter(
  iteration: IterationSummary,
  until: RunOptions['until'],
  signal: AbortSignal,
): Promise<boolean> {
  if (until === undefined) return false;
  return untilAborted((async () => until(iteration))(), signal);
}

/**
 * The summaries of a run's phases, each computed once, when the run has finished the phase. The
 * same artefacts give the same bytes, independent of interruptions.
 */
export class Summaries {
  private readonly rows: IterationSummary[] = [];

  constructor(private readonly run: RunContext) {}

  /**
   * Adds `phase`, whose stages are all finished, here and to metrics.jsonl. Returns its row;
   * undefined if it has neither answers nor steps.
   */
  async add(phase: Phase): Promise<IterationSummary | undefined> {
    const steps = await this.run.stepsOf(phase);
    this.run.metrics.steps(phase, steps);
    const summary = await summaryOf(this.run, phase, steps);
    if (!summary) return undefined;
    this.rows.push(summary);
    const counts = await caseCounts(this.run, phase);
    this.run.metrics.finish(phase, { ...phaseColumns(summary), ...counts });
    this.run.emit({ type: 'iteration_finished', summary });
    return summary;
  }

  /** Rows of the finished phases, in order. */
  finished(): readonly IterationSummary[] {
    return this.rows;
  }
}

/** The row of one phase; undefined if it has neither answers nor steps. */
async function summaryOf(
  run: RunContext,
  phase: Phase,
  steps: readonly StepRecord[],
): Promise<IterationSummary | undefined> {
  const answers = await recordsOf<AnswerRecord>(run, phase, 'answers.jsonl');
  if (answers.length === 0 && steps.length === 0) return undefined;
  const tasks = byTask(answers);
  const norm = normalised(answers);
  return {
    phase,
    accuracy: answers.length > 0 ? accuracyOf(answers) : null,
    accuracy_norm: norm,
    tasks: Object.fromEntries(tasks.map(({ task, answers: of }) => [task, accuracyOf(of)])),
    tasks_norm: Object.fromEntries(
      tasks.flatMap(({ task, answers: of }) => {
        const taskNorm = normalised(of);
        return taskNorm ? [[task, taskNorm]] : [];
      }),
    ),
    answer_tokens: answers.some((a) => a.choice_logps) ? null : mean(answers.map((a) => a.tokens)),
    iteration:
      typeof phase === 'number' && phase > 0 && steps.length > 0
        ? await iterationPart(run, phase, steps)
        : null,
  };
}

async function iterationPart(
  run: RunContext,
  phase: Phase,
  steps: readonly StepRecord[],
): Promise<IterationMetrics> {
  const gold = new Map(
    (await recordsOf<GoldRecord>(run, phase, 'gold.jsonl')).map((record) => [record.id, record]),
  );
  const completions = (await recordsOf<CompletionRecord>(run, phase, 'completions.jsonl')).map(
    (completion) => measureCompletion(completion, gold.get(completion.prompt_id)),
  );
  return measureIteration({
    completions,
    rankings: await recordsOf<RankingRecord>(run, phase, 'rankings.jsonl'),
    pairs: (await recordsOf<PairRecord>(run, phase, 'pairs.jsonl')).map((pair) =>
      measurePair(pair, gold.get(pair.prompt_id)),
    ),
    // Given pairs were not sampled from θ_t, so their scores do not estimate a divergence.
    scores: completions.length > 0 ? await recordsOf<ScoreRecord>(run, phase, 'scores.jsonl') : [],
    samplerChecks: await recordsOf<SamplerCheckRecord>(run, phase, 'sampler-check.jsonl'),
    noise: await recordsOf<NoiseRecord>(run, phase, 'noise.jsonl'),
    steps,
  });
}

/**
 * The columns of a row of metrics.jsonl. They have TRL's names; our own begin with `cream/` and
 * `eval/`.
 */
function phaseColumns({
  accuracy,
  accuracy_norm,
  tasks,
  tasks_norm,
  answer_tokens,
  iteration,
}: IterationSummary): Record<string, number> {
  return {
    ...(iteration && iterationColumns(iteration)),
    ...(accuracy && {
      'eval/accuracy': accuracy.accuracy,
      'eval/accuracy_low': accuracy.low,
      'eval/accuracy_high': accuracy.high,
    }),
    ...(accuracy_norm && {
      'eval/accuracy_norm': accuracy_norm.accuracy,
      'eval/accuracy_norm_low': accuracy_norm.low,
      'eval/accuracy_norm_high': accuracy_norm.high,
    }),
    ...(answer_tokens !== null && { 'eval/mean_length': answer_tokens }),
    ...Object.fromEntries(
      Object.entries(tasks).map(([task, a]) => [`eval/${task}/accuracy`, a.accuracy]),
    ),
    ...Object.fromEntries(
      Object.entries(tasks_norm).map(([task, a]) => [`eval/${task}/accuracy_norm`, a.accuracy]),
    ),
  };
}

/** Values that could not be measured have no column. */
function iterationColumns(m: IterationMetrics): Record<string, number> {
  const columns = {
    consistency: m.consistency,
    kendall: m.kendall_tau,
    kendall_q25: m.kendall_quartiles?.[0],
    kendall_q50: m.kendall_quartiles?.[1],
    kendall_q75: m.kendall_quartiles?.[2],
    spearman: m.spearman,
    top_order: m.top_order,
    prompts: m.prompts,
    pairs_kept: m.pairs,
    pair_margin: m.pair_margin,
    ranking_accuracy: m.ranking_accuracy,
    ranking_couples: m.ranking_couples,
    ranking_ties: m.ranking_ties,
    sample_accuracy: m.sample_accuracy,
    chosen_accuracy: m.chosen_accuracy,
    rejected_accuracy: m.rejected_accuracy,
    kl_response: m.kl_response,
    kl_token: m.kl_token,
    sampler_difference: m.sampler_difference,
    sampler_tau: m.sampler_tau,
    noise_rms: m.noise_rms,
    noise_consistency: m.noise_consistency,
    completion_length: m.mean_length,
    truncated: m.truncated,
    distinct_2: m.distinct_2,
    repeated_4: m.repeated_4,
  };
  return Object.fromEntries(
    Object.entries(columns).flatMap(([name, value]) =>
      value == null ? [] : [[`cream/${name}`, value]],
    ),
  );
}

async function recordsOf<T extends object>(
  run: RunContext,
  phase: Phase,
  name: string,
): Promise<T[]> {
  return existsSync(run.file(phase, name)) ? run.read<T>(phase, name) : [];
}
