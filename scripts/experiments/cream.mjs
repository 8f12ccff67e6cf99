// The experiment that docs/experiments/cream.md registers, from its data to its tables: M1 by SFT
// for every seed, then every arm from the same M1. All models are measured in the same way.
//
//   node scripts/experiments/cream.mjs --data DIR [--plan full|pilot|smoke] [--out runs/cream]
//     [--model gemma3=PATH …] [--also temporal …] [--write docs/EXPERIMENTS.md]
//
// DIR holds the files that cream-plans.mjs names, as JSONL. Finished parts are kept, so the same
// command resumes. Tables are made only when everything is finished: they go to stdout, and with
// --write between the plan's markers of that page.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMain, say, SetupError } from '../steps.mjs';
import { ARMS, EXPLORATORY, DEMONSTRATIONS, PAIRS, PLANS, PROMPTS, TASKS } from './cream-plans.mjs';
import { experimentTables } from './cream-tables.mjs';
import { cream, readLines, trainRun } from './support.mjs';

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      plan: { type: 'string', default: 'full' },
      out: { type: 'string' },
      model: { type: 'string', multiple: true, default: [] },
      also: { type: 'string', multiple: true, default: [] },
      write: { type: 'string' },
    },
  });
  const registered = PLANS[values.plan];
  if (registered === undefined)
    throw new SetupError(`--plan ${values.plan} is not known: ${Object.keys(PLANS).join(', ')}.`);
  const unknown = values.also.find((arm) => EXPLORATORY[arm] === undefined);
  if (unknown !== undefined)
    throw new SetupError(`--also ${unknown} is not known: ${Object.keys(EXPLORATORY).join(', ')}.`);
  const plan = { ...registered, arms: [...registered.arms, ...values.also] };
  const experiment = {
    plan,
    data: dataFolder(values.data, plan),
    out: values.out ?? join('runs', `cream-${values.plan}`),
    models: modelsOf(plan, values.model),
  };
  const trained = Object.keys(experiment.models).flatMap((model) =>
    plan.seeds.flatMap((seed, block) => trainSeed(experiment, model, seed, block)),
  );
  for (const one of trained) measure(experiment, one);
  const tables = await experimentTables(plan, trained);
  process.stdout.write(tables);
  if (values.write !== undefined) writeBetween(values.write, values.plan, tables);
});

function dataFolder(data, { seeds }) {
  const files = [DEMONSTRATIONS, PAIRS, ...PROMPTS, ...Object.values(TASKS)];
  const missing = data === undefined ? [] : files.filter((stem) => !existsSync(file(data, stem)));
  if (data === undefined || missing.length > 0)
    throw new SetupError(
      data === undefined
        ? `--data is missing: name the folder that holds ${files.join('.jsonl, ')}.jsonl.`
        : `${data} lacks ${missing.map((stem) => `${stem}.jsonl`).join(', ')}.`,
    );
  for (const stem of Object.values(TASKS)) {
    const rows = readLines(file(data, stem)).length;
    if (rows < seeds.length)
      throw new SetupError(`${file(data, stem)} has ${rows} rows, fewer than there are seeds.`);
  }
  return data;
}

function modelsOf({ models }, given) {
  const paths = Object.fromEntries(given.map((pair) => pair.split(/=(.*)/s, 2)));
  return Object.fromEntries(
    Object.entries(models).map(([name, standard]) => {
      const path = paths[name] ?? standard;
      if (path === null)
        throw new SetupError(`The plan needs a file of ${name}: add --model ${name}=PATH.`);
      return [name, path];
    }),
  );
}

function file(data, stem) {
  return join(data, `${stem}.jsonl`);
}

