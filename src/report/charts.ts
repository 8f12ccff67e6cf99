/** The charts of the page: which curves are drawn, from which values. */
import { percent, small } from './format.js';
import type { Histogram } from './histogram.js';
import { lossText } from './loss.js';
import type { PhaseReport, RankingReport, RunReport, Step } from './metrics.js';
import type { Chart, Point } from './plots.js';

type Series = Chart['series'];

/** A value of each iteration with rankings. */
type Ranked = (value: (ranking: RankingReport) => number | null) => Point[];

/** All charts in the order of the page; those without points are left out when they are drawn. */
export function charts(run: RunReport): Chart[] {
  const categories = run.phases.map(({ label }) =>
    label.replace('Iteration ', 'iter. ').replace('Base model', 'base').replace('After ', ''),
  );
  const ranked: Ranked = (value) =>
    byPhase(run, ({ ranking }) => (ranking ? value(ranking) : null));
  return [
    ...accuracyCharts(run, categories),
    ...rankingCharts(ranked, categories),
    ...stepCharts(run),
    ...driftCharts(run, ranked, categories),
  ];
}

/** What the values of C mean, in the note of its chart. */
export const C_SCALE =
  '0 reversed, 0.5 unrelated, 1 the same. With top_order: the share of prompts on whose best and ' +
  'worst they agree.';

const rankingCharts = (ranked: Ranked, categories: string[]): Chart[] => [
  {
    title: 'Consistency',
    yLabel: 'C',
    note: `Agreement of two successive models on the order of the completions: ${C_SCALE}`,
    categories,
    format: two,
    include: [0, 1],
    series: consistencySeries(ranked),
  },
  {
    title: 'Ranking accuracy',
    yLabel: 'share of couples',
    note:
      'How often the reward ranks a right completion above a wrong one of the same prompt; 50 ' +
      '% is chance.',
    categories,
    format: percent,
    include: [0.5],
    series: [{ name: 'reward', points: ranked((r) => r.ranking_accuracy) }],
  },
  {
    title: 'Right answers',
    yLabel: 'share of completions',
    note: 'Share of the completions that give the known answer, which training never sees.',
    categories,
    format: percent,
    include: [0],
    series: [
      { name: 'chosen', points: ranked((r) => r.chosen_accuracy) },
      { name: 'rejected', points: ranked((r) => r.rejected_accuracy) },
      { name: 'sampled', points: ranked((r) => r.sample_accuracy) },
    ],
  },
];

/** Charts of optimizer steps. */
const stepCharts = (run: RunReport): Chart[] => [
  {
    title: 'Reward margin',
    yLabel: 'margin',
    note: `${lossText(run.recipe).reward} of chosen less that of rejected, step by step.`,
    xLabel: 'step',
    format: small,
    include: [0],
    series: steps(run, 'margin', false),
  },
  {
    title: 'Preference loss',
    yLabel: 'loss',
    note: lossText(run.recipe).loss,
    xLabel: 'step',
    format: (y) => y.toFixed(4),
    series: steps(run, 'loss', false),
  },
  {
    title: 'Margin in evaluation',
    yLabel: 'margin',
    note: 'Mean reward margin of the pairs that are left out of training, step by step.',
    xLabel: 'step',
    format: small,
    include: [0],
    series: steps(run, 'evalMargin', false),
  },
  {
    title: 'Accuracy in training',
    yLabel: 'accuracy',
    note: 'Share of the test questions that the model in training answers right, step by step.',
    xLabel: 'step',
    format: percent,
    series: steps(run, 'evalAccuracy', false),
  },
  {
    title: 'KL penalty',
    yLabel: 'nats per completion',
    note: 'Estimate of KL to the base model in training, step by step, nats per completion.',
    xLabel: 'step',
    format: small,
    include: [0],
    series: steps(run, 'kl', false),
  },
  {
    title: 'Gradient norm',
    yLabel: 'norm',
    note: 'Global L2 norm of the gradient before clipping, step by step.',
    xLabel: 'step',
    format: small,
    include: [0],
    series: [...steps(run, 'gradNorm', true), ...steps(run, 'gradNorm', false)],
  },
  {
    title: 'Learning rate',
    yLabel: 'learning rate',
    note: 'Learning rate of each step: warm-up, then the schedule of the recipe.',
    xLabel: 'step',
    format: small,
    include: [0],
    series: [...steps(run, 'learningRate', true), ...steps(run, 'learningRate', false)],
  },
  {
    title: 'SFT loss',
    yLabel: 'nats per token',
    note: 'Cross-entropy of the demonstrations.',
    xLabel: 'step',
    format: two,
    series: steps(run, 'loss', true),
  },
];

