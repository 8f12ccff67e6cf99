/** Measuring one of a run's models on the recipe's tasks: `answers.jsonl` of its phase. */
import type { PromptRecord } from '../data/records.js';
import { accuracyOf } from '../evaluate/intervals.js';
import { TASKS, type TaskName } from '../evaluate/tasks.js';
import type { RunContext } from './context.js';
import { withSystem } from './data.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';
import { evaluate } from './stages/evaluate.js';
import type { Phase } from './store.js';

/** Measures θ_n for `phase`; nothing where the recipe names no task. */
export async function evaluateModel(run: RunContext, phase: Phase, n: number): Promise<void> {
  const { evaluate: settings, sample: { max_rows } } = run.recipe;
  const questions = await chooseQuestions(run.recipe);
  if (questions.length === 0) return;
  await run.blocks({ phase, stage: 'evaluate' }, {
    path: run.file(phase, 'answers.jsonl'),
    items: questions,
    size: settings.block_prompts,
    unit: 'questions',
    perItem: 1,
    make: async (block, hooks) => evaluate(block, await run.models.policy(run.checkpoint(n)), { max_new_tokens: settings.max_new_tokens, max_rows }, hooks),
    note: (answers) => {
      const { accuracy, low, high } = accuracyOf(answers);
      return `accuracy ${(accuracy * 100).toFixed(1)} % (${(low * 100).toFixed(1)} – ${(high * 100).toFixed(1)})`;
    },
  });
}

/** The questions of all tasks, the same ones for every model of a run. */
export async function chooseQuestions(recipe: Recipe): Promise<PromptRecord[]> {
  const { seed, system_prompt: system, evaluate: { tasks, count } } = recipe;
  const questions = await Promise.all(tasks.map(async (spec) => {
    const { name, path } = parseTask(spec);
    if (path === undefined && count === 0) throw new RunError('ERR_RECIPE', 'evaluate.count: the built-in questions have no end; give how many are asked.');
    return TASKS[name].questions({ path, seed, count: count === 0 ? undefined : count });
  }));
  const all = questions.flat();
  const twice = firstRepeated(all.map((question) => `${question.task} ${question.id}`));
  if (twice !== undefined) throw new RunError('ERR_RECIPE', `evaluate.tasks: the question ${JSON.stringify(twice)} comes twice; name each task once.`);
  return all.map((question) => ({ ...question, prompt: withSystem(question.prompt, system) }));
}

/** `builtin`, or `arc:path/to/test.jsonl`. */
function parseTask(spec: string): { name: TaskName; path: string | undefined } {
  const colon = spec.indexOf(':'), name = colon < 0 ? spec : spec.slice(0, colon), path = colon < 0 ? undefined : spec.slice(colon + 1);
  if (!Object.hasOwn(TASKS, name)) throw new RunError('ERR_RECIPE', `evaluate.tasks: '${name}' is no task; known are ${Object.keys(TASKS).join(', ')}.`);
  if (name !== 'builtin' && !path) throw new RunError('ERR_RECIPE', `evaluate.tasks: the task ${name} reads its questions from a file; write ${name}:path/to/questions.jsonl.`);
  return { name: name as TaskName, path: name === 'builtin' ? undefined : path };
}

function firstRepeated(values: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return values.find((value) => seen.size === seen.add(value).size);
}
