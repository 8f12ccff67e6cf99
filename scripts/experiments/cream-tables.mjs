// The tables of the experiment, from the results of its models.
import { CONTROLS, PRIMARY } from './cream-plans.mjs';
import { answersIn } from './cream-results.mjs';
import { percent, shownP, signed, table } from './support.mjs';

/**
 * Markdown of the primary table and, by model, of the others. `trained`: {model, seed, arm} of
 * every model with its results (cream-results.mjs); `published`: by model, the primary figures of
 * models whose results are not kept.
 */
export async function experimentTables(plan, trained, published) {
  const { accuracyOf, mcnemarExact, wilson } = await import('../../dist/evaluate/intervals.js');
  const { bootstrapDifference, compareRegistered: compare } = await import('./bootstrap.mjs');
  const { holm, meanInterval } = await import('../../dist/report/compare.js');
  const statistics = {
    ...{ accuracyOf, bootstrapDifference, compare, holm, mcnemarExact, meanInterval, wilson },
  };
  const models = [...new Set(trained.map(({ model }) => model))];
  const sections = models.map((model) => {
    const of = trained.filter((one) => one.model === model);
    const tables = [
      `\n### ${model}\n`,
      answersTable(plan, of, 'greedy', 'Greedy answers', statistics),
      controlsTable(plan, of, statistics),
      formTable(plan, of, statistics),
      namedTable(plan, of, statistics),
      answersTable(plan, of, 'likelihood', 'Log-likelihood', statistics),
      rankingTable(plan, of, statistics),
      iterationTable(plan, of, statistics),
    ];
    return [model, tables.join('')];
  });
  return {
    primary: primaryTable(plan, trained, published, statistics),
    sections: Object.fromEntries(sections),
  };
}

/** The row of rank-eval that is no model's: the longer completion is preferred. */
const LENGTH = 'length alone';

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

/**
 * Answers to the same questions by the models of several seeds, as one answer per question whose
 * score is the share of the seeds that are right: the questions are what was drawn.
 */
function bySharedQuestion(answers) {
  const of = new Map();
  for (const { task, prompt_id, correct } of answers) {
    // The seed is the last word of a task (answersOf).
    const id = `${task.slice(0, task.lastIndexOf(' '))} ${prompt_id}`;
    of.set(id, [...(of.get(id) ?? []), Number(correct)]);
  }
  return [...of].map(([prompt_id, right]) => {
    const score = right.reduce((sum, value) => sum + value, 0) / right.length;
    return { task: '', prompt_id, correct: score > 0.5, score };
  });
}

/** Mean over seeds, of three or more with Student's 95 % interval. */
function overSeeds(values, { meanInterval }, show) {
  const known = values.filter((value) => value !== undefined && value !== null);
  if (known.length === 0) return '';
  const { mean, low, high } = meanInterval(known);
  return low === null || known.length < 3
    ? show(mean)
    : `${show(mean)} (${show(low)} … ${show(high)})`;
}

function primaryTable({ seeds, arms, models }, trained, published, statistics) {
  const { before, after } = PRIMARY;
  if (!isIn(arms)(PRIMARY)) return '';
  const tests = Object.keys(models).flatMap((model) => {
    const of = trained.filter((one) => one.model === model);
    if (of.length === 0)
      return model in published ? [publishedTest(model, published[model], statistics)] : [];
    const compared = (seed) =>
      statistics.compare(
        answersOf(of, before, 'greedy', seed),
        answersOf(of, after, 'greedy', seed),
      );
    return [{ model, pooled: compared(), bySeed: seeds.map((seed) => compared(seed).difference) }];
  });
  // A registered model that has not run counts as a test, the one with the largest p.
  const absent = Object.keys(models).length - tests.length;
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

/** The primary comparison of a model of which only its counts were published. */
function publishedTest(model, { questions, before, won, lost, by_seed: bySeed }, statistics) {
  const difference = (won - lost) / questions;
  const pooled = {
    ...{ questions, before, after: before + difference, difference },
    ...{ onlyBefore: lost, onlyAfter: won, p: statistics.mcnemarExact(lost, won) },
    ...statistics.bootstrapDifference(questions, lost, won),
  };
  return { model, pooled, bySeed };
}

function answersTable({ arms, seeds }, trained, name, title, statistics) {
  // Log-likelihoods are measured on the same questions for every seed.
  const pool = name === 'likelihood' ? bySharedQuestion : (answers) => answers;
  const rows = ['M1', ...arms].map((arm) => {
    const answers = pool(answersOf(trained, arm, name));
    const accuracy = statistics.accuracyOf(answers);
    const paired = statistics.compare(pool(answersOf(trained, 'M1', name)), answers);
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
  const row = (arm, reward, of) => {
    const { pairs } = of[0].all;
    const { mean } = statistics.meanInterval(of.map(({ all }) => all.accuracy));
    const cell = (share) =>
      overSeeds(
        of.map((one) => one[share].accuracy),
        statistics,
        percent,
      );
    return [
      ...[arm, reward, `${pairs}, ${of[0].matched.pairs}`, cell('all')],
      withInterval({ accuracy: mean, ...statistics.wilson(mean * pairs, pairs) }),
      ...[cell('matched'), cell('balanced')],
    ];
  };
  const rows = ['M1', ...arms].flatMap((arm) => {
    const results = trained.filter((one) => one.arm === arm).map(({ ranking }) => ranking);
    const rewards = results[0].map(({ reward }) => reward).filter((reward) => reward !== LENGTH);
    return rewards.map((reward) =>
      row(
        arm,
        reward,
        results.map((of) => of.find((one) => one.reward === reward)),
      ),
    );
  });
  const length = trained.flatMap(({ ranking }) => ranking).find(({ reward }) => reward === LENGTH);
  return table(
    'Ranking of human pairs, % right (mean and 95 % over seeds)',
    [
      ...['arm', 'reward', 'pairs, of equal length', 'all', 'all (95 %, pairs)'],
      ...['equal length', 'length-balanced'],
    ],
    length === undefined ? rows : [...rows, row('', LENGTH, [length])],
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
