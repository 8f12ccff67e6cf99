/**
 * A run that MLflow follows, by its REST API (https://mlflow.org/docs/latest/rest-api.html).
 *
 *   MLFLOW_TRACKING_URI=http://127.0.0.1:5000 node examples/mlflow.ts name [directory] [model]
 *   (Node ≥ 22.18; before that: npx tsx examples/…)
 *
 * If experiment 0 has a run of this name, it is continued. A metric that is sent again after a stop
 * has the same step, time and value, and MLflow keeps it once.
 */
import { parseRecipe, run, type MetricsSink } from 'cream-lm';

const [name = 'cream', directory = 'runs/mlflow', model = 'smollm2-135m-instruct'] =
  process.argv.slice(2);
const post = async (what: string, body: object) => {
  const url = `${process.env.MLFLOW_TRACKING_URI}/api/2.0/mlflow/${what}`;
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`MLflow: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as { run?: Run; runs?: Run[] };
};
type Run = { info: { run_id: string } };
let run_id: string | undefined;

const mlflow: MetricsSink = {
  name: 'mlflow',
  open: async () => {
    const filter = `attributes.run_name = '${name}'`;
    const { runs } = await post('runs/search', { experiment_ids: ['0'], filter, max_results: 1 });
    const start = { experiment_id: '0', run_name: name, start_time: Date.now() };
    run_id = (runs?.[0] ?? (await post('runs/create', start)).run)?.info.run_id;
  },
  log: async (rows) => {
    for (const { step, 'perf/time': seconds, iteration, stage, stage_step, ...columns } of rows) {
      const [timestamp, prefix] = [Math.round(seconds * 1000), stage_step ? `${stage}/` : ''];
      const metrics = Object.entries({ iteration, ...columns }).map(([column, value]) => ({
        key: prefix + column,
        value,
        timestamp,
        step,
      }));
      await post('runs/log-batch', { run_id, metrics });
    }
  },
  close: ({ finished }) =>
    finished && post('runs/update', { run_id, status: 'FINISHED', end_time: Date.now() }),
};

const recipe = parseRecipe(
  'iterations: 1\nprompts: {count: 8}\nsample: {samples: 4, max_new_tokens: 64}\n' +
    'evaluate: {count: 16}\n',
  'mlflow',
  [`model=${model}`],
);
for await (const event of run(recipe, { directory, sinks: [mlflow] }))
  if (event.type === 'warning') console.warn(event.message);
