// The experiment of docs/experiments/first.md, from its data to its tables: M0, M1 by SFT, then
// CREAM, SRLM and Oracle from the same M1.
//
//   node scripts/experiments/first.mjs --data DIR [--out runs/experiment] [--seeds 1,2]
//     [--set key=value …] > tables.md
//
// DIR contains the files named below, in any form that docs/data.md reads as JSONL. Finished parts
// are kept, so the same command resumes. Tables go to stdout, progress to stderr.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, runMain, say, SetupError } from '../steps.mjs';

const ITERATIONS = 3;
/** Method → its settings, as in recipes/. */
const METHODS = {
  cream: [],
  srlm: ['rank.weighting=fixed'],
  oracle: ['reward.source=gold', 'rank.weighting=fixed'],
};
/** Demonstrations and settings of M1. */
const SFT = ['sft.count=320', 'sft.epochs=2', 'sft.learning_rate=1.0e-5', 'sft.batch_size=16'];
const DEMONSTRATIONS = 'openassistant/train';
/**
 * Prompts of the iterations. GSM8K is left out: M0 solves none of it, so its samples teach Oracle
 * nothing.
 */
const PROMPTS = ['arc_easy/train', 'arc_challenge/train', 'openbookqa/train', 'siqa/train'];
const RUN = [
  `iterations=${ITERATIONS}`,
  'prompts.count=96',
  'sample.samples=5',
  'sample.max_new_tokens=128',
  'sample.save_prompts=32',
  'train.learning_rate=1.0e-5',
  'train.batch_size=8',
  'train.epochs=1',
  'train.save_steps=0',
];
/** Measured on every model in the same way: [task, file]. */
const TASKS = [
  ['arc_easy', 'arc_easy/test'],
  ['arc_challenge', 'arc_challenge/test'],
  ['openbookqa', 'openbookqa/test'],
  ['siqa', 'siqa/validation'],
];
const MEASURES = {
  loglikelihood: { tasks: TASKS, flags: ['--method', 'loglikelihood', '--count', '250'] },
  generate: {
    tasks: TASKS.filter(([task]) => task === 'arc_easy' || task === 'siqa'),
    flags: ['--count', '150', '--max-new-tokens', '128', '--save-prompts', '64'],
  },
};

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      out: { type: 'string', default: 'runs/experiment' },
      seeds: { type: 'string', default: '1,2' },
      set: { type: 'string', multiple: true, default: [] },
    },
  });
  const { data, out } = values;
  const seeds = values.seeds.split(',').map(Number);
  if (data === undefined)
    throw new SetupError(
      '--data is missing: name the folder that holds openassistant/train.jsonl, ' +
        'arc_easy/train.jsonl and the others (see scripts/experiments/first.mjs).',
    );
  const file = (stem) => join(data, `${stem}.jsonl`);
  mkdirSync(join(out, 'answers'), { recursive: true });
  const sftRun = join(out, 'm1');
  const m1 = join(sftRun, 'sft/checkpoint');
  run(sftRun, [
    'seed=1',
    'iterations=0',
    'sft.enabled=true',
    `sft.source=${file(DEMONSTRATIONS)}`,
    ...SFT,
    ...values.set,
  ]);

  const models = [
    { name: 'M0', path: 'smollm2-135m-instruct' },
    { name: 'M1', path: m1 },
  ];
  for (const seed of seeds) {
    for (const [method, keys] of Object.entries(METHODS)) {
      const directory = join(out, `${method}-${seed}`);
      run(directory, [
        `seed=${seed}`,
        'sft.enabled=true',
        `sft.checkpoint=${m1}`,
        `prompts.source=[${PROMPTS.map(file).join(', ')}]`,
        ...RUN,
        ...keys,
        ...values.set,
      ]);
      for (let t = 1; t <= ITERATIONS; t++)
        models.push({
          name: `${method}-${seed}-M${t + 1}`,
          method,
          seed,
          t,
          directory,
          path: join(directory, `iteration-${t}/checkpoint`),
        });
    }
  }
  for (const [measure, { tasks, flags }] of Object.entries(MEASURES)) {
    for (const { name, path } of models) {
      const answers = join(out, 'answers', `${name}.${measure}.jsonl`);
      if (existsSync(answers)) continue;
      say(`${name}: ${measure}`);
      const named = tasks.flatMap(([task, stem]) => ['--task', `${task}:${file(stem)}`]);
      cream(['eval', '--model', path, ...named, ...flags, '--out', answers]);
    }
  }
  const { accuracyOf, byTask } = await import('../../dist/evaluate/intervals.js');
  const { compareRegistered: compare } = await import('./bootstrap.mjs');
  process.stdout.write(tables(out, models, { compare, accuracyOf, byTask }));
});

