// The experiment that docs/experiments/cream.md registers, from its data to its tables: M1 by SFT
// for every seed, then every arm from the same M1. All models are measured in the same way.
//
//   node scripts/experiments/cream.mjs --data DIR [--plan full|pilot|smoke] [--out runs/cream]
//     [--model gemma3=PATH …] [--only smollm2 …] [--also temporal …] [--device cuda] [--jobs 8]
//     [--seed 189 …] [--arm srlm …] [--results DIR] [--other-data] [--write docs/EXPERIMENTS.md]
//
// DIR of --data holds the files that cream-plans.mjs names, as JSONL with the digests that it has;
// --other-data allows others. --only leaves out the plan's other models; --seed and --arm make a
// part of the plan now and the rest at another time; --jobs runs that many commands at a time,
// which a GPU has room for. Finished parts are kept, so the same command resumes. What a model's
// measurements say goes to a small file under --results (OUT/results); a model that has one is not
// made again, wherever that was. Tables are made only when every model has one: they go to stdout,
// and with --write between the plan's markers of that page, where the tables of models that --only
// leaves out stay. RESULTS/PLAN/MODEL.json may hold the published figures of such a model for the
// primary table.
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
import { keepResults, readResults } from './cream-results.mjs';
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
      seed: { type: 'string', multiple: true, default: [] },
      arm: { type: 'string', multiple: true, default: [] },
      results: { type: 'string' },
      'other-data': { type: 'boolean', default: false },
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
  const wanted = (option, all) => {
    const listed = Object.fromEntries(all.map((one) => [one, one]));
    const chosen = values[option].map((name) => known(option, name, listed));
    return chosen.length === 0 ? all : chosen;
  };
  const out = values.out ?? join('runs', `cream-${values.plan}`);
  const experiment = {
    plan,
    arms: wanted('arm', plan.arms),
    device: known('device', values.device, DEVICES),
    out,
    results: join(values.results ?? join(out, 'results'), values.plan),
    ...commands(jobs),
  };
  const seeds = wanted('seed', plan.seeds);
  const models = values.only.length === 0 ? Object.keys(plan.models) : values.only;
  const all = models.flatMap((model) =>
    plan.seeds.flatMap((seed) => ['M1', ...plan.arms].map((arm) => ({ model, seed, arm }))),
  );
  const missing = () => all.filter((one) => !existsSync(resultsFile(experiment, one)));
  if (missing().length > 0) {
    experiment.models = modelsOf(plan, values.model, models);
    experiment.data = dataFolder(values.data, plan, values['other-data']);
    await everyOne(
      models.flatMap((model) => seeds.map((seed) => trainSeed(experiment, { model, seed }))),
    );
  }
  if (missing().length > 0) {
    say(`${missing().length} of ${all.length} models have no results yet, so no tables are made.`);
    return;
  }
  const records = all.map((one) => ({ ...one, ...readResults(resultsFile(experiment, one)) }));
  const published = Object.fromEntries(
    Object.keys(plan.models)
      .map((model) => [model, join(experiment.results, `${model}.json`)])
      .filter(([, path]) => existsSync(path))
      .map(([model, path]) => [model, readResults(path)]),
  );
  const { primary, sections } = await experimentTables(plan, records, published);
  process.stdout.write([primary, ...Object.values(sections)].join(''));
  if (values.write !== undefined)
    writeBetween(values.write, values.plan, (old) => {
      const kept = { ...sectionsIn(old), ...sections };
      return [primary, ...Object.keys(plan.models).map((model) => kept[model] ?? '')].join('');
    });
});

/** The folder of --data, once it is known to hold the files that were registered. */
function dataFolder(data, { seeds, digests }, other) {
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
  const differing = files.filter(
    (stem) => digests !== undefined && digestOf(file(data, stem)) !== digests[stem],
  );
  if (differing.length > 0 && !other)
    throw new SetupError(
      `${differing.map((stem) => file(data, stem)).join(', ')}: not the data that was registered ` +
        '(docs/experiments/cream.md has the digests). Give --other-data to run with them; the ' +
        'results are then another experiment, so name another folder for --results too.',
    );
  return data;
}

