// The tables of the experiment, from the results of its models.
import { CONTROLS, PRIMARY } from './cream-plans.mjs';
import { answersIn } from './cream-results.mjs';
import { percent, shownP, signed, table } from './support.mjs';

/**
 * Markdown of all tables. `trained`: {model, seed, arm} of every model with its results
 * (cream-results.mjs).
 */
export async function experimentTables(plan, trained) {
  const { accuracyOf } = await import('../../dist/evaluate/intervals.js');
  const { compareRegistered: compare } = await import('./bootstrap.mjs');
  const { holm, meanInterval } = await import('../../dist/report/compare.js');
  const statistics = { accuracyOf, compare, holm, meanInterval };
  const models = [...new Set(trained.map(({ model }) => model))];
  const sections = models.map((model) => {
    const of = trained.filter((one) => one.model === model);
    return [
      `\n### ${model}\n`,
      answersTable(plan, of, 'greedy', 'Greedy answers', statistics),
      controlsTable(plan, of, statistics),
      formTable(plan, of, statistics),
      namedTable(plan, of, statistics),
      answersTable(plan, of, 'likelihood', 'Log-likelihood', statistics),
      rankingTable(plan, of, statistics),
      iterationTable(plan, of, statistics),
    ].join('');
  });
  return `${primaryTable(plan, models, trained, statistics)}${sections.join('')}`;
}

/** Whether a plan has both arms of a comparison. */
const isIn =
  (arms) =>
  ({ before, after }) =>
    arms.includes(before) && arms.includes(after);

const withInterval = ({ accuracy, low, high }) =>
  `${percent(accuracy)} (${percent(low)} – ${percent(high)})`;

/** Answers of one arm over all seeds, or those of one seed. */
function answersOf(trained, arm, name, seed) {
  return trained
    .filter((one) => one.arm === arm && (seed === undefined || one.seed === seed))
    .flatMap((one) =>
      answersIn(one[name]).map((answer) => ({ ...answer, task: `${answer.task} ${one.seed}` })),
    );
}

/** Mean over seeds with Student's 95 % interval. */
function overSeeds(values, { meanInterval }, show) {
  const known = values.filter((value) => value !== undefined && value !== null);
  if (known.length === 0) return '';
  const { mean, low, high } = meanInterval(known);
  return low === null ? show(mean) : `${show(mean)} (${show(low)} … ${show(high)})`;
}

function primaryTable({ seeds, arms, models: registered }, models, trained, statistics) {
  const { before, after } = PRIMARY;
  if (!isIn(arms)(PRIMARY)) return '';
  const tests = models.map((model) => {
    const of = trained.filter((one) => one.model === model);
    const compared = (seed) =>
      statistics.compare(
        answersOf(of, before, 'greedy', seed),
        answersOf(of, after, 'greedy', seed),
      );
    return { model, pooled: compared(), bySeed: seeds.map((seed) => compared(seed).difference) };
  });
  // A registered model that has not run counts as a test, the one with the largest p.
  const absent = Object.keys(registered).length - tests.length;
  const adjusted = statistics.holm([
    ...tests.map(({ pooled }) => pooled.p),
    ...Array.from({ length: absent }, () => 1),
  ]);
  return table(
    `Primary: greedy accuracy of the last model, ${after} against ${before}`,
    [
      'model',
      'questions',
      `${before}, %`,
      `${after}, %`,
      'difference (95 %, questions)',
      `won, lost`,
      'p',
      'p (Holm)',
      'difference by seed',
      'mean (95 %, seeds)',
    ],
    tests.map(({ model, pooled, bySeed }, i) => [
      model,
      pooled.questions,
      percent(pooled.before),
      percent(pooled.after),
      `${signed(pooled.difference)} (${signed(pooled.low)} … ${signed(pooled.high)})`,
      `${pooled.onlyAfter}, ${pooled.onlyBefore}`,
      shownP(pooled.p),
      shownP(adjusted[i]),
      bySeed.map(signed).join(', '),
      overSeeds(bySeed, statistics, signed),
    ]),
  );
}

function answersTable({ arms, seeds }, trained, name, title, statistics) {
  const rows = ['M1', ...arms].map((arm) => {
    const answers = answersOf(trained, arm, name);
    const accuracy = statistics.accuracyOf(answers);
    const paired = statistics.compare(answersOf(trained, 'M1', name), answers);
    const bySeed = seeds.map(
      (seed) =>
        statistics.compare(
          answersOf(trained, 'M1', name, seed),
          answersOf(trained, arm, name, seed),
        ).difference,
    );
    const difference =
      arm === 'M1'
        ? ['', '']
        : [
            `${signed(paired.difference)} (${signed(paired.low)} … ${signed(paired.high)})`,
            overSeeds(bySeed, statistics, signed),
          ];
    const unparsed = answers.filter(({ extracted }) => extracted === null).length;
    return [
      arm,
      answers.length,
      withInterval(accuracy),
      ...difference,
      ...(name === 'greedy' ? [percent(unparsed / answers.length)] : []),
    ];
  });
  const head = ['arm', 'answers', 'accuracy, % (95 %)', 'against M1 (95 %, questions)'];
  return table(
    title,
    [...head, 'against M1 (95 %, seeds)', ...(name === 'greedy' ? ['no answer found, %'] : [])],
    rows,
  );
}

