/** `cream eval`: accuracy of a model on questions with known answers. */
import type { Command } from 'commander';
import type { AnswerRecord } from '../../data/records.js';
import { accuracyOf } from '../../evaluate/intervals.js';
import { checkLengths } from '../../run/check.js';
import { chooseQuestions } from '../../run/evaluation.js';
import { evaluate } from '../../run/stages/evaluate.js';
import { addSettings, settingsFrom, type Cli } from '../cli.js';
import { showBlocks, showStage, withModel } from '../stage.js';
import { formatTable, percent, printJson, printLine } from '../table.js';

const KEYS = ['model', 'dtype', 'seed', 'threads', 'system_prompt', 'sample.max_rows'];
const LEAVE_OUT = ['evaluate.tasks', 'evaluate.baseline'];

interface Flags extends Record<string, unknown> {
  task: string[];
  out?: string;
  json?: boolean;
}

export function addEval(program: Command, cli: Cli): void {
  const command = program.command('eval')
    .description('accuracy of a model on questions with known answers, decoded greedily')
    .option('--task <name[:file]>', '`builtin`, or a task and its JSONL file, such as arc:test.jsonl; may be given again', (value: string, all: string[]) => [...all, value], [])
    .option('-o, --out <file>', 'also write the answers (JSONL)')
    .option('--json', 'print the result as JSON');
  addSettings(command, KEYS, 'evaluate', LEAVE_OUT).action(async (flags: Flags) => {
    const settings = settingsFrom(flags, KEYS, 'evaluate');
    const questions = await chooseQuestions({ ...settings, evaluate: { ...settings.evaluate, tasks: flags.task.length > 0 ? flags.task : ['builtin'] } });
    const request = { max_new_tokens: settings.evaluate.max_new_tokens, max_rows: settings.sample.max_rows };
    const answers = await withModel(settings.model, settings, cli, async (language) => {
      const policy = { language, model: language.model };
      checkLengths({ questions }, policy);
      if (flags.out === undefined) return showStage(cli, { stage: 'evaluate', unit: 'questions', total: questions.length }, (hooks) => evaluate(questions, policy, request, hooks));
      return showBlocks(cli, 'evaluate', 'questions', {
        out: flags.out, items: questions, size: settings.evaluate.block_prompts, perItem: 1,
        plan: [settings.model, settings.dtype, request, questions],
        make: (block, hooks) => evaluate(block, policy, request, hooks),
      });
    });
    show(answers, flags.json === true);
  });
}

function show(answers: readonly AnswerRecord[], json: boolean): void {
  const tasks = [...new Set(answers.map((answer) => answer.task))].map((task) => ({ task, ...accuracyOf(answers.filter((answer) => answer.task === task)) }));
  if (json) return printJson(tasks);
  printLine(formatTable(['task', 'questions', 'accuracy', '95 % interval'], tasks.map((t) => [t.task, String(t.total), percent(t.accuracy), `${percent(t.low)} – ${percent(t.high)}`])));
}
