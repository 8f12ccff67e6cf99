// Weak scaling: a run on one rank, and one on several with as many times the prompts and as many
// times the pairs per step. Every rank has one thread, so that a machine of two cores measures two.
// Perfect scaling does the larger run in the time of the smaller one.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { processGroups } from '../dist/engine/ranks.js';
import { BenchError } from './peers.mjs';
import { short, summarise, withRange } from './statistics.mjs';
import { markdownTable, plainTable } from './tables.mjs';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const RANKS = 2;
const STAGES = ['sample', 'train'];
/** Per rank: [full, quick]. A block is a unit that a rank takes, four of them per rank. */
const SIZES = [
  { prompts: 32, samples: 5, tokens: 48, block: 8, batch: 16 },
  { prompts: 4, samples: 2, tokens: 4, block: 1, batch: 2 },
];
const POLL_MS = 20;
const TICKS_PER_SECOND = 100; // of /proc/PID/stat, on every Linux that Node supports

/** Measures one rank and RANKS of them in alternation. */
export async function measureRanks({ quick, rounds, folder, model, say }) {
  if (!processGroups().gloo)
    throw new BenchError(
      'ranks needs a build with Gloo, whose headers this one had not (docs/scale.md).',
    );
  const size = SIZES[quick ? 1 : 0];
  const rounds_ = [];
  for (let round = 0; round < rounds; round++) {
    const [one, all] = [
      await sample(1, size, { folder, model }),
      await sample(RANKS, size, { folder, model }),
    ];
    rounds_.push({ one, all });
    say(
      `ranks ${round + 1}/${rounds}: ` +
        STAGES.map((s) => `${s} ${short(scaling(one[s], all[s], 'rate'))} ×`).join(', '),
    );
  }
  return { ranks: RANKS, threads: 1, size, stages: stagesOf(rounds_) };
}

const scaling = (one, all, of) => all[of] / one[of];

function stagesOf(rounds) {
  const over = (value) => summarise(rounds.map(value));
  return Object.fromEntries(
    STAGES.map((stage) => [
      stage,
      {
        one: over(({ one }) => one[stage].rate),
        all: over(({ all }) => all[stage].rate),
        scaling: over(({ one, all }) => scaling(one[stage], all[stage], 'rate')),
        ...(rounds.every(({ one, all }) => one[stage].cpuRate && all[stage].cpuRate) && {
          cpuScaling: over(({ one, all }) => RANKS * scaling(one[stage], all[stage], 'cpuRate')),
        }),
      },
    ]),
  );
}

export function ranksTable({ ranks, size, stages }, asMarkdown) {
  const title =
    `Per rank, with one thread: ${size.prompts} prompts × ${size.samples} × ${size.tokens} ` +
    `tokens, ${size.batch} pairs per step. Sampling as a whole stage, training by ` +
    'its steps.';
  const header = [
    'stage',
    '1 rank, tokens/s',
    `${ranks} ranks, tokens/s`,
    'scaling',
    'by CPU time',
  ];
  const times = (spread) => (spread ? `${withRange(spread, (x) => x.toFixed(2))} ×` : '');
  const rows = STAGES.map((stage) => {
    const { one, all, scaling: by, cpuScaling } = stages[stage];
    return [stage, withRange(one), withRange(all), times(by), times(cpuScaling)];
  });
  return `${title}\n\n${(asMarkdown ? markdownTable : plainTable)(header, rows)}`;
}

/** Tokens per second of wall time, and per second of all ranks' CPU time, of each stage. */
async function sample(ranks, size, { folder, model }) {
  const out = join(folder, 'ranks-run');
  const recipe = join(folder, 'ranks.yaml');
  rmSync(out, { recursive: true, force: true });
  writeFileSync(
    recipe,
    JSON.stringify({
      model,
      seed: 7,
      threads: 1,
      iterations: 1,
      prompts: { count: ranks * size.prompts },
      sample: {
        samples: size.samples,
        min_new_tokens: size.tokens,
        max_new_tokens: size.tokens,
        save_prompts: size.block,
      },
      score: { save_prompts: size.block },
      train: { batch_size: ranks * size.batch },
      evaluate: { tasks: [] },
    }),
  );
  const port = String(await freePort());
  const children = Array.from({ length: ranks }, (_, rank) =>
    start(['run', recipe, '--out', out], {
      WORLD_SIZE: String(ranks),
      RANK: String(rank),
      LOCAL_RANK: String(rank),
      LOCAL_WORLD_SIZE: String(ranks),
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: port,
      OMP_WAIT_POLICY: 'passive',
    }),
  );
  const stages = watch(
    join(out, 'events.jsonl'),
    children.map(({ child }) => child.pid),
  );
  try {
    await Promise.all(children.map(({ ended }) => ended));
    return stages.end();
  } finally {
    stages.end();
    rmSync(out, { recursive: true, force: true });
  }
}

function start(args, env) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let err = '';
  child.stderr.on('data', (data) => (err = (err + data).slice(-5_000)));
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      process.off('exit', kill);
      if (code === 0) return resolve();
      reject(new BenchError(`a rank ended with ${code}: ${err.trim().split('\n').at(-1)}`));
    });
  });
  ended.catch(() => {});
  return { child, ended };
}

/** Follows the events of a run and reads its processes' CPU time where a stage begins or ends. */
function watch(log, pids) {
  const began = {};
  const found = Object.fromEntries(STAGES.map((stage) => [stage, { tokens: 0, seconds: 0 }]));
  let at = 0;
  const read = () => {
    if (!existsSync(log)) return;
    const text = readFileSync(log, 'utf8');
    const lines = text.slice(at, text.lastIndexOf('\n') + 1);
    at += lines.length;
    for (const line of lines.split('\n').filter(Boolean)) take(JSON.parse(line));
  };
  const take = (event) => {
    const stage = found[event.stage];
    if (!stage) return;
    if (event.type === 'stage_started') began[event.stage] = cpuSeconds(pids);
    if (event.type === 'step') {
      const seconds = event.timing['perf/seconds'];
      stage.tokens += seconds * event.timing['perf/tokens_per_second'];
      stage.seconds += seconds;
    }
    if (event.type !== 'stage_finished') return;
    if (event.stage !== 'train') Object.assign(stage, event);
    stage.cpu = cpuSeconds(pids) - began[event.stage];
  };
  const timer = setInterval(read, POLL_MS);
  return {
    end() {
      clearInterval(timer);
      read();
      return Object.fromEntries(
        STAGES.map((name) => {
          const { tokens, seconds, cpu } = found[name];
          return [name, { rate: tokens / seconds, ...(cpu > 0 && { cpuRate: tokens / cpu }) }];
        }),
      );
    },
  };
}

/** User and system time of some processes; NaN where there is no /proc, or one has ended. */
function cpuSeconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const stat = `/proc/${pid}/stat`;
    if (!existsSync(stat)) return NaN;
    // The name, in brackets, may contain spaces.
    const fields = readFileSync(stat, 'utf8').split(') ').at(-1).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