/** M1 and every arm of one model and seed; `block` numbers the seed's questions. */
function trainSeed({ plan, data, out, models }, model, seed, block) {
  const folder = (name) => join(out, model, String(seed), name);
  const common = [`model=${models[model]}`, `seed=${seed}`, 'evaluate.tasks=[]'];
  const sft = plan.settings.filter((setting) => setting.startsWith('sft.'));
  const rest = plan.settings.filter((setting) => !setting.startsWith('sft.'));
  const source = `sft.source=${file(data, DEMONSTRATIONS)}`;
  const first = folder('m1');
  trainRun(first, [
    ...common,
    'iterations=0',
    source,
    ...sft,
    ...rest.filter((setting) => setting.startsWith('dtype=')),
  ]);
  const m1 = join(first, 'sft/checkpoint');
  const of = { model, seed, block };
  return [
    { ...of, arm: 'M1', directory: first, checkpoint: m1 },
    ...plan.arms.map((arm) => {
      const directory = folder(arm);
      const prompts = PROMPTS.map((stem) => file(data, stem)).join(', ');
      trainRun(directory, [
        ...common,
        `iterations=${plan.iterations}`,
        `sft.checkpoint=${m1}`,
        `prompts.source=[${prompts}]`,
        ...rest,
        ...(ARMS[arm] ?? EXPLORATORY[arm]),
      ]);
      const last = join(directory, `iteration-${plan.iterations}`);
      return { ...of, arm, directory, checkpoint: join(last, 'checkpoint') };
    }),
  ];
}

/** Greedy answers to the seed's questions, log-likelihoods of all, ranking of human pairs. */
function measure({ plan, data, out, models }, { model, block, arm, seed, directory, checkpoint }) {
  const tell = (what) => say(`${model}, seed ${seed}, ${arm}: ${what}`);
  const exact = plan.settings.filter((setting) => setting.startsWith('dtype='));
  const dtype = exact.flatMap((setting) => ['--dtype', setting.slice('dtype='.length)]);
  const limit = ['--count', String(plan.questions)];
  const make = (name, what, args) => {
    const target = join(directory, name);
    if (existsSync(target)) return;
    tell(what);
    cream([...args, '--out', target]);
  };
  make('greedy.jsonl', 'greedy answers', [
    ...['eval', '--model', checkpoint, ...dtype, ...limit, '--save-prompts', '64'],
    ...['--max-new-tokens', String(plan.answerTokens)],
    ...Object.keys(TASKS).flatMap((task) => [
      '--task',
      `${task}:${blockOf(data, out, task, plan, block)}`,
    ]),
  ]);
  make('likelihood.jsonl', 'log-likelihoods', [
    ...['eval', '--model', checkpoint, ...dtype, ...limit, '--method', 'loglikelihood'],
    ...Object.entries(TASKS).flatMap(([task, stem]) => ['--task', `${task}:${file(data, stem)}`]),
  ]);
  const ranking = join(directory, 'rank-eval.json');
  if (existsSync(ranking)) return;
  tell('ranking of human pairs');
  const rated = cream(
    [
      ...['rank-eval', '--pairs', file(data, PAIRS), '--count', String(plan.pairs), ...dtype],
      ...['--base', models[model], '--model', checkpoint, '--json'],
      ...['--rewards', 'implicit', 'implicit_mean', 'implicit_controlled', 'likelihood'],
    ],
    { capture: true },
  );
  writeFileSync(`${ranking}.part`, rated);
  renameSync(`${ranking}.part`, ranking);
}

/**
 * The questions of one seed. Every seed gets different questions of each task, so that no question
 * counts twice when seeds are pooled.
 */
function blockOf(data, out, task, { seeds }, block) {
  const target = join(out, 'questions', String(block), `${task}.jsonl`);
  if (!existsSync(target)) {
    const lines = readFileSync(file(data, TASKS[task]), 'utf8').trimEnd().split('\n');
    const order = lines
      .map((line) => ({ line, key: createHash('sha256').update(line).digest('hex') }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    mkdirSync(join(out, 'questions', String(block)), { recursive: true });
    const chosen = order.filter((_, i) => i % seeds.length === block);
    writeFileSync(target, chosen.map(({ line }) => `${line}\n`).join(''));
  }
  return target;
}

function writeBetween(page, plan, tables) {
  const text = readFileSync(page, 'utf8');
  const [begin, end] = [`<!-- ${plan}: tables -->`, `<!-- ${plan}: end -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from)
    throw new SetupError(`${page} has no lines ${begin} and ${end} to put the tables between.`);
  writeFileSync(page, `${text.slice(0, from + begin.length)}\n${tables}\n${text.slice(to)}`);
}
