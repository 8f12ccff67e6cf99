// Cost curves: the time and memory that prompts, N, completion length and model size cost. Each
// axis is varied alone around one middle point, each point is a process of its own, and a line (for
// sizes: a power) is fitted to the medians.
import { freemem } from 'node:os';
import { parametersOf, trainingBytes } from './shapes.mjs';
import { gib, short, summarise } from './statistics.mjs';
import { markdownTable, plainTable } from './tables.mjs';

/** [full, quick] */
const MIDDLE = [
  { shape: '135M', prompts: 8, samples: 5, tokens: 64, promptTokens: 68 },
  { shape: 'tiny', prompts: 2, samples: 2, tokens: 4, promptTokens: 5 },
];
const AXES = {
  prompts: [
    [4, 8, 16, 32],
    [1, 2],
  ],
  samples: [
    [2, 5, 10, 20],
    [2, 3],
  ],
  tokens: [
    [32, 64, 128, 256],
    [2, 4],
  ],
  shape: [['30M', '135M', '360M', '1B'], ['tiny']],
};
const NAMES = {
  prompts: 'prompts',
  samples: 'samples a prompt (N)',
  tokens: 'tokens a completion',
  shape: 'model',
};
const STAGES = ['sample', 'score', 'train'];

/**
 * Measures every point `rounds` times, one round after the other. `run` runs one trial with a
 * specification.
 */
export async function measureCurves({ quick, rounds, folder, run, say }) {
  const at = quick ? 1 : 0;
  const middle = MIDDLE[at];
  const points = new Map();
  const all = Object.entries(AXES).flatMap(([axis, values]) =>
    values[at].map((value) => ({ axis, value, spec: { ...middle, [axis]: value } })),
  );
  for (let round = 0; round < rounds; round++) {
    for (const { spec } of all) {
      const key = JSON.stringify(spec);
      const samples = points.get(key) ?? [];
      if (samples.length > round) continue; // the middle point is on every axis
      const train = trainingBytes(parametersOf(spec.shape)) < freemem();
      samples.push(await run({ ...spec, folder, train, seed: 1 + round }));
      points.set(key, samples);
      say(
        `curves ${round + 1}/${rounds} ${Object.values(spec).join(' · ')}: ` +
          STAGES.filter((stage) => samples.at(-1)[stage])
            .map((stage) => `${stage} ${short(samples.at(-1)[stage].seconds)} s`)
            .join(', '),
      );
    }
  }
  return {
    middle,
    axes: Object.keys(AXES).map((axis) => {
      const on = all
        .filter((point) => point.axis === axis)
        .map(({ value, spec }) => ({ value, samples: points.get(JSON.stringify(spec)) }));
      return {
        axis,
        points: on.map(({ value, samples }) => ({
          value,
          parameters: samples[0].parameters,
          ...stagesOf(samples),
        })),
      };
    }),
  };
}

function stagesOf(samples) {
  const measured = STAGES.filter((stage) => samples.every((sample) => sample[stage]));
  return Object.fromEntries(
    measured.map((stage) => [
      stage,
      {
        seconds: summarise(samples.map((s) => s[stage].seconds)),
        peakRss: summarise(samples.map((s) => s[stage].peakRss)),
      },
    ]),
  );
}

/** Least squares y = a + b·x, and the share of y's variance that it explains. */
export function line(points) {
  const n = points.length;
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / n;
  const [mx, my] = [mean(([x]) => x), mean(([, y]) => y)];
  const sxx = mean(([x]) => (x - mx) ** 2);
  const sxy = mean(([x, y]) => (x - mx) * (y - my));
  const syy = mean(([, y]) => (y - my) ** 2);
  const slope = sxx === 0 ? 0 : sxy / sxx;
  return {
    intercept: my - slope * mx,
    slope,
    r2: sxx === 0 || syy === 0 ? 1 : sxy ** 2 / (sxx * syy),
  };
}

export function curveTables({ middle, axes }, asMarkdown) {
  const title =
    `Around ${middle.shape}, ${middle.prompts} prompts of ${middle.promptTokens} tokens, N = ` +
    `${middle.samples}, ${middle.tokens} tokens a completion; training takes one pair of ` +
    'every prompt.';
  return [
    title,
    ...axes.map(({ axis, points }) => {
      const header = [NAMES[axis], ...STAGES.flatMap((stage) => [`${stage}, s`, 'peak RSS'])];
      const rows = points.map((point) => [
        axis === 'shape'
          ? `${point.value} (${short(point.parameters / 1e6)} M)`
          : String(point.value),
        ...STAGES.flatMap((stage) =>
          point[stage]
            ? [short(point[stage].seconds.median), gib(point[stage].peakRss.median)]
            : ['does not fit', ''],
        ),
      ]);
      const fit = ['fit', ...STAGES.flatMap((stage) => fitOf(axis, stage, points))];
      return (asMarkdown ? markdownTable : plainTable)(header, [...rows, fit]);
    }),
  ].join('\n\n');
}

/**
 * Time and memory along the axis; for sizes the exponent p of time ~ parametersᵖ, and bytes per
 * parameter.
 */
function fitOf(axis, stage, points) {
  const there = points.filter((point) => point[stage]);
  if (there.length < 2) return ['', ''];
  const x = (point) => (axis === 'shape' ? point.parameters : point.value);
  const memory = line(there.map((point) => [x(point), point[stage].peakRss.median]));
  if (axis === 'shape') {
    const power = line(
      there.map((point) => [Math.log(x(point)), Math.log(point[stage].seconds.median)]),
    );
    return [
      `parameters^${power.slope.toFixed(2)} (R² ${power.r2.toFixed(3)})`,
      `${short(memory.slope)} B each`,
    ];
  }
  const time = line(there.map((point) => [x(point), point[stage].seconds.median]));
  return [
    `${short(time.intercept)} + ${short(time.slope)} · x (R² ${time.r2.toFixed(3)})`,
    `${short(memory.slope / 2 ** 20)} MiB each`,
  ];
}
