/**
 * A model in a worker thread. The engine always computes on a thread of its own. A worker also
 * takes tokenizer, chat template and decoding off the main thread.
 *
 *   node examples/model-in-a-worker.ts [model] (Node ≥ 24; before that: npx tsx examples/…)
 */
import { on, once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadModel } from 'cream-lm';

/** Answers questions until the main thread sends null. */
async function work(model: string): Promise<void> {
  const questions = on(parentPort!, 'message');
  // `await using` frees the model at the end of the block, also after an exception.
  await using lm = await loadModel(model);
  parentPort!.postMessage('ready');
  for await (const [question] of questions as AsyncIterable<[string | null]>) {
    if (question === null) break;
    const { text, tokens } = await lm.generate(question, { maxNewTokens: 32, seed: 1 });
    parentPort!.postMessage({ text, tokens: tokens.length });
  }
  parentPort!.close();
}

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: process.argv[2] ?? 'smollm2-135m-instruct',
  });
  await once(worker, 'message');
  for (const question of ['What is a thread?', 'What is a worker?']) {
    worker.postMessage(question);
    const [answer] = (await once(worker, 'message')) as [{ text: string; tokens: number }];
    console.log(`${answer.tokens} tokens: ${JSON.stringify(answer.text)}`);
  }
  worker.postMessage(null);
  const [code] = (await once(worker, 'exit')) as [number];
  console.log(`the worker ended with ${code}`);
} else await work(workerData as string);
