// The results of one model of the experiment in a file that is small enough for a repository: what
// the tables need of its answers, of its ranking of human pairs and of its iterations.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from '../steps.mjs';
import { readLines } from './support.mjs';

/** Writes `file` from what the run and the measurements of one model left in `directory`. */
export function keepResults(file, directory, iterations) {
  if (existsSync(file)) return;
  const numbers = Array.from({ length: iterations }, (_, i) => i + 1);
  const results = {
    made_by: madeBy(directory),
    greedy: byTask(readLines(join(directory, 'greedy.jsonl')), { form: true }),
    likelihood: byTask(readLines(join(directory, 'likelihood.jsonl')), { form: false }),
    ranking: ranking(JSON.parse(readFileSync(join(directory, 'rank-eval.json'), 'utf8'))),
    iterations: numbers.map((t) => iteration(directory, t)),
  };
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.part`, lines(results));
  renameSync(`${file}.part`, file);
}

/** What may change the last bits of a run. */
function madeBy(directory) {
  const { versions, model } = JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8'));
  const git = (...args) => {
    const { status, stdout } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
    return status === 0 ? stdout.trimEnd() : undefined;
  };
  const changed = git('status', '--porcelain', '-z', '--', 'src', 'native', 'scripts');
  return {
    ...versions,
    commit: git('rev-parse', 'HEAD'),
    // Files that are not those of the commit.
    ...(changed && { changed: changed.split('\0').flatMap((entry) => entry.slice(3) || []) }),
    processor: cpus()[0]?.model ?? 'unknown',
    model: model.digest,
  };
}

export function readResults(file) {
  return JSON.parse(readFileSync(file, 'utf8'));
}

/**
 * The answers of `greedy` or `likelihood`, as comparisons take them. The id is the number of the
 * question in its list, and the list's name is part of the task: answers to other questions are
 * never taken for answers to the same.
 */
export function answersIn(tasks) {
  return Object.entries(tasks).flatMap(([task, { questions, correct, extracted, tokens }]) =>
    [...correct].map((right, i) => ({
      task: `${task} ${questions}`,
      prompt_id: String(i),
      correct: right === '1',
      extracted: extracted?.[i],
      tokens: tokens?.[i],
    })),
  );
}

/**
 * Per task: a digest of the questions' ids in their order, a 1 or 0 per question and, with `form`,
 * the choice that the answer names (null if none) and its tokens.
 */
function byTask(answers, { form }) {
  const tasks = [...new Set(answers.map(({ task }) => task))];
  return Object.fromEntries(
    tasks.map((task) => {
      const of = answers.filter((answer) => answer.task === task);
      const ids = of.map(({ prompt_id }) => prompt_id).join('\n');
      return [
        task,
        {
          questions: createHash('sha256').update(ids).digest('hex').slice(0, 16),
          correct: of.map(({ correct }) => Number(correct)).join(''),
          ...(form && {
            extracted: of.map(({ extracted }) => extracted),
            tokens: of.map(({ tokens }) => tokens),
          }),
        },
      ];
    }),
  );
}

/** Rows by reward; their model is the file's, and its path says nothing elsewhere. */
function ranking(rows) {
  return rows.map(({ reward, all, matched, balanced }) => ({ reward, all, matched, balanced }));
}

/** What iteration `t` measured, the z that its training reached and the z of its loss's minimum. */
function iteration(directory, t) {
  const folder = join(directory, `iteration-${t}`);
  const measured = readLines(join(directory, 'metrics.jsonl')).find(
    (row) => row.stage === 'iteration' && row.iteration === t,
  );
  const steps = readLines(join(folder, 'steps.jsonl'));
  const last = steps.slice(-Math.max(1, Math.floor(steps.length / 4)));
  const weight = mean(readLines(join(folder, 'pairs.jsonl')).map((pair) => pair.weight));
  return {
    consistency: measured['cream/consistency'],
    completion_length: measured['cream/completion_length'],
    distinct_2: measured['cream/distinct_2'],
    kl_token: measured['cream/kl_token'],
    weight,
    margin: mean(last.map((step) => step['rewards/margins'])),
    // Where the loss has its minimum; infinite for weights of 0 and 1, and then left out.
    ...(weight > 0 && weight < 1 && { target: Math.log(weight / (1 - weight)) }),
  };
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** JSON with a line per task, reward or iteration, so that a change of the file can be read. */
function lines(results) {
  const parts = Object.entries(results).map(([name, part]) => {
    const inner = Array.isArray(part)
      ? part.map((row) => `    ${JSON.stringify(row)}`)
      : Object.entries(part).map(
          ([key, value]) => `    ${JSON.stringify(key)}: ${JSON.stringify(value)}`,
        );
    const [open, close] = Array.isArray(part) ? '[]' : '{}';
    const body = inner.length === 0 ? '' : `\n${inner.join(',\n')}\n  `;
    return `  ${JSON.stringify(name)}: ${open}${body}${close}`;
  });
  return `{\n${parts.join(',\n')}\n}\n`;
}
