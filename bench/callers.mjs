// `node bench/callers.mjs [model] [callers] [tokens]`: the throughput of concurrent
// LanguageModel.generate() calls on one model, divided by that of the same calls one after another.
// Both give the same tokens. There are three alternating rounds; run it on an idle machine after
// `npm run build`.
import { loadModel } from '../dist/index.js';

const [name = 'smollm2-135m-instruct', callers = '8', tokens = '128'] = process.argv.slice(2);
const questions = [
  'Why is the sky blue?',
  'Name three uses of copper.',
  'Write a short poem about rain.',
  'How do I boil an egg?',
  'What is a prime number?',
  'Describe the sea in autumn.',
  'Explain gravity to a child.',
  'Give me a plan for a quiet weekend.',
];

const lm = await loadModel(name);
const call = (i) =>
  lm.generate(questions[i % questions.length], { maxNewTokens: Number(tokens), seed: i });
const calls = Array.from({ length: Number(callers) }, (_, i) => i);

async function timed(work) {
  const begun = performance.now();
  const completions = await work();
  const seconds = (performance.now() - begun) / 1000;
  const count = completions.reduce((sum, completion) => sum + completion.tokens.length, 0);
  return { rate: count / seconds, texts: completions.map(({ text }) => text).join('\n') };
}

await call(0);
const ratios = [];
for (let round = 1; round <= 3; round++) {
  const apart = await timed(async () => {
    const completions = [];
    for (const i of calls) completions.push(await call(i));
    return completions;
  });
  const together = await timed(() => Promise.all(calls.map(call)));
  if (apart.texts !== together.texts) throw new Error('concurrent calls gave other texts');
  ratios.push(together.rate / apart.rate);
  console.log(
    `round ${round}: one after another ${apart.rate.toFixed(1)} tokens/s, ${callers} together ` +
      `${together.rate.toFixed(1)} tokens/s, ${ratios.at(-1).toFixed(2)} ×`,
  );
}
console.log(`median ${ratios.sort((a, b) => a - b)[1].toFixed(2)} ×`);
await lm.dispose();
