/** Chooses a run's prompts and demonstrations, by recipe, seed and iteration alone. */
import { builtinDemonstrations, builtinPrompts } from '../data/builtin.js';
import { loadDemonstrations, loadPrompts, type Loaded } from '../data/prompts.js';
import type { DemonstrationRecord, GoldRecord, Message, PromptRecord } from '../data/records.js';
import { RunError } from './errors.js';
import { shuffled } from './keys.js';
import type { Recipe } from './recipe.js';

/** The prompts of an iteration. Known answers are kept apart, so that training never sees them. */
export interface ChosenPrompts {
  prompts: PromptRecord[];
  /** Answers of the prompts whose rows have one. */
  gold: GoldRecord[];
  /** Number of duplicate rows, which are dropped. */
  duplicates: number;
  /** File and line of each prompt, by id; absent for built-in prompts. */
  places?: ReadonlyMap<string, string> | undefined;
}

/** The prompts of iteration `t` ≥ 1. */
export async function choosePrompts(recipe: Recipe, t: number): Promise<ChosenPrompts> {
  const {
    seed,
    iterations,
    prompts: { source, columns, count, split },
    system_prompt: system,
  } = recipe;
  const subsets = split === 'subsets';
  if (source === 'builtin' && count === 0)
    throw new RunError(
      'ERR_RECIPE',
      'prompts.count: the built-in prompts have no end; give how many an iteration uses.',
    );
  // As many built-in prompts are generated as are used; `resample` draws from twice as many.
  const loaded: Loaded<PromptRecord> =
    source === 'builtin'
      ? {
          records: builtinPrompts({
            seed,
            split: 'train',
            count: count * (subsets ? iterations : 2),
          }),
          duplicates: 0,
        }
      : await loadPrompts(source, { columns });
  const { records: all, duplicates, places } = loaded;
  const each = count > 0 ? count : subsets ? Math.floor(all.length / iterations) : all.length;
  const needed = subsets ? each * iterations : each;
  if (each === 0 || needed > all.length) {
    throw new RunError(
      'ERR_RUN_DATA',
      `${nameOf(source)} holds ${all.length} prompts and the recipe needs ` +
        `${Math.max(needed, iterations)} (${Math.max(each, 1)} for each of ${iterations} ` +
        `iterations): lower prompts.count or iterations, or use \`split: resample\`.`,
    );
  }
  const order = subsets
    ? shuffled(all, (p) => p.id, seed, 'subsets')
    : shuffled(all, (p) => p.id, seed, 'resample', t);
  const chosen = order.slice(subsets ? (t - 1) * each : 0, subsets ? t * each : each);
  return {
    prompts: chosen.map(({ id, prompt }) => ({ id, prompt: withSystem(prompt, system) })),
    gold: chosen.flatMap(({ id, answer, task, choices }) =>
      answer === undefined
        ? []
        : [{ id, ...(task !== undefined && { task }), answer, ...(choices && { choices }) }],
    ),
    duplicates,
    places,
  };
}

/** The demonstrations of SFT. */
export async function chooseDemonstrations(recipe: Recipe): Promise<Loaded<DemonstrationRecord>> {
  const {
    seed,
    sft: { source, columns, count },
    system_prompt: system,
  } = recipe;
  if (source === 'builtin' && count === 0)
    throw new RunError(
      'ERR_RECIPE',
      'sft.count: the built-in demonstrations have no end; give how many are used.',
    );
  const loaded: Loaded<DemonstrationRecord> =
    source === 'builtin'
      ? { records: builtinDemonstrations({ seed, count }), duplicates: 0 }
      : await loadDemonstrations(source, { columns });
  const { records: all, ...rest } = loaded;
  if (count > all.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${nameOf(source)} holds ${all.length} demonstrations and the recipe asks for ` +
        `${count}: lower sft.count, or set it to 0 for all.`,
    );
  const chosen = count === 0 ? all : shuffled(all, (d) => d.id, seed, 'sft').slice(0, count);
  return {
    records: chosen.map((d) => ({ ...d, prompt: withSystem(d.prompt, system) })),
    ...rest,
  };
}

/** Name of one source or several, for a message. */
export const nameOf = (source: string | readonly string[]): string =>
  typeof source === 'string' ? source : source.join(', ');

/** Puts the recipe's system message before a prompt that has none. */
export function withSystem(prompt: Message[], system: string | null): Message[] {
  return system === null || prompt[0]?.role === 'system'
    ? prompt
    : [{ role: 'system', content: system }, ...prompt];
}
