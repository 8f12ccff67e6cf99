/**
 * Compares several runs: the recipe keys that differ, the mean over seeds with its interval, and
 * paired differences of the last models on the same questions.
 */
import { parse } from 'yaml';
import { average } from '../data/average.js';
import { compare, type Comparison } from '../evaluate/intervals.js';
import { answersOf, readRun, type PhaseReport, type RunReport } from './metrics.js';
import { RunFolder } from './read.js';

export interface RunComparison {
  runs: ComparedRun[];
  /** Recipe keys whose values are not the same in all runs, each with one value per run. */
  differing: { key: string; values: string[] }[];
  /** Runs whose recipes differ in their seed alone. */
  groups: SeedGroup[];
  /**
   * Comparisons of the last models of two runs that answered the same questions: of every two runs,
   * or of the first and each other run if there are many.
   */
  pairs: { a: string; b: string; comparison: Comparison; adjusted: number }[];
}

export interface ComparedRun {
  label: string;
  report: RunReport;
  /** The last phase that was evaluated. */
  last: PhaseReport | undefined;
}

export interface SeedGroup {
  /** The values of the recipe keys that tell the groups apart; else the labels of its runs. */
  label: string;
  runs: string[];
  finished: number;
  /** Accuracy of the last models; null if none was measured. */
  accuracy: MeanInterval | null;
  /** Mean C of the last iterations. */
  consistency: MeanInterval | null;
  margin: MeanInterval | null;
}

/** A mean over seeds. */
export interface MeanInterval {
  mean: number;
  /** Student's 95 % interval; null for a single run. */
  low: number | null;
  high: number | null;
}

/** If there are more runs, each is compared with the first only. */
const ALL_PAIRS_UP_TO = 8;

/** Compares two or more run directories. @throws DataError if a file cannot be read at all */
export function compareRuns(directories: readonly string[]): RunComparison {
  const reports = directories.map((directory) => readRun(directory));
  const labels = labelsOf(reports);
  const recipes = reports.map(({ recipe }) => flat(recipe));
  const runs = reports.map((report, i) => ({
    label: labels[i]!,
    report,
    last: report.phases.findLast(({ accuracy }) => accuracy !== null),
  }));
  const compared = differing(recipes);
  return {
    runs,
    differing: compared,
    groups: groupsOf(runs, recipes, compared),
    pairs: pairsOf(runs, directories),
  };
}

/** The directory's name, or its path if two runs have the same name. */
function labelsOf(reports: readonly RunReport[]): string[] {
  const names = reports.map(({ name }) => name);
  return reports.map(({ name, directory }) =>
    names.filter((other) => other === name).length > 1 ? directory : name,
  );
}

/** `a: {b: 1}` → `a.b` ↦ `1`; empty for a recipe that cannot be read. */
function flat(recipe: string): Map<string, string> {
  const values = new Map<string, string>();
  const walk = (value: unknown, key: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [name, inner] of Object.entries(value))
        walk(inner, key === '' ? name : `${key}.${name}`);
    else values.set(key, JSON.stringify(value));
  };
  try {
    walk(parse(recipe), '');
  } catch {
    return new Map();
  }
  return values;
}

function differing(recipes: readonly Map<string, string>[]): RunComparison['differing'] {
  const keys = [...new Set(recipes.flatMap((recipe) => [...recipe.keys()]))];
  return keys
    .map((key) => ({ key, values: recipes.map((recipe) => recipe.get(key) ?? '–') }))
    .filter(({ values }) => new Set(values).size > 1);
}

/** Keys that only change the draw. */
const isSeed = (key: string): boolean => /(^|\.)seed$/.test(key);

function groupsOf(
  runs: readonly ComparedRun[],
  recipes: readonly Map<string, string>[],
  differing: RunComparison['differing'],
): SeedGroup[] {
  const groups = new Map<string, number[]>();
  runs.forEach((_, i) => {
    const settings = JSON.stringify([...recipes[i]!].filter(([key]) => !isSeed(key)));
    groups.set(settings, [...(groups.get(settings) ?? []), i]);
  });
  const keys = differing.filter(({ key }) => !isSeed(key));
  return [...groups.values()].map((members): SeedGroup => {
    const of = members.map((i) => runs[i]!);
    const labels = of.map(({ label }) => label);
    const told = keys.map(({ key, values }) => `${key} ${values[members[0]!]!.replace(/"/g, '')}`);
    const over = (value: (run: ComparedRun) => number | null | undefined): MeanInterval | null => {
      const measured = of.flatMap((run) => value(run) ?? []);
      return measured.length === 0 ? null : meanInterval(measured);
    };
    const ranking = ({ report }: ComparedRun) =>
      report.phases.findLast((phase) => phase.ranking)?.ranking;
    return {
      label: told.length > 0 && groups.size > 1 ? told.join(', ') : labels.join(', '),
      runs: labels,
      finished: of.filter(({ report }) => report.finished).length,
      accuracy: over(({ last }) => last?.accuracy?.accuracy),
      consistency: over((run) => ranking(run)?.consistency),
      margin: over((run) => ranking(run)?.reward_margin),
    };
  });
}

/** Mean of `values` and its 95 % interval, x̄ ± t·s/√n (Student 1908, n − 1 degrees of freedom). */
export function meanInterval(values: readonly number[]): MeanInterval {
  const n = values.length;
  const mean = average(values);
  if (n < 2) return { mean, low: null, high: null };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = studentT(n - 1) * Math.sqrt(variance / n);
  return { mean, low: mean - half, high: mean + half };
}

/** The 97.5 % points of Student's distribution with 1 to 30 degrees of freedom. */
const T975 = [
  12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788,
  2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639,
  2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];

/** Beyond the table, the Cornish–Fisher expansion, which is exact to four digits there. */
function studentT(degrees: number): number {
  const z = 1.959964;
  return (
    T975[degrees - 1] ??
    z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2)
  );
}

function pairsOf(runs: readonly ComparedRun[], directories: readonly string[]) {
  const answers = runs.map(({ last }, i) =>
    last ? answersOf(new RunFolder(directories[i]!), last.folder) : [],
  );
  const pairs = runs.flatMap((a, i) =>
    (runs.length > ALL_PAIRS_UP_TO && i > 0 ? [] : runs.slice(i + 1)).flatMap((b, j) => {
      const comparison = compare(answers[i]!, answers[i + 1 + j]!);
      return comparison.questions > 0 ? [{ a: a.label, b: b.label, comparison, adjusted: 1 }] : [];
    }),
  );
  const adjusted = holm(pairs.map(({ comparison }) => comparison.p));
  return pairs.map((pair, i) => ({ ...pair, adjusted: adjusted[i]! }));
}

/** Holm's (1979) step-down correction of p values for the number of tests, in the order given. */
export function holm(ps: readonly number[]): number[] {
  const adjusted = new Array<number>(ps.length);
  let least = 0;
  ps.map((p, i) => ({ p, i }))
    .sort((a, b) => a.p - b.p)
    .forEach(({ p, i }, rank) => {
      least = Math.max(least, Math.min(1, (ps.length - rank) * p));
      adjusted[i] = least;
    });
  return adjusted;
}
