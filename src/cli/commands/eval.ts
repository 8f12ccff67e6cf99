/**
 * `cream eval`: accuracy of a model on questions with known answers, and the difference between two
 * models' answers.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ANSWER_COLUMNS } from '../../data/columns.js';
import type { AnswerRecord } from '../../data/records.js';
import {
  accuracyOf,
  byTask,
  compare,
  normalised,
  type Accuracy,
} from '../../evaluate/intervals.js';
import { HUB_TASKS } from '../../evaluate/tasks.js';
import { checkLengths } from '../../run/check.js';
import { RunError } from '../../run/errors.js';
import { chooseQuestions, taskSources } from '../../run/questions.js';
import { evaluateSettings, evaluateStage } from '../../run/stages/evaluate.js';
import { addSettings, ANSWER_KEYS, refuseIdle, settingsFrom, type Cli } from '../cli.js';
import { outputOf } from '../output.js';
import { readGivenRecords } from '../records.js';
import { fetchData, showBlocks, showStage, withModel } from '../stage.js';
import { formatTable, percent, printJson, printLine } from '../table.js';

const KEYS = ['model', ...ANSWER_KEYS, 'sample.max_num_seqs', 'score.max_num_batched_tokens'];
/** Given by --task, or settings of a training. */
const LEAVE_OUT = ['tasks', 'baseline', 'every', 'metric', 'pairs', 'patience'].map(
  (key) => `evaluate.${key}`,
);

interface Flags extends Record<string, unknown> {
  task: string[];
  compare?: string[];
  out?: string;
  json?: boolean;
}

