/**
 * A run directory → the numbers of its report: one row for the base model, for SFT, and for each
 * iteration. Missing values are null.
 */
import { basename, resolve } from 'node:path';
import type {
  AnswerRecord,
  CompletionRecord,
  NoiseRecord,
  PairRecord,
  RankingRecord,
  SamplerCheckRecord,
  ScoreRecord,
} from '../data/records.js';
import {
  accuracyOf,
  byTask,
  compare,
  normalised,
  type Accuracy,
  type Comparison,
} from '../evaluate/intervals.js';
import {
  mean,
  measureCompletion,
  measureIteration,
  measurePair,
  type IterationMetrics,
} from '../evaluate/iteration.js';
import { number, RunFolder, string, type Row } from './read.js';
import { flipsOf, type Flips } from './flips.js';
import { EXAMPLES, knownQuestions, rankedPrompts, spread, type RankedPrompt } from './samples.js';

export interface Step {
  step: number;
  loss: number | null;
  margin: number | null;
  /** Mean estimate of KL(π_θ ‖ π_θ0), if training has the KL penalty. */
  kl: number | null;
  /** Global L2 norm of the gradient before clipping. */
  gradNorm: number | null;
  learningRate: number | null;
  /** Evaluation in training, if this step has one: mean margin of held-out pairs, and accuracy. */
  evalMargin?: number;
  evalAccuracy?: number;
}

/** Totals of a stage over all its runs, from events.jsonl. */
export interface StageTime {
  stage: string;
  seconds: number;
  tokens: number;
}

export interface PhaseReport {
  folder: string;
  label: string;
  /** Accuracy of the phase's model over all tasks; null if it was not evaluated. */
  accuracy: Accuracy | null;
  /** Accuracy of the length-normalised choice, if measured by log-likelihood. */
  accuracyNorm: Accuracy | null;
  tasks: {
    task: string;
    accuracy: Accuracy;
    accuracyNorm: Accuracy | null;
    comparison: Comparison | null;
  }[];
  /** Comparison with the last evaluated phase before, on the same questions. */
  comparison: Comparison | null;
  /** Mean tokens of a generated answer. */
  answerTokens: number | null;
  steps: Step[];
  stages: StageTime[];
  ranking: RankingReport | null;
}

export interface RankingReport extends IterationMetrics {
  /** Share of the kept prompts by their τ, in ten steps from −1 to 1. */
  kendallShares: number[];
  flips: Flips | null;
  /** Example prompts, from the highest C to the lowest. */
  examples: RankedPrompt[];
}

/** The stage in progress, or in which the run was stopped. */
export interface WorkReport {
  label: string;
  stage: string;
  done: number;
  total: number;
  unit: string;
  /** The newest step, if it trains. */
  step: Step | null;
}

export interface RunReport {
  name: string;
  /** The path as it was given. */
  directory: string;
  model: string | null;
  versions: Record<string, string>;
  started: string | null;
  ended: string | null;
  finished: boolean;
  recipe: string;
  phases: PhaseReport[];
  working: WorkReport | null;
  /** Rows of the data sources that the run did not use. */
  leftOut: { section: string; count: number; message: string }[];
  /** Sentences about files and lines that could not be read. */
  problems: string[];
}

/**
 * Reads all that exists; `examples` is the number of ranked prompts per iteration. @throws
 * DataError if a file exists and cannot be read at all, or if this is not a run directory
 */
export function readRun(directory: string, { examples = EXAMPLES } = {}): RunReport {
  const folder = new RunFolder(directory);
  const run = folder.object('run.json');
  const events = folder.rows('events.jsonl', (row) => row);
  const phases = phaseFolders(folder).map(([name, label]) =>
    phaseReport(folder, name, label, events, examples),
  );
  compareInTurn(folder, phases);
  return {
    name: basename(resolve(directory)),
    directory,
    model:
      string((run.model ?? {}) as Row, 'name') ??
      /^model: *(.+?) *$/m.exec(folder.text('recipe.yaml'))?.[1] ??
      null,
    versions: Object.fromEntries(
      Object.entries((run.versions ?? {}) as Row).filter(
        (entry): entry is [string, string] => typeof entry[1] === 'string',
      ),
    ),
    started: events.map((row) => string(row, 'time')).find((time) => time !== undefined) ?? null,
    ended: events.map((row) => string(row, 'time')).findLast((time) => time !== undefined) ?? null,
    finished: folder.has('summary.json'),
    recipe: folder.text('recipe.yaml'),
    phases,
    working: folder.has('summary.json') ? null : workingOn(events, phases),
    leftOut: rowsLeftOut(events),
    problems: [...folder.damaged].map(
      ([file, { size }]) =>
        `${file}: ${size} ${size === 1 ? 'line' : 'lines'} could not be read and ` +
        `${size === 1 ? 'is' : 'are'} left out.`,
    ),
  };
}

