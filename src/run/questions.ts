/** The questions of a recipe's evaluation tasks. */
import { checkComparable } from '../evaluate/loglikelihood.js';
import type { Question, Task } from '../evaluate/task.js';
import { TASKS, type TaskName } from '../evaluate/tasks.js';
import { withSystem } from './data.js';
import { RunError } from './errors.js';
import type { Recipe } from './recipe.js';

/** The questions of all tasks; they are the same for every model of a run. */
export async function chooseQuestions(recipe: Recipe): Promise<Question[]> {
  const { seed, system_prompt: system, evaluate: settings } = recipe;
  const questions = await Promise.all(
    parseTasks(settings).map(({ name, source }) =>
      TASKS[name].questions({
        source,
        seed,
        count: settings.count === 0 ? undefined : settings.count,
      }),
    ),
  );
  const all = questions.flat();
  const twice = firstRepeated(all.map((question) => `${question.task} ${question.id}`));
  if (twice !== undefined)
    throw new RunError(
      'ERR_RECIPE',
      `evaluate.tasks: the question ${JSON.stringify(twice)} occurs twice; name each task once.`,
    );
  if (settings.method === 'loglikelihood') all.forEach(checkComparable);
  return all.map((question) => ({ ...question, prompt: withSystem(question.prompt, system) }));
}

type TaskSettings = Pick<Recipe['evaluate'], 'tasks' | 'count' | 'method'>;

/** Sources of the tasks' questions; the built-in task has none. */
export function taskSources(settings: TaskSettings): string[] {
  return parseTasks(settings).flatMap(({ name, source }) => source ?? TASKS[name].hub ?? []);
}

function parseTasks({
  tasks,
  count,
  method,
}: TaskSettings): { name: TaskName; source: string | undefined }[] {
  return tasks.map((spec) => {
    const parsed = parseTask(spec);
    const { name } = parsed;
    if (name === 'builtin' && count === 0)
      throw new RunError(
        'ERR_RECIPE',
        'evaluate.count: the number of built-in questions is unlimited; say how many are asked.',
      );
    const { method: only }: Task = TASKS[name];
    if (only !== undefined && only !== method) {
      const reason =
        only === 'generate'
          ? 'has no choices to compare by log-likelihood'
          : 'has several right choices, which one generated answer cannot name';
      throw new RunError(
        'ERR_RECIPE',
        `evaluate.method: the task ${name} ${reason}; measure it with \`method: ${only}\`, or ` +
          'leave it out of evaluate.tasks.',
      );
    }
    return parsed;
  });
}

/**
 * `builtin`, `arc_easy` (its hub data set), `arc:path/to/test.jsonl`, or
 * `siqa:hub:org/name:validation`.
 */
function parseTask(spec: string): { name: TaskName; source: string | undefined } {
  const colon = spec.indexOf(':');
  const name = colon < 0 ? spec : spec.slice(0, colon);
  const source = colon < 0 ? undefined : spec.slice(colon + 1);
  if (!Object.hasOwn(TASKS, name))
    throw new RunError(
      'ERR_RECIPE',
      `evaluate.tasks: '${name}' is not a task; known are ${Object.keys(TASKS).join(', ')}.`,
    );
  const known = name as TaskName;
  if (source === '' || (source === undefined && known !== 'builtin' && TASKS[known].hub === null)) {
    throw new RunError(
      'ERR_RECIPE',
      `evaluate.tasks: the task ${name} reads its questions from a file; write ` +
        `${name}:path/to/questions.jsonl, or ${name}:hub:org/name:split.`,
    );
  }
  return { name: known, source: known === 'builtin' ? undefined : source };
}

function firstRepeated(values: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return values.find((value) => seen.size === seen.add(value).size);
}
