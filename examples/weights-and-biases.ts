/**
 * A run that Weights & Biases follows. It needs WANDB_API_KEY and no package.
 *
 *   node examples/weights-and-biases.ts entity/project/name [directory] [model] (Node ≥ 22.18;
 *   before that: npx tsx examples/…)
 *
 * W&B documents no HTTP interface, so these are the requests of its own client, @wandb/sdk. GraphQL
 * makes the run, and each row of its history is written at its number, so that rows which are sent
 * again after a stop appear once.
 */
import { parseRecipe, run, type MetricsSink } from 'cream-lm';

const [path = '', directory = 'runs/wandb', model = 'smollm2-135m-instruct'] =
  process.argv.slice(2);
const [entity, project, name] = path.split('/');
const host = process.env.WANDB_BASE_URL ?? 'https://api.wandb.ai';
const key = Buffer.from(`api:${process.env.WANDB_API_KEY}`).toString('base64');
const headers = { authorization: `Basic ${key}`, 'content-type': 'application/json' };
const post = async (to: string, body: object) => {
  const answer = await fetch(host + to, { method: 'POST', headers, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok || text.includes('"errors"')) throw new Error(`W&B: ${answer.status} ${text}`);
};
const MAKE = `mutation ($entity: String, $project: String, $name: String, $config: JSONString) {
  upsertBucket(input: {entityName: $entity, modelName: $project, name: $name, config: $config}) {
    bucket { id } } }`;
const stream = `/files/${entity}/${project}/${name}/file_stream`;

const wandb: MetricsSink = {
  name: 'wandb',
  open: ({ recipe }) => {
    const config = JSON.stringify({ recipe: { value: recipe } });
    return post('/graphql', { query: MAKE, variables: { entity, project, name, config } });
  },
  log: (rows, first) => {
    const content = rows.map((row, i) =>
      JSON.stringify({ ...row, _step: first + i, _timestamp: row['perf/time'] }),
    );
    return post(stream, { files: { 'wandb-history.jsonl': { offset: first, content } } });
  },
  close: ({ finished }) => finished && post(stream, { complete: true, exitcode: 0 }),
};

const recipe = parseRecipe(
  'iterations: 1\nprompts: {count: 8}\nsample: {samples: 4, max_new_tokens: 64}\n' +
    'evaluate: {count: 16}\n',
  'wandb',
  [`model=${model}`],
);
for await (const event of run(recipe, { directory, sinks: [wandb] }))
  if (event.type === 'warning') console.warn(event.message);
