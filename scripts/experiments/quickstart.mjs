// The test of the quickstart's settings that docs/experiments/quickstart.md registers.
//
//   node scripts/experiments/quickstart.mjs [--out runs/quickstart-test] [--seeds 9273,1405]
//     [--set key=value …] > table.md
//
// Each run is recipes/quickstart.yaml with another seed. Only the models that the metric compares
// are evaluated: after SFT and after iteration 2. Finished runs are kept, so the same command
// resumes. The table goes to stdout, progress to stderr.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runMain, say } from '../steps.mjs';
import { commands, percent, readLines, shownP, signed } from './support.mjs';

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
  const { cream, trainRun } = commands();
  const rows = [];
  for (const seed of values.seeds.split(',')) {
    const directory = join(values.out, seed);
    await trainRun(directory, ['evaluate.tasks=[]', `seed=${seed}`, ...values.set]);
    const answers = {};
    for (const [name, path] of Object.entries(MODELS)) {
      const file = join(directory, `${name}.jsonl`);
      if (!existsSync(file)) {
        say(`seed ${seed}: ${name}`);
        const model = join(directory, path);
        await cream(['eval', '--model', model, ...QUESTIONS, '--seed', seed, '--out', file]);
      }
      answers[name] = readLines(file).map((answer) => ({
        ...answer,
        task: `${answer.task} ${seed}`,
      }));
    }
    rows.push({ seed, ...answers, metrics: readLines(join(directory, 'metrics.jsonl')) });
  }
  const { compareRegistered } = await import('./bootstrap.mjs');
  process.stdout.write(table(rows, compareRegistered));
});

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
  const cells = [
    name,
    percent(c.before),
    percent(c.after),
    `${signed(c.difference)} (${signed(c.low)} … ${signed(c.high)})`,
    `${c.onlyAfter}, ${c.onlyBefore}`,
    shownP(c.p),
    consistency,
  ];
  return `| ${cells.join(' | ')} |`;
}
