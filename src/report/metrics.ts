/** A run directory → the numbers of its report: one row for the base model, for SFT, and for each iteration. Whatever is missing is null. */
import { basename, resolve } from 'node:path';
import type { AnswerRecord } from '../data/records.js';
import { accuracyOf, compare, type Accuracy, type Comparison } from '../evaluate/intervals.js';
import { number, RunFolder, string, type Row } from './read.js';
import { rankedPrompts, type RankedPrompt } from './samples.js';

export interface Step {
  step: number;
  loss: number | null;
  margin: number | null;
}

/** What a stage did over all its runs, from events.jsonl. */
export interface StageTime {
  stage: string;
  seconds: number;
  tokens: number;
}

export interface PhaseReport {
  folder: string;
  label: string;
  /** Of the model that the phase made, over all tasks; null where it was not evaluated. */
  accuracy: Accuracy | null;
  tasks: { task: string; accuracy: Accuracy }[];
  /** Against the phase before that was evaluated, on the same questions. */
  comparison: Comparison | null;
  answerTokens: number | null;
  steps: Step[];
  stages: StageTime[];
  ranking: RankingReport | null;
}

export interface RankingReport {
  prompts: number;
  pairs: number;
  skipped: Record<string, number>;
  /** Means over the prompts that made a pair, each in [0, 1]; null without any. */
  consistency: number | null;
  kendall: number | null;
  spearman: number | null;
  topOrder: number | null;
  /** Mean r_t(chosen) − r_t(rejected), nats. */
  pairMargin: number | null;
  /** Mean tokens of a sampled response. */
  length: number | null;
  /** Of the pairs whose prompt has a known answer: how often the chosen and the rejected response give it. */
  rightness: { pairs: number; chosen: number; rejected: number } | null;
  examples: RankedPrompt[];
}

export interface RunReport {
  name: string;
  model: string | null;
  versions: Record<string, string>;
  started: string | null;
  ended: string | null;
  finished: boolean;
  recipe: string;
  phases: PhaseReport[];
  /** Sentences about what could not be read. */
  problems: string[];
}

/** Reads what is there. @throws DataError where a file exists and cannot be read at all, or where this is no run directory. */
export function readRun(directory: string): RunReport {
  const folder = new RunFolder(directory);
  const run = folder.object('run.json');
  const events = folder.rows('events.jsonl', (row) => row);
  const phases = phaseFolders(folder).map(([name, label]) => phaseReport(folder, name, label, events));
  compareInTurn(folder, phases);
  return {
    name: basename(resolve(directory)),
    model: string((run.model ?? {}) as Row, 'name') ?? /^model: *(.+?) *$/m.exec(folder.text('recipe.yaml'))?.[1] ?? null,
    versions: Object.fromEntries(Object.entries((run.versions ?? {}) as Row).filter((entry): entry is [string, string] => typeof entry[1] === 'string')),
    started: events.map((row) => string(row, 'time')).find((time) => time !== undefined) ?? null,
    ended: events.map((row) => string(row, 'time')).findLast((time) => time !== undefined) ?? null,
    finished: folder.has('summary.json'),
    recipe: folder.text('recipe.yaml'),
    phases,
    problems: [...folder.damaged].map(([file, { size }]) => `${file}: ${size} ${size === 1 ? 'line' : 'lines'} could not be read and ${size === 1 ? 'is' : 'are'} left out.`),
  };
}

function phaseFolders(folder: RunFolder): [name: string, label: string][] {
  const found: [string, string][] = folder.iterations().map((t) => [`iteration-${t}`, t === 0 ? 'Base model' : `Iteration ${t}`]);
  const sft: [string, string][] = folder.has('sft') ? [['sft', 'After SFT']] : [];
  return [...found.filter(([name]) => name === 'iteration-0'), ...sft, ...found.filter(([name]) => name !== 'iteration-0')];
}