/** Distance from the base model, and the form of the completions. */
const driftCharts = (run: RunReport, ranked: Ranked, categories: string[]): Chart[] => [
  {
    title: 'KL to the base model',
    yLabel: 'nats per completion',
    note: 'Mean log π − log π of the base over what the iteration sampled, nats per completion.',
    categories,
    format: small,
    include: [0],
    series: [{ name: 'per completion', points: ranked((r) => r.kl_response) }],
  },
  {
    title: 'KL per token',
    yLabel: 'nats per token',
    note: 'The same divided by the length: a longer completion drifts further as a whole.',
    categories,
    format: small,
    include: [0],
    series: [{ name: 'per token', points: ranked((r) => r.kl_token) }],
  },
  {
    title: 'Length',
    yLabel: 'tokens',
    note: 'Mean tokens per completion, and of an answer in evaluation.',
    categories,
    format: (y) => y.toFixed(0),
    include: [0],
    series: [
      { name: 'sampled', points: ranked((r) => r.mean_length) },
      { name: 'evaluation', points: byPhase(run, (p) => p.answerTokens) },
    ],
  },
  {
    title: 'Repetition',
    yLabel: 'share',
    note:
      "Share of a completion's n-grams that occurred in it before, and of completions cut by " +
      'the length limit.',
    categories,
    format: percent,
    include: [0],
    series: [
      { name: '4-grams', points: ranked((r) => r.repeated_4) },
      {
        name: 'bigrams',
        points: ranked((r) => (r.distinct_2 === null ? null : 1 - r.distinct_2)),
      },
      { name: 'cut by length', points: ranked((r) => r.truncated) },
    ],
  },
  {
    title: 'Self-reward gap',
    yLabel: 'nats',
    note:
      'Mean reward of chosen minus rejected under the model that chose, in nats, before ' +
      'training on them.',
    categories,
    format: two,
    include: [0],
    series: [{ name: 'gap', points: ranked((r) => r.pair_margin) }],
  },
];

/** τ of each prompt, in the first, the middle and the last iteration with rankings. */
export function tauHistogram(run: RunReport): Histogram {
  const ranked = run.phases.filter(({ ranking }) => ranking && ranking.kendallShares.length > 0);
  const shown = new Set([0, Math.floor((ranked.length - 1) / 2), ranked.length - 1]);
  return {
    title: "Kendall's τ by prompt",
    note:
      'Share of the prompts by the agreement of the two rankings: −1 reversed, 0 unrelated, 1 ' +
      'the same.',
    xLabel: 'τ',
    yLabel: 'share of prompts',
    format: percent,
    from: -1,
    to: 1,
    ticks: [-1, -0.5, 0, 0.5, 1],
    series: ranked.flatMap(({ label, ranking }, i) =>
      shown.has(i) ? [{ name: label, bins: ranking!.kendallShares, colour: colourOf(label) }] : [],
    ),
  };
}

function accuracyCharts(run: RunReport, categories: string[]): Chart[] {
  const tasks = [...new Set(run.phases.flatMap((phase) => phase.tasks.map(({ task }) => task)))];
  const points = (which: 'accuracy' | 'accuracyNorm', task: string | undefined): Point[] =>
    run.phases.flatMap((phase, x) => {
      const a = (task === undefined ? phase : phase.tasks.find((t) => t.task === task))?.[which];
      return a ? [{ x, y: a.accuracy, low: a.low, high: a.high }] : [];
    });
  const series = (which: 'accuracy' | 'accuracyNorm'): Series =>
    tasks.length > 1
      ? tasks.map((task) => ({ name: task, points: points(which, task) }))
      : [{ name: tasks[0] ?? '', points: points(which, undefined) }];
  return [
    {
      title: 'Accuracy',
      yLabel: 'accuracy',
      note: 'Share of the test questions answered right; bars are 95 % intervals.',
      categories,
      format: percent,
      series: series('accuracy'),
    },
    {
      title: 'Accuracy per character',
      yLabel: 'accuracy',
      note: 'The likeliest choice by the mean log-prob of its characters; bars are 95 % intervals.',
      categories,
      format: percent,
      series: series('accuracyNorm'),
    },
  ];
}

/** The measure that the recipe selects is C itself, so both share one line. */
function consistencySeries(ranked: Ranked): Series {
  const rescaled = (value: number | null) => (value === null ? null : (value + 1) / 2);
  const c = ranked((r) => r.consistency);
  const others = [
    { name: 'Kendall', points: ranked((r) => rescaled(r.kendall_tau)) },
    { name: 'Spearman', points: ranked((r) => rescaled(r.spearman)) },
    { name: 'TopOrder', points: ranked((r) => r.top_order) },
  ];
  return [
    { name: 'C', points: c },
    ...others.filter(({ points }) =>
      points.some(({ y }, k) => Math.abs(y - (c[k]?.y ?? NaN)) > 1e-9),
    ),
  ];
}

function byPhase(run: RunReport, value: (phase: PhaseReport) => number | null): Point[] {
  return run.phases.flatMap((phase, x) => {
    const y = value(phase);
    return y === null ? [] : [{ x, y }];
  });
}

function steps(run: RunReport, value: keyof Omit<Step, 'step'>, sft: boolean): Series {
  return run.phases
    .filter(({ folder }) => (folder === 'sft') === sft)
    .map(({ label, steps: all }) => ({
      name: label,
      colour: colourOf(label),
      points: all.flatMap((step) =>
        step[value] == null ? [] : [{ x: step.step, y: step[value] }],
      ),
    }));
}

/** One colour for a phase in all plots: grey for SFT, then the iterations. */
function colourOf(label: string): number {
  const iteration = /^Iteration (\d+)/.exec(label)?.[1];
  return iteration === undefined ? 5 : (Number(iteration) - 1) % 5;
}

const two = (y: number): string => y.toFixed(2);