/** The stage that began last and has not ended. */
function workingOn(events: readonly Row[], phases: readonly PhaseReport[]): WorkReport | null {
  const began = events.findLastIndex(({ type }) => type === 'stage_started');
  const { phase, stage, total, unit, done, iteration } = events[began] ?? {};
  const after = events.slice(began + 1);
  if (
    typeof stage !== 'string' ||
    typeof unit !== 'string' ||
    typeof total !== 'number' ||
    after.some(({ type }) => type === 'stage_finished')
  )
    return null;
  const newest = after.findLast(({ type }) => type === 'stage_progress') ?? { done };
  const folder = phase === 'sft' ? 'sft' : `iteration-${String(iteration)}`;
  const found = phases.find((one) => one.folder === folder);
  const trains = stage === 'sft' || stage === 'train';
  return {
    label: found?.label ?? folder,
    stage,
    done: number(newest, 'done') ?? 0,
    total,
    unit,
    step: (trains ? found?.steps.at(-1) : undefined) ?? null,
  };
}

/** The last event of each section: a run that was stopped and resumed may have written it twice. */
function rowsLeftOut(events: readonly Row[]): RunReport['leftOut'] {
  const found = new Map<string, RunReport['leftOut'][number]>();
  for (const event of events) {
    const [section, message] = [string(event, 'section'), string(event, 'message')];
    const count = number(event, 'count');
    if (event.type === 'rows_left_out' && section && message && count !== undefined)
      found.set(section, { section, count, message });
  }
  return [...found.values()];
}

/** `run` with at most `count` ranked prompts per iteration. */
export function withExamples(run: RunReport, count: number): RunReport {
  return {
    ...run,
    phases: run.phases.map(({ ranking, ...phase }) => ({
      ...phase,
      ranking: ranking && { ...ranking, examples: spread(ranking.examples, count) },
    })),
  };
}

function phaseFolders(folder: RunFolder): [name: string, label: string][] {
  const found: [string, string][] = folder
    .iterations()
    .map((t) => [`iteration-${t}`, t === 0 ? 'Base model' : `Iteration ${t}`]);
  const sft: [string, string][] = folder.has('sft') ? [['sft', 'After SFT']] : [];
  return [
    ...found.filter(([name]) => name === 'iteration-0'),
    ...sft,
    ...found.filter(([name]) => name !== 'iteration-0'),
  ];
}

function phaseReport(
  folder: RunFolder,
  name: string,
  label: string,
  events: readonly Row[],
  examples: number,
): PhaseReport {
  const answers = answersOf(folder, name);
  const norm = normalised(answers);
  return {
    folder: name,
    label,
    accuracy: answers.length > 0 ? accuracyOf(answers) : null,
    accuracyNorm: norm,
    tasks: byTask(answers).map(({ task, answers: of }) => ({
      task,
      accuracy: accuracyOf(of),
      accuracyNorm: normalised(of),
      comparison: null,
    })),
    comparison: null,
    answerTokens: norm ? null : mean(answers.map((answer) => answer.tokens)),
    steps: stepsOf(folder, name),
    stages: stageTimes(events, name),
    ranking: rankingReport(folder, name, examples),
  };
}

export type SlimAnswer = Pick<
  AnswerRecord,
  'prompt_id' | 'task' | 'correct' | 'score' | 'tokens' | 'correct_norm'
>;

/** Answers of the model that a phase trained. */
export function answersOf(folder: RunFolder, name: string): SlimAnswer[] {
  return folder.records(
    name,
    'answers.jsonl',
    ({ prompt_id, task, correct, score, tokens, correct_norm }: AnswerRecord) => ({
      prompt_id,
      task,
      correct,
      tokens,
      ...(score !== undefined && { score }),
      ...(correct_norm !== undefined && { correct_norm }),
    }),
  );
}

function evaluationOf(row: Row): Pick<Step, 'evalMargin' | 'evalAccuracy'> {
  const [margin, accuracy] = [number(row, 'eval/rewards/margins'), number(row, 'eval/accuracy')];
  return {
    ...(margin !== undefined && { evalMargin: margin }),
    ...(accuracy !== undefined && { evalAccuracy: accuracy }),
  };
}