function phaseReport(folder: RunFolder, name: string, label: string, events: readonly Row[]): PhaseReport {
  const answers = answersOf(folder, name);
  const tasks = [...new Set(answers.map((answer) => answer.task))];
  return {
    folder: name,
    label,
    accuracy: answers.length > 0 ? accuracyOf(answers) : null,
    tasks: tasks.map((task) => ({ task, accuracy: accuracyOf(answers.filter((answer) => answer.task === task)) })),
    comparison: null,
    answerTokens: mean(answers.map((answer) => answer.tokens)),
    steps: folder.rows(`${name}/steps.jsonl`, stepOf),
    stages: stageTimes(events, name),
    ranking: rankingReport(folder, name),
  };
}

function answersOf(folder: RunFolder, name: string): AnswerRecord[] {
  return folder.rows(`${name}/answers.jsonl`, (row) => {
    const prompt_id = string(row, 'prompt_id');
    if (prompt_id === undefined || typeof row.correct !== 'boolean') return undefined;
    return { prompt_id, task: string(row, 'task') ?? '', completion: '', extracted: null, answer: '', correct: row.correct, tokens: number(row, 'tokens') ?? 0 };
  });
}

function stepOf(row: Row): Step | undefined {
  const step = number(row, 'step');
  return step === undefined ? undefined : { step, loss: number(row, 'loss') ?? null, margin: number(row, 'rewards/margins') ?? null };
}

/** The base model's and SFT's stages are both told as iteration 0: what comes before the first of SFT is the base model's. */
function stageTimes(events: readonly Row[], name: string): StageTime[] {
  const iteration = name === 'sft' ? 0 : Number(name.replace('iteration-', ''));
  const times = new Map<string, StageTime>();
  let inSft = false;
  for (const event of events) {
    inSft ||= event.stage === 'sft';
    const stage = string(event, 'stage'), seconds = number(event, 'seconds');
    const isEnd = event.type === 'stage_finished' || event.type === 'stage_end';
    if (!isEnd || stage === undefined || seconds === undefined || number(event, 'iteration') !== iteration) continue;
    if (iteration === 0 && inSft !== (name === 'sft')) continue;
    const sum = times.get(stage) ?? { stage, seconds: 0, tokens: 0 };
    times.set(stage, { stage, seconds: sum.seconds + seconds, tokens: sum.tokens + (number(event, 'tokens') ?? 0) });
  }
  return [...times.values()];
}

function rankingReport(folder: RunFolder, name: string): RankingReport | null {
  const rankings = folder.rows(`${name}/rankings.jsonl`, (row) => (string(row, 'prompt_id') === undefined ? undefined : row));
  const lengths = folder.rows(`${name}/completions.jsonl`, (row) => (Array.isArray(row.token_ids) ? row.token_ids.length : undefined));
  if (rankings.length === 0 && lengths.length === 0) return null;
  const margins = folder.rows(`${name}/pairs.jsonl`, (row) => {
    const chosen = number(row, 'reward_chosen'), rejected = number(row, 'reward_rejected');
    return chosen === undefined || rejected === undefined ? undefined : chosen - rejected;
  });
  const kept = rankings.filter((row) => row.skipped === undefined);
  const meanOf = (column: string) => mean(kept.flatMap((row) => number(row, column) ?? []));
  const rescaled = (value: number | null) => (value === null ? null : (value + 1) / 2);
  const { examples, rightness } = rankedPrompts(folder, name, rankings);
  return {
    prompts: rankings.length,
    pairs: margins.length,
    skipped: counts(rankings.flatMap((row) => string(row, 'skipped') ?? [])),
    consistency: meanOf('consistency'),
    kendall: rescaled(meanOf('kendall_tau')),
    spearman: rescaled(meanOf('spearman')),
    topOrder: meanOf('top_order'),
    pairMargin: mean(margins),
    length: mean(lengths),
    rightness,
    examples,
  };
}

function compareInTurn(folder: RunFolder, phases: PhaseReport[]): void {
  let before: AnswerRecord[] | undefined;
  for (const phase of phases) {
    const answers = answersOf(folder, phase.folder);
    if (answers.length === 0) continue;
    if (before) phase.comparison = compare(before, answers);
    before = answers;
  }
}

function counts(names: readonly string[]): Record<string, number> {
  const found = new Map<string, number>();
  for (const name of names) found.set(name, (found.get(name) ?? 0) + 1);
  return Object.fromEntries(found);
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
