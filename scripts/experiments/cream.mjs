// The experiment that docs/experiments/cream.md registers, from its data to its tables: M1 by SFT
// for every seed, then every arm from the same M1. All models are measured in the same way.
//
//   node scripts/experiments/cream.mjs --data DIR [--plan full|pilot|smoke] [--out runs/cream]
//     [--model gemma3=PATH …] [--only smollm2 …] [--also temporal …] [--device cuda] [--jobs 8]
//     [--write docs/EXPERIMENTS.md]
//
// DIR holds the files that cream-plans.mjs names, as JSONL. --only leaves out the plan's other
// models; --jobs runs that many commands at a time, which a GPU has room for. Finished parts are
// kept, so the same command resumes. Tables are made only when everything is finished: they go to
// stdout, and with --write between the plan's markers of that page.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMain, say, SetupError } from '../steps.mjs';
import {
  ARMS,
  DEMONSTRATIONS,
  DEVICES,
  EXPLORATORY,
  PAIRS,
  PLANS,
  PROMPTS,
  TASKS,
} from './cream-plans.mjs';
import { experimentTables } from './cream-tables.mjs';
import { commands, everyOne, readLines } from './support.mjs';

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      plan: { type: 'string', default: 'full' },
      out: { type: 'string' },
      model: { type: 'string', multiple: true, default: [] },
      only: { type: 'string', multiple: true, default: [] },
      also: { type: 'string', multiple: true, default: [] },
      device: { type: 'string', default: 'cpu' },
      jobs: { type: 'string', default: '1' },
      write: { type: 'string' },
    },
  });
  const known = (option, name, all) => {
    if (Object.hasOwn(all, name)) return all[name];
    throw new SetupError(`--${option} ${name} is not known: ${Object.keys(all).join(', ')}.`);
  };
  const registered = known('plan', values.plan, PLANS);
  for (const arm of values.also) known('also', arm, EXPLORATORY);
  for (const model of values.only) known('only', model, registered.models);
  const jobs = Number(values.jobs);
  if (!Number.isInteger(jobs) || jobs < 1)
    throw new SetupError(`--jobs ${values.jobs} is no number of commands.`);
  const plan = { ...registered, arms: [...registered.arms, ...values.also] };
  const experiment = {
    plan,
    device: known('device', values.device, DEVICES),
    data: dataFolder(values.data, plan),
    out: values.out ?? join('runs', `cream-${values.plan}`),
    models: modelsOf(plan, values.model, values.only),
    ...commands(jobs),
  };
  const trained = await everyOne(
    Object.keys(experiment.models).flatMap((model) =>
      plan.seeds.map((seed, block) => trainSeed(experiment, { model, seed, block })),
    ),
  );
  const tables = await experimentTables(plan, trained.flat());
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

function modelsOf({ models }, given, only) {
  const paths = Object.fromEntries(given.map((pair) => pair.split(/=(.*)/s, 2)));
  const wanted = Object.entries(models).filter(
    ([name]) => only.length === 0 || only.includes(name),
  );
  return Object.fromEntries(
    wanted.map(([name, standard]) => {
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

/**
 * M1 and every arm of one model and seed, trained and measured; `block` numbers the seed's
 * questions.
 */
async function trainSeed(experiment, of) {
  const { plan, device, data, out, models, trainRun } = experiment;
  const { model, seed } = of;
  const folder = (name) => join(out, model, String(seed), name);
  const common = [`model=${models[model]}`, `seed=${seed}`, 'evaluate.tasks=[]'];
  const settings = [...plan.settings, ...device.settings];
  const sft = settings.filter((setting) => setting.startsWith('sft.'));
  const rest = settings.filter((setting) => !setting.startsWith('sft.'));
  const first = folder('m1');
  await trainRun(first, [
    ...common,
    'iterations=0',
    `sft.source=${file(data, DEMONSTRATIONS)}`,
    ...sft,
    ...rest.filter((setting) => /^(?:dtype|device)=/.test(setting)),
  ]);
  const m1 = join(first, 'sft/checkpoint');
  const prompts = PROMPTS.map((stem) => file(data, stem)).join(', ');
  const trainArm = async (arm) => {
    const directory = folder(arm);
    await trainRun(directory, [
      ...common,
      `iterations=${plan.iterations}`,
      `sft.checkpoint=${m1}`,
      `prompts.source=[${prompts}]`,
      ...rest,
      ...(ARMS[arm] ?? EXPLORATORY[arm]),
    ]);
    const last = join(directory, `iteration-${plan.iterations}`);
    return measured(experiment, { ...of, arm, directory, checkpoint: join(last, 'checkpoint') });
  };
  return everyOne([
    measured(experiment, { ...of, arm: 'M1', directory: first, checkpoint: m1 }),
    ...plan.arms.map(trainArm),
  ]);
}

/** Greedy answers to the seed's questions, log-likelihoods of all, ranking of human pairs. */
async function measured({ plan, device, data, out, models, cream }, one) {
  const { model, block, arm, seed, directory, checkpoint } = one;
  const exact = plan.settings.filter((setting) => setting.startsWith('dtype='));
  const dtype = exact.flatMap((setting) => ['--dtype', setting.slice('dtype='.length)]);
  const options = [...dtype, ...device.options];
  const limit = ['--count', String(plan.questions)];
  const make = async (name, what, args, capture = false) => {
    const target = join(directory, name);
    if (existsSync(target)) return;
    say(`${model}, seed ${seed}, ${arm}: ${what}`);
    const written = capture ? [] : ['--out', target];
    const text = await cream([...args, ...written], { capture, log: `${target}.log` });
    if (!capture) return;
    writeFileSync(`${target}.part`, text);
    renameSync(`${target}.part`, target);
  };
  await make('greedy.jsonl', 'greedy answers', [
    ...['eval', '--model', checkpoint, ...options, ...limit, ...device.evaluation],
    ...['--max-new-tokens', String(plan.answerTokens)],
    ...Object.keys(TASKS).flatMap((task) => [
      '--task',
      `${task}:${blockOf(data, out, task, plan, block)}`,
    ]),
  ]);
  await make('likelihood.jsonl', 'log-likelihoods', [
    ...['eval', '--model', checkpoint, ...options, ...limit, '--method', 'loglikelihood'],
    ...Object.entries(TASKS).flatMap(([task, stem]) => ['--task', `${task}:${file(data, stem)}`]),
  ]);
  const ranking = [
    ...['rank-eval', '--pairs', file(data, PAIRS), '--count', String(plan.pairs), ...options],
    ...['--base', models[model], '--model', checkpoint, '--json'],
    ...['--rewards', 'implicit', 'implicit_mean', 'implicit_controlled', 'likelihood'],
  ];
  await make('rank-eval.json', 'ranking of human pairs', ranking, true);
  return one;
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