/** A run with the default recipe and `settings`; evaluation follows later, for all models alike. */
function run(directory, settings) {
  if (existsSync(join(directory, 'summary.json'))) return;
  say(directory);
  const recipe = join(root, 'recipes/quickstart.yaml');
  cream([
    'run',
    recipe,
    '--out',
    directory,
    ...['evaluate.tasks=[]', ...settings].flatMap((setting) => ['--set', setting]),
  ]);
}

function cream(args) {
  const { status, error } = spawnSync(process.execPath, [join(root, 'dist/cli/main.js'), ...args], {
    stdio: ['ignore', 2, 2],
  });
  if (error) throw error;
  if (status !== 0)
    throw new SetupError(
      `cream ${args.join(' ')} ended with ${status}: see above; the same command goes on ` +
        'from there.',
    );
}

function read(file) {
  return readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

function percent(x) {
  return (x * 100).toFixed(1);
}

function signed(x) {
  return `${x >= 0 ? '+' : '−'}${percent(Math.abs(x))}`;
}

function tables(out, models, { compare, accuracyOf, byTask }) {
  const answers = (name, measure) => read(join(out, 'answers', `${name}.${measure}.jsonl`));
  const lines = [];
  const table = (title, head, rows) =>
    lines.push(
      '',
      `### ${title}`,
      '',
      `| ${head.join(' | ')} |`,
      `|${head.map(() => ' --- ').join('|')}|`,
      ...rows.map((row) => `| ${row.join(' | ')} |`),
    );
  for (const measure of Object.keys(MEASURES)) {
    const before = answers('M1', measure);
    const tasks = byTask(before).map(({ task }) => task);
    const rows = models.map(({ name }) => {
      const after = answers(name, measure);
      const { accuracy, low, high } = accuracyOf(after);
      const c = compare(before, after);
      const paired =
        name === 'M1'
          ? ['', '']
          : [
              `${signed(c.difference)} (${signed(c.low)} … ${signed(c.high)})`,
              c.p < 0.001 ? '< 0.001' : c.p.toFixed(3),
            ];
      return [
        name,
        ...byTask(after).map(({ answers: of }) => percent(accuracyOf(of).accuracy)),
        `${percent(accuracy)} (${percent(low)} – ${percent(high)})`,
        ...paired,
      ];
    });
    table(
      `Accuracy by ${measure}, %`,
      ['model', ...tasks, 'all (95 %)', 'against M1, paired (95 %)', 'p'],
      rows,
    );
  }
  const column = (row, name, digits = 2) =>
    row[name] === undefined ? '' : row[name].toFixed(digits);
  const rows = models
    .filter(({ t }) => t)
    .map(({ method, seed, t, directory }) => {
      const row = read(join(directory, 'metrics.jsonl')).find(
        (r) => r.stage === 'iteration' && r.iteration === t,
      );
      return [
        method,
        seed,
        t,
        column(row, 'cream/consistency'),
        column(row, 'cream/kendall'),
        column(row, 'cream/pairs_kept', 0),
        column(row, 'cream/ranking_accuracy'),
        column(row, 'cream/sample_accuracy', 3),
        column(row, 'cream/chosen_accuracy', 3),
        column(row, 'cream/rejected_accuracy', 3),
        column(row, 'cream/pair_margin'),
        column(row, 'cream/kl_token', 4),
        column(row, 'cream/completion_length', 1),
        column(row, 'cream/distinct_2'),
      ];
    });
  table(
    'Iteration by iteration',
    [
      'method',
      'seed',
      't',
      'C',
      'τ',
      'pairs',
      'ranking accuracy',
      'right samples',
      'right chosen',
      'right rejected',
      'margin, nats',
      'KL a token',
      'length',
      'distinct-2',
    ],
    rows,
  );
  return `${lines.join('\n')}\n`;
}