/** The steps that metrics.jsonl has so far of a stage in progress. */
function stepsOf(folder: RunFolder, name: string): Step[] {
  if (folder.has(`${name}/steps.jsonl`)) return folder.rows(`${name}/steps.jsonl`, stepOf);
  const iteration = name === 'sft' ? 0 : Number(name.replace('iteration-', ''));
  const stage = name === 'sft' ? 'sft' : 'train';
  return folder
    .rows('metrics.jsonl', (row) => row)
    .filter((row) => row.iteration === iteration && row.stage === stage)
    .flatMap((row) => stepOf({ ...row, step: row.stage_step }) ?? []);
}

function stepOf(row: Row): Step | undefined {
  const step = number(row, 'step');
  return step === undefined
    ? undefined
    : {
        step,
        loss: number(row, 'loss') ?? null,
        margin: number(row, 'rewards/margins') ?? null,
        kl: number(row, 'kl') ?? null,
        gradNorm: number(row, 'grad_norm') ?? null,
        learningRate: number(row, 'learning_rate') ?? null,
        ...evaluationOf(row),
      };
}

/**
 * The stages of the base model and of SFT are both reported as iteration 0: those before the first
 * stage of SFT belong to the base model.
 */
function stageTimes(events: readonly Row[], name: string): StageTime[] {
  const iteration = name === 'sft' ? 0 : Number(name.replace('iteration-', ''));
  const times = new Map<string, StageTime>();
  let inSft = false;
  for (const event of events) {
    inSft ||= event.stage === 'sft';
    const stage = string(event, 'stage');
    const seconds = number(event, 'seconds');
    const isEnd = event.type === 'stage_finished' || event.type === 'stage_end';
    if (
      !isEnd ||
      stage === undefined ||
      seconds === undefined ||
      number(event, 'iteration') !== iteration
    )
      continue;
    if (iteration === 0 && inSft !== (name === 'sft')) continue;
    const sum = times.get(stage) ?? { stage, seconds: 0, tokens: 0 };
    times.set(stage, {
      stage,
      seconds: sum.seconds + seconds,
      tokens: sum.tokens + (number(event, 'tokens') ?? 0),
    });
  }
  return [...times.values()];
}

function rankingReport(folder: RunFolder, name: string, examples: number): RankingReport | null {
  const rankings = folder.records<RankingRecord>(name, 'rankings.jsonl');
  const questions = knownQuestions(folder, name);
  const completions = folder.records(name, 'completions.jsonl', (record: CompletionRecord) =>
    measureCompletion(record, questions.get(record.prompt_id)),
  );
  if (rankings.length === 0 && completions.length === 0) return null;
  const pairs = folder.records(name, 'pairs.jsonl', (record: PairRecord) =>
    measurePair(record, questions.get(record.prompt_id)),
  );
  const scores = folder.records(
    name,
    'scores.jsonl',
    ({ tokens, logp_current, logp_base }: ScoreRecord) => ({ tokens, logp_current, logp_base }),
  );
  const samplerChecks = folder.records<SamplerCheckRecord>(name, 'sampler-check.jsonl');
  const noise = folder.records<NoiseRecord>(name, 'noise.jsonl');
  const steps = folder.rows(`${name}/steps.jsonl`, (row) => ({
    'rewards/margins': number(row, 'rewards/margins'),
    'rewards/accuracies': number(row, 'rewards/accuracies'),
  }));
  return {
    ...measureIteration({ rankings, pairs, completions, scores, samplerChecks, noise, steps }),
    kendallShares: shares(
      rankings
        .filter(({ skipped, one_judge }) => skipped === undefined && !one_judge)
        .map((r) => r.kendall_tau),
    ),
    flips: flipsOf(rankings),
    examples: rankedPrompts({ folder, name, rankings, pairs, questions, count: examples }),
  };
}

/** Share of `values` in each of ten equal intervals from −1 to 1; empty for an empty list. */
function shares(values: readonly number[]): number[] {
  const steps = new Array<number>(values.length === 0 ? 0 : 10).fill(0);
  for (const value of values)
    steps[Math.max(0, Math.min(9, Math.floor((value + 1 + 1e-9) * 5)))]! += 1 / values.length;
  return steps;
}

function compareInTurn(folder: RunFolder, phases: PhaseReport[]): void {
  let before: SlimAnswer[] | undefined;
  for (const phase of phases) {
    const answers = answersOf(folder, phase.folder);
    if (answers.length === 0) continue;
    if (before) {
      const of = (all: SlimAnswer[], task: string) => all.filter((answer) => answer.task === task);
      phase.comparison = compare(before, answers);
      for (const entry of phase.tasks)
        entry.comparison =
          phase.tasks.length === 1
            ? phase.comparison
            : compare(of(before, entry.task), of(answers, entry.task));
    }
    before = answers;
  }
}