export function addEval(program: Command, cli: Cli): void {
  const command = program
    .command('eval')
    .description(
      'measure the accuracy of a model on questions with known answers, or the difference ' +
        'between two models',
    )
    .option(
      '--task <name[:source]>',
      `\`builtin\`; ${HUB_TASKS.join(', ')} from the hub; or one ` +
        'with its source, such as arc_easy:test.jsonl or siqa:hub:lighteval/siqa:validation; may ' +
        'be repeated',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option(
      '--compare <before-after...>',
      'two files of answers (of --out), or two folders of a run such as ' +
        'runs/mine/iteration-2: their paired difference; no model is run',
    )
    .option('-o, --out <file>', 'also write the answers (JSONL)')
    .option('--json', 'print the result as JSON');
  addSettings(command, KEYS, 'evaluate', LEAVE_OUT).action(async (flags: Flags) => {
    if (flags.compare) {
      const others = command.options.map((option) => option.name());
      refuseIdle(
        command,
        others.filter((name) => name !== 'compare' && name !== 'json'),
        'with --compare, which reads answers and runs no model',
      );
      return showComparison(flags.compare, flags.json === true, cli);
    }
    const found = await answers(flags, cli);
    // Standard output then contains only the answers.
    if (flags.out === undefined || outputOf(flags.out).kind !== 'stdout')
      showAccuracy(found, flags.json === true);
  });
}

async function answers(flags: Flags, cli: Cli): Promise<AnswerRecord[]> {
  const given = settingsFrom(flags, KEYS, 'evaluate');
  const settings = {
    ...given,
    evaluate: { ...given.evaluate, tasks: flags.task.length > 0 ? flags.task : ['builtin'] },
  };
  await fetchData(taskSources(settings.evaluate), cli);
  const questions = await chooseQuestions(settings);
  const request = evaluateSettings(settings);
  return withModel(settings.model, settings, cli, async (policy) => {
    // For log-likelihoods a long question is cut from the left, as in lm-evaluation-harness.
    if (request.method === 'generate') await checkLengths({ questions }, policy);
    const stage = evaluateStage(questions, async () => policy, settings);
    if (flags.out === undefined)
      return showStage(
        cli,
        { stage: 'evaluate', unit: stage.unit, total: questions.length },
        (hooks) => stage.make(questions, hooks),
      );
    const plan = [settings.model, settings.dtype, settings.device, request, questions];
    return showBlocks(cli, 'evaluate', { out: flags.out, plan }, { ...stage, note: () => '' });
  });
}

function showAccuracy(answers: readonly AnswerRecord[], json: boolean): void {
  const tasks = byTask(answers).map(({ task, answers: of }) => ({
    task,
    ...accuracyOf(of),
    normalised: normalised(of),
  }));
  if (json)
    return printJson(
      tasks.map(({ normalised: norm, ...task }) => ({
        ...task,
        ...(norm && { normalised: norm }),
      })),
    );
  const cells = (a: Accuracy | null) =>
    a ? [percent(a.accuracy), `${percent(a.low)} – ${percent(a.high)}`] : ['', ''];
  const both = tasks.some((t) => t.normalised);
  const header = [
    'task',
    'questions',
    'accuracy',
    '95 % interval',
    ...(both ? ['per character', '95 % interval'] : []),
  ];
  printLine(
    formatTable(
      header,
      tasks.map((t) => [
        t.task,
        String(t.total),
        ...cells(t),
        ...(both ? cells(t.normalised) : []),
      ]),
    ),
  );
}

async function showComparison(sources: readonly string[], json: boolean, cli: Cli): Promise<void> {
  if (sources.length !== 2)
    throw new RunError(
      'ERR_RECIPE',
      `--compare takes two files of answers, before and after; ${sources.length} given.`,
    );
  const [before, after] = (await Promise.all(
    sources.map((source) => readAnswers(source, cli)),
  )) as [AnswerRecord[], AnswerRecord[]];
  checkComparable({ before, after }, sources, cli);
  const names = byTask(after).map(({ task }) => task);
  const groups = [
    ...names.map((task) => ({ task, has: (a: AnswerRecord) => a.task === task })),
    ...(names.length > 1 ? [{ task: 'all', has: () => true }] : []),
  ];
  const rows = groups.map(({ task, has }) => ({
    task,
    ...compare(before.filter(has), after.filter(has)),
  }));
  if (rows.every(({ questions }) => questions === 0))
    throw new RunError(
      'ERR_RUN_DATA',
      `${sources.join(' and ')} have no question in common; compare answers to the same tasks.`,
    );
  if (json) return printJson(rows);
  const signed = (share: number) => `${share < 0 ? '−' : '+'}${Math.abs(share * 100).toFixed(1)}`;
  printLine(
    formatTable(
      [
        'task',
        'questions',
        'before',
        'after',
        'difference',
        '95 % interval',
        'only before',
        'only after',
        'p',
      ],
      rows.map((row) => [
        row.task,
        String(row.questions),
        percent(row.before),
        percent(row.after),
        signed(row.difference),
        `${signed(row.low)} – ${signed(row.high)}`,
        String(row.onlyBefore),
        String(row.onlyAfter),
        row.p < 0.001 ? '< 0.001' : row.p.toFixed(3),
      ]),
    ),
  );
}

/**
 * Warns of questions that only one side answers. @throws RunError where a question is answered
 * twice, or has another known answer on the other side
 */
function checkComparable(
  { before, after }: Record<'before' | 'after', readonly AnswerRecord[]>,
  sources: readonly string[],
  cli: Cli,
): void {
  const [left, right] = [before, after].map((answers, i) => byQuestion(answers, sources[i]!));
  for (const [name, answer] of left!) {
    const other = right!.get(name);
    if (other && other.answer !== answer.answer)
      throw new RunError(
        'ERR_RUN_DATA',
        `The known answer of ${name} is ${JSON.stringify(answer.answer)} in ${sources[0]} and ` +
          `${JSON.stringify(other.answer)} in ${sources[1]}: compare answers to the same ` +
          'questions.',
      );
  }
  const both = [...left!.keys()].filter((name) => right!.has(name)).length;
  const alone = left!.size + right!.size - 2 * both;
  if (both > 0 && alone > 0)
    cli.progress.warn(`${alone} answers are to a question that the other side lacks: left out.`);
}

function byQuestion(answers: readonly AnswerRecord[], source: string): Map<string, AnswerRecord> {
  const found = new Map<string, AnswerRecord>();
  for (const answer of answers) {
    const name = `question ${JSON.stringify(answer.prompt_id)} of ${answer.task}`;
    if (found.has(name))
      throw new RunError(
        'ERR_RUN_DATA',
        `${source} answers ${name} twice: remove one of the rows.`,
      );
    found.set(name, answer);
  }
  return found;
}

function readAnswers(source: string, cli: Cli): Promise<AnswerRecord[]> {
  const isFolder = statSync(source, { throwIfNoEntry: false })?.isDirectory() === true;
  return readGivenRecords(isFolder ? join(source, 'answers.jsonl') : source, ANSWER_COLUMNS, cli);
}