function digestOf(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function modelsOf({ models }, given, wanted) {
  const paths = Object.fromEntries(given.map((pair) => pair.split(/=(.*)/s, 2)));
  return Object.fromEntries(
    wanted.map((name) => {
      const path = paths[name] ?? models[name];
      if (path === null)
        throw new SetupError(`The plan needs a file of ${name}: add --model ${name}=PATH.`);
      return [name, path];
    }),
  );
}

function file(data, stem) {
  return join(data, `${stem}.jsonl`);
}

function resultsFile({ results }, { model, seed, arm }) {
  return join(results, model, String(seed), `${arm}.json`);
}

/** M1 and the wanted arms of one model and seed, trained and measured, if they are not yet. */
async function trainSeed(experiment, of) {
  const { plan, arms, device, data, out, models, trainRun } = experiment;
  const { model, seed } = of;
  const missing = ['M1', ...arms].filter(
    (arm) => !existsSync(resultsFile(experiment, { ...of, arm })),
  );
  if (missing.length === 0) return;
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
  const trainArm = (arm) =>
    trainRun(folder(arm), [
      ...common,
      `iterations=${plan.iterations}`,
      `sft.checkpoint=${m1}`,
      `prompts.source=[${prompts}]`,
      ...rest,
      ...(ARMS[arm] ?? EXPLORATORY[arm]),
    ]);
  const made = await everyOne(
    missing.map(async (arm) => {
      const isFirst = arm === 'M1';
      const directory = isFirst ? first : folder(arm);
      const last = join(directory, `iteration-${plan.iterations}`, 'checkpoint');
      const one = { ...of, arm, directory, checkpoint: isFirst ? m1 : last };
      if (!isFirst) await trainArm(arm);
      await answer(experiment, one);
      return { ...one, iterations: isFirst ? 0 : plan.iterations };
    }),
  );
  await rankPairs(experiment, made);
  for (const one of made) keepResults(resultsFile(experiment, one), one.directory, one.iterations);
}

/** Options of every measurement. */
function measuring({ plan, device }) {
  const exact = plan.settings.filter((setting) => setting.startsWith('dtype='));
  const dtype = exact.flatMap((setting) => ['--dtype', setting.slice('dtype='.length)]);
  return [...dtype, ...device.options];
}

/** Greedy answers of one model to the questions of its seed, and log-likelihoods of all. */
async function answer(experiment, { model, seed, arm, directory, checkpoint }) {
  const { plan, device, data, out, cream } = experiment;
  const block = plan.seeds.indexOf(seed);
  const make = async (name, what, options) => {
    const target = join(directory, name);
    if (existsSync(target)) return;
    say(`${model}, seed ${seed}, ${arm}: ${what}`);
    const count = ['--count', String(plan.questions)];
    const args = ['eval', '--model', checkpoint, ...measuring(experiment), ...count, ...options];
    await cream([...args, '--out', target], { log: `${target}.log` });
  };
  await make('greedy.jsonl', 'greedy answers', [
    ...[...device.evaluation, '--max-new-tokens', String(plan.answerTokens)],
    ...Object.keys(TASKS).flatMap((task) => [
      '--task',
      `${task}:${blockOf(data, out, task, plan, block)}`,
    ]),
  ]);
  await make('likelihood.jsonl', 'log-likelihoods', [
    ...['--method', 'loglikelihood'],
    ...Object.entries(TASKS).flatMap(([task, stem]) => ['--task', `${task}:${file(data, stem)}`]),
  ]);
}

/** How models of one seed rank human pairs: one command, which scores the base model once. */
async function rankPairs(experiment, made) {
  const { plan, data, models, cream } = experiment;
  const target = ({ directory }) => join(directory, 'rank-eval.json');
  const missing = made.filter((one) => !existsSync(target(one)));
  if (missing.length === 0) return;
  const { model, seed } = missing[0];
  say(`${model}, seed ${seed}: ranking of human pairs`);
  const args = [
    ...['rank-eval', '--pairs', file(data, PAIRS), '--count', String(plan.pairs)],
    ...[...measuring(experiment), '--base', models[model], '--json'],
    ...missing.flatMap(({ checkpoint }) => ['--model', checkpoint]),
    ...['--rewards', 'implicit', 'implicit_mean', 'implicit_controlled', 'likelihood'],
  ];
  const text = await cream(args, { capture: true, log: `${target(missing[0])}.log` });
  const rows = JSON.parse(text);
  for (const one of missing) {
    // Length alone belongs to no model.
    const own = rows.filter((row) => row.model === one.checkpoint || row.model === '');
    writeFileSync(`${target(one)}.part`, JSON.stringify(own));
    renameSync(`${target(one)}.part`, target(one));
  }
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

/** The tables of each model in what an earlier call wrote. */
function sectionsIn(tables) {
  const sections = tables.split(/\n(?=### )/).slice(1);
  return Object.fromEntries(
    sections.map((text) => [/^### (.*)/.exec(text)[1], `\n${text.trimEnd()}\n`]),
  );
}

/** Replaces the tables of a plan by what `make` returns for the old ones. */
function writeBetween(page, plan, make) {
  const text = readFileSync(page, 'utf8');
  const [begin, end] = [`<!-- ${plan}: tables -->`, `<!-- ${plan}: end -->`];
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from)
    throw new SetupError(`${page} has no lines ${begin} and ${end} to put the tables between.`);
  const head = text.slice(0, from + begin.length);
  const tables = make(text.slice(head.length, to));
  writeFileSync(page, `${head}\n${tables}\n${text.slice(to)}`);
}