/** Greedy accuracy of arms beside their controls. */
function controlsTable({ arms, seeds }, trained, statistics) {
  const rows = CONTROLS.filter(isIn(arms));
  const compared = ({ before, after }, seed) =>
    statistics.compare(
      answersOf(trained, before, 'greedy', seed),
      answersOf(trained, after, 'greedy', seed),
    );
  return table(
    'Arms against their controls, greedy accuracy',
    ['arms', 'difference (95 %, questions)', 'won, lost', 'by seed', 'mean (95 %, seeds)'],
    rows.map((pair) => {
      const pooled = compared(pair);
      const bySeed = seeds.map((seed) => compared(pair, seed).difference);
      return [
        `${pair.after} against ${pair.before}`,
        `${signed(pooled.difference)} (${signed(pooled.low)} … ${signed(pooled.high)})`,
        `${pooled.onlyAfter}, ${pooled.onlyBefore}`,
        bySeed.map(signed).join(', '),
        overSeeds(bySeed, statistics, signed),
      ];
    }),
  );
}

/** Which choice the greedy answers name most often, and how long they are. */
function formTable({ arms, answerTokens }, trained, { accuracyOf }) {
  const share = (answers, is) =>
    withInterval(accuracyOf(answers.map((answer) => ({ correct: is(answer) }))));
  const rows = ['M1', ...arms].map((arm) => {
    const answers = answersOf(trained, arm, 'greedy');
    const counts = new Map();
    for (const { extracted } of answers)
      if (extracted !== null) counts.set(extracted, (counts.get(extracted) ?? 0) + 1);
    const [most = '–'] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
    const tokens = answers.reduce((sum, answer) => sum + answer.tokens, 0) / answers.length;
    return [
      arm,
      most,
      share(answers, ({ extracted }) => extracted === most),
      share(answers, ({ extracted }) => extracted === null),
      tokens.toFixed(1),
      share(answers, ({ tokens: own }) => own >= answerTokens),
    ];
  });
  return table(
    'Form of the greedy answers (not registered)',
    [
      'arm',
      'choice named most often',
      'names it, % (95 %)',
      'names none, % (95 %)',
      'tokens, mean',
      'at the limit of tokens, % (95 %)',
    ],
    rows,
  );
}

/** Accuracy on the questions in whose answers both arms name a choice. */
function namedTable({ arms }, trained, statistics) {
  const named = (arm) =>
    answersOf(trained, arm, 'greedy').filter(({ extracted }) => extracted !== null);
  const rows = [PRIMARY, ...CONTROLS].filter(isIn(arms)).map(({ before, after }) => {
    const compared = statistics.compare(named(before), named(after));
    const { questions, difference, low, high } = compared;
    return [
      `${after} against ${before}`,
      questions,
      `${percent(compared.after)}, ${percent(compared.before)}`,
      `${signed(difference)} (${signed(low)} … ${signed(high)})`,
    ];
  });
  return table(
    'Greedy accuracy where both answers name a choice (not registered)',
    ['arms', 'questions', 'right, %', 'difference (95 %, questions)'],
    rows,
  );
}

function rankingTable({ arms }, trained, statistics) {
  const rows = ['M1', ...arms].flatMap((arm) => {
    const results = trained.filter((one) => one.arm === arm).map(({ ranking }) => ranking);
    const rewards = results[0].map(({ reward }) => reward);
    return rewards.map((reward) => {
      const of = results.map((rows) => rows.find((row) => row.reward === reward));
      const cell = (share) =>
        overSeeds(
          of.map((row) => row[share].accuracy),
          statistics,
          percent,
        );
      const pairs = `${of[0].all.pairs}, ${of[0].matched.pairs}`;
      return [arm, reward, pairs, cell('all'), cell('matched'), cell('balanced')];
    });
  });
  return table(
    'Ranking of human pairs, % right (mean and 95 % over seeds)',
    ['arm', 'reward', 'pairs, of equal length', 'all', 'equal length', 'length-balanced'],
    rows,
  );
}

function iterationTable({ arms, iterations }, trained, statistics) {
  const rows = arms.flatMap((arm) =>
    Array.from({ length: iterations }, (_, i) => i + 1).map((t) => {
      const rowsOf = trained.filter((one) => one.arm === arm).map((one) => one.iterations[t - 1]);
      const column = (name, digits) =>
        overSeeds(
          rowsOf.map((row) => row[name]),
          statistics,
          (value) => value.toFixed(digits),
        );
      return [
        arm,
        t,
        column('consistency', 2),
        column('weight', 2),
        column('margin', 3),
        column('target', 3),
        column('completion_length', 1),
        column('distinct_2', 2),
        column('kl_token', 4),
      ];
    }),
  );
  return table(
    'Iteration by iteration (mean and 95 % over seeds)',
    [
      'arm',
      't',
      'C',
      'weight',
      'margin z, last quarter of the steps',
      'logit(weight)',
      'length, tokens',
      'distinct-2',
      'KL per token, nats',
    ],
    rows,
  );
}
