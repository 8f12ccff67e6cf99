/**
 * Threads and ownership, tested in processes of their own: environments that end while work runs,
 * and handles that are garbage-collected during it. A child that crashes or hangs fails its test
 * and not the test runner. The scripts use the addon directly, without TypeScript.
 */
import { describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tinyModel } from '../support/tiny-model.js';

const addonPath =
  process.env['CREAM_ADDON'] ?? join(import.meta.dirname, '../../build/Release/cream.node');
const folder = tinyModel();
// The addon names no folder of libtorch, and these scripts do without what finds it.
const { root } = JSON.parse(readFileSync(addonPath.replace(/\.node$/, '.json'), 'utf8')) as {
  root: string;
};

const prelude = `
  const { Worker, isMainThread, parentPort } = require('node:worker_threads');
  const addon = require(${JSON.stringify(addonPath)});
  const folder = ${JSON.stringify(folder)};
  const load = async () => {
    const model = new addon.Model();
    await model.load(folder, 'float32', 'cpu').promise;
    return model;
  };
  const request = (samples, maxNewTokens = 200) => ({
    prompts: [{ tokens: Int32Array.of(1, 2, 3), key: 1n, samples, firstSample: 0 }],
    temperature: 1, topP: 1, topK: 0, minNewTokens: 0, maxNewTokens,
    stopIds: new Int32Array(), stopStrings: [], seed: 0n, iteration: 0, maxNumSeqs: 64,
    topLogprobs: 0,
  });
  const group = {
    groups: [{ prompt: Int32Array.of(1), completions: [Int32Array.of(2)] }],
    maxNumBatchedTokens: 64,
  };
  const training = {
    learningRate: 1e-3, beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1,
    schedule: 'linear', warmupSteps: 0, warmupStart: 'zero', totalSteps: 9, loss: 'dpo', beta: 1,
    microBatchTokens: 64,
    activationCheckpointing: true, optimizerStates: 'float32', masterWeights: 'float32',
    gradientDtype: 'float32', shard: 'optimizer', klCoefficient: 0, dropoutSeed: 0n,
    simpoGamma: 0, labelSmoothing: 0,
  };
  const fail = (error) => { console.error(error); process.exit(9); };
  process.on('unhandledRejection', fail);`;

async function run(
  script: string,
  flags: string[] = [],
): Promise<{ code: number | null; signal: string | null; output: string }> {
  const child = spawn(process.execPath, [...flags, '-e', prelude + script], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, FORCE_COLOR: '0', LD_LIBRARY_PATH: join(root, 'lib') },
  });
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  child.stderr.on('data', (data) => {
    output += data;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 280_000);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...ended) => resolve(ended)),
  );
  clearTimeout(timer);
  return { code, signal, output };
}

describe('a process', () => {
  it('ends by itself once nothing runs, disposed or not', async () => {
    expect(
      await run(
        'load().then(async (model) => { await model.generate(request(2, 4)).promise; ' +
          `console.log('done'); })`,
      ),
    ).toEqual({ code: 0, signal: null, output: 'done\n' });
  });

  it('stays alive while work runs that nobody holds', async () => {
    const { code, output } = await run(
      'load().then((model) => { model.score(group).promise.then(({ sums }) => ' +
        'console.log(sums.length)); })',
    );
    expect([code, output]).toEqual([0, '1\n']);
  });

  it.each(['process.exit(3)', 'setImmediate(() => { throw new Error("mine") })'])(
    'exits cleanly by %s in the middle of work',
    async (leave) => {
      const { code, signal, output } = await run(`load().then((model) => {
      model.generate(request(100000), undefined, () => { ${leave} }).promise.catch(() => undefined);
      model.snapshot(true).score(group);
      model.createTrainer(training);
    })`);
      expect({ signal, output: output.replace(/[^]*Error: mine[^]*/, 'mine') }).toEqual({
        signal: null,
        output: leave.startsWith('process') ? '' : 'mine',
      });
      expect(code).toBe(leave.startsWith('process') ? 3 : 1);
    },
  );
});

describe('worker_threads', () => {
  it('each have the addon to themselves, and may be terminated while work runs', async () => {
    const { code, signal, output } = await run(`
      const source = ${JSON.stringify(prelude)} + \`
        load().then(async (model) => {
          const told = (c) => parentPort.postMessage([...c.tokens]);
          await model.generate(request(1, 8), told).promise;
          parentPort.postMessage([]);
          const working = () => parentPort.postMessage('working');
          model.generate(request(100000), undefined, working).promise.catch(() => undefined);
        });\`;
      const one = () => new Promise((resolve, reject) => {
        const worker = new Worker(source, { eval: true });
        let tokens;
        let stopped = false;
        worker.on('error', reject);
        worker.on('message', async (message) => {
          if (Array.isArray(message) && message.length === 8) tokens = message.join();
          if (message !== 'working' || stopped) return;
          stopped = true;
          await worker.terminate();
          resolve(tokens);
        });
      });
      (async () => {
        for (let round = 0; round < 3; round++) {
          const tokens = await Promise.all([one(), one()]);
          if (tokens[0] !== tokens[1] || !tokens[0]) fail(new Error('different: ' + tokens));
        }
        const model = await load();
        await model.score(group).promise;
        console.log('done');
      })().catch(fail);`);
    expect({ code, signal, output }).toEqual({ code: 0, signal: null, output: 'done\n' });
  });
});

describe('garbage collection', () => {
  it('takes handles while their work runs, and frees what nobody disposed of', async () => {
    const { code, signal, output } = await run(
      `
      // A function of its own, so that no variable keeps the last round's handles alive.
      async function round(number, kept) {
        const model = await load();
        const shared = model.snapshot(true);
        let completions = 0;
        const generated = model.generate(request(8, 4), () => completions++).promise;
        kept.push(generated.then(() => { if (completions !== 8) fail(new Error('lost')); }));
        kept.push(shared.score(group).promise);
        const trainer = shared.createTrainer(training);
        const example = { prompt: Int32Array.of(1), completion: Int32Array.of(2, 3) };
        kept.push(trainer.promise.then((it) => it.sftStep([example]).promise));
        if (number % 3 === 0) model.dispose();
      }
      (async () => {
        const kept = [];
        for (let number = 0; number < 30; number++) {
          await round(number, kept);
          global.gc();
        }
        await Promise.all(kept.splice(0));
        for (let i = 0; i < 1000 && addon.engineInfo().weightBytes > 0; i++) {
          global.gc();
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        console.log(addon.engineInfo().weightBytes);
      })().catch(fail);`,
      ['--expose-gc'],
    );
    expect({ code, signal, output }).toEqual({ code: 0, signal: null, output: '0\n' });
  });

  it(
    'of its origin leaves a snapshot whole, and of a snapshot that nobody used waits for no ' +
      'work',
    async () => {
      const { code, signal, output } = await run(
        `
      (async () => {
        const made = await (async () => {
          const model = await load();
          // Every snapshot is now a copy, so the copies queue up.
          await model.createTrainer(training).promise;
          return Array.from({ length: 50 }, () => model.snapshot(true));
        })();
        global.gc();
        for (const snapshot of made) await snapshot.score(group).promise;
        const busy = await load();
        busy.generate(request(1000000)).promise.catch(() => undefined);
        (() => { busy.snapshot(true); })();
        await new Promise((resolve) => setTimeout(resolve, 50));
        global.gc();
        console.log('done');
        process.exit(0);
      })().catch(fail);`,
        ['--expose-gc'],
      );
      expect({ code, signal, output }).toEqual({ code: 0, signal: null, output: 'done\n' });
    },
  );
});
