/**
 * The log-probs of several answers to one question. The shared question is computed once, whatever
 * the number of candidates.
 *
 *   node examples/score-candidates.ts [model] (Node ≥ 22.18; before that: npx tsx examples/…)
 */
import { loadModel } from 'cream-lm';

const lm = await loadModel(process.argv[2] ?? 'smollm2-135m-instruct');
const question = 'What is the capital of France?';
const candidates = [
  'The capital of France is Paris.',
  'The capital of France is Lyon.',
  'Bananas are yellow.',
];

// log π(answer | question) in nats, end-of-turn token included
const sums = await lm.score(question, candidates);
const tokens = await Promise.all(candidates.map((candidate) => lm.encodeCompletion(candidate)));
const ranked = candidates
  .map((candidate, i) => ({
    candidate,
    sum: sums[i]!,
    mean: sums[i]! / tokens[i]!.length,
  }))
  .sort((a, b) => b.mean - a.mean); // a mean does not favour short answers as a sum does

for (const { candidate, sum, mean } of ranked)
  console.log(`${mean.toFixed(3)} nats per token  ${sum.toFixed(2)} in all  ${candidate}`);
await lm.dispose();
