// The test of the quickstart's settings that docs/experiments/quickstart.md registers.
//
//   node scripts/experiments/quickstart.mjs [--out runs/quickstart-test] [--seeds 9273,1405]
//     [--set key=value …] > table.md
//
// Each run is recipes/quickstart.yaml with another seed. Only the models that the metric compares
// are evaluated: after SFT and after iteration 2. Finished runs are kept, so the same command
// resumes. The table goes to stdout, progress to stderr.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, runMain, say, SetupError } from '../steps.mjs';

const SEEDS = '9273,1405,4668,9783,7276';
const MODELS = { before: 'sft/checkpoint', after: 'iteration-2/checkpoint' };
const QUESTIONS = ['--task', 'builtin', '--count', '96', '--max-new-tokens', '96'];

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: 'runs/quickstart-test' },
      seeds: { type: 'string', default: SEEDS },
      set: { type: 'string', multiple: true, default: [] },
    },
  });
  const rows = values.seeds.split(',').map((seed) => {
    const directory = join(values.out, seed);
    trainRun(directory, ['evaluate.tasks=[]', `seed=${seed}`, ...values.set]);
    const [before, after] = Object.entries(MODELS).map(([name, path]) => {
      const answers = join(directory, `${name}.jsonl`);
      if (!existsSync(answers)) {
        say(`seed ${seed}: ${name}`);
        const model = join(directory, path);
        cream(['eval', '--model', model, ...QUESTIONS, '--seed', seed, '--out', answers]);
      }
      return read(answers).map((answer) => ({ ...answer, task: `${answer.task} ${seed}` }));
    });
    return { seed, before, after, metrics: read(join(directory, 'metrics.jsonl')) };
  });
  const { compare } = await import('../../dist/evaluate/intervals.js');
  process.stdout.write(table(rows, compare));
});

function trainRun(directory, settings) {
  if (existsSync(join(directory, 'summary.json'))) return;
  say(directory);
  const recipe = join(root, 'recipes/quickstart.yaml');
  cream(['run', recipe, '--out', directory, ...settings.flatMap((setting) => ['--set', setting])]);
}

function cream(args) {
  const main = join(root, 'dist/cli/main.js');
  const { status, error } = spawnSync(process.execPath, [main, ...args], {
    stdio: ['ignore', 2, 2],
  });
  if (error) throw error;
  if (status !== 0)
    throw new SetupError(
      `cream ${args.join(' ')} ended with ${status}: see above; the same command resumes.`,
    );
}

function read(file) {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line));
}

function table(rows, compare) {
  const consistency = (metrics) =>
    metrics
      .flatMap((row) => (row.stage === 'iteration' ? [row['cream/consistency'].toFixed(2)] : []))
      .join(', ');
  const all = (key) => rows.flatMap((row) => row[key]);
  const lines = [
    ...rows.map(({ seed, before, after, metrics }) =>
      line(seed, compare(before, after), consistency(metrics)),
    ),
    line('all', compare(all('before'), all('after')), ''),
  ];
  return [
    '| seed | after SFT, % | after iteration 2, % | difference (95 %) | won, lost | p | C |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

function line(name, c, consistency) {
  const percent = (share) => (share * 100).toFixed(1);
  const signed = (share) => `${share < 0 ? '−' : '+'}${percent(Math.abs(share))}`;
  const cells = [
    name,
    percent(c.before),
    percent(c.after),
    `${signed(c.difference)} (${signed(c.low)} … ${signed(c.high)})`,
    `${c.onlyAfter}, ${c.onlyBefore}`,
    c.p < 0.001 ? '< 0.001' : c.p.toFixed(3),
    consistency,
  ];
  return `| ${cells.join(' | ')} |`;
}
