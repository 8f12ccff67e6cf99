/** Chooses a run's prompts and demonstrations, by recipe, seed and iteration alone. */
import { builtinDemonstrations, builtinPrompts } from '../data/builtin.js';
import { loadDemonstrations, loadPrompts, type Loaded } from '../data/prompts.js';
import type { DemonstrationRecord, GoldRecord, Message, PromptRecord } from '../data/records.js';
import type { LanguageModel } from '../lm/language-model.js';
import { RunError } from './errors.js';
import { noProgram, PROGRAM } from './given-prompts.js';
import { shuffled } from './keys.js';
import { demonstrationLength, promptLength, withoutUnusable } from './lengths.js';
import type { Recipe } from './recipe.js';

/** The prompts of an iteration. Known answers are kept apart, so that training never sees them. */
export interface ChosenPrompts {
  prompts: PromptRecord[];
  /** Answers of the prompts whose rows have one. */
  gold: GoldRecord[];
}

type PromptSettings = Pick<Recipe, 'seed' | 'iterations' | 'prompts' | 'system_prompt'>;

/**
 * All usable prompts of the recipe's source. With `prompts.on_bad_row: skip` and a model, rows that
 * are longer than its context are left out.
 */
export async function readPrompts(
  recipe: PromptSettings,
  policy?: LanguageModel,
): Promise<Loaded<PromptRecord>> {
  const {
    seed,
    iterations,
    prompts: { source, columns, count, split, on_bad_row: onBadRow },
    system_prompt: system,
  } = recipe;
  if (source === PROGRAM) throw noProgram();
  if (source === 'builtin' && count === 0)
    throw new RunError(
      'ERR_RECIPE',
      'prompts.count: the number of built-in prompts is unlimited; say how many an iteration uses.',
    );
  // Exactly the built-in prompts that are used are generated; `resample` draws from twice as many.
  const loaded: Loaded<PromptRecord> =
    source === 'builtin'
      ? {
          records: builtinPrompts({
            seed,
            split: 'train',
            count: count * (split === 'subsets' ? iterations : 2),
          }),
          duplicates: 0,
          skipped: [],
        }
      : await loadPrompts(source, { columns, onBadRow });
  const complete = {
    ...loaded,
    records: loaded.records.map((record) => ({
      ...record,
      prompt: withSystem(record.prompt, system),
    })),
  };
  return onBadRow === 'skip' && policy !== undefined
    ? withoutUnusable(complete, policy, promptLength, 'prompt', nameOf(source))
    : complete;
}

/** The prompts of iteration `t` ≥ 1, chosen from the result of `readPrompts`. */
export function choosePrompts(
  { seed, iterations, prompts: { source, count, split } }: PromptSettings,
  t: number,
  { records: all }: Pick<Loaded<PromptRecord>, 'records'>,
): ChosenPrompts {
  const subsets = split === 'subsets';
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
    prompts: chosen.map(({ id, prompt }) => ({ id, prompt })),
    gold: chosen.flatMap(({ id, answer, task, choices }) =>
      answer === undefined
        ? []
        : [{ id, ...(task !== undefined && { task }), answer, ...(choices && { choices }) }],
    ),
  };
}

/** The demonstrations of SFT; rows that are too long are left out as in `readPrompts`. */
export async function chooseDemonstrations(
  recipe: Recipe,
  policy?: LanguageModel,
): Promise<Loaded<DemonstrationRecord>> {
  const {
    seed,
    sft: { source, columns, count, on_bad_row: onBadRow },
    system_prompt: system,
  } = recipe;
  if (source === PROGRAM) throw noProgram();
  if (source === 'builtin' && count === 0)
    throw new RunError(
      'ERR_RECIPE',
      'sft.count: the number of built-in demonstrations is unlimited; say how many are used.',
    );
  const loaded: Loaded<DemonstrationRecord> =
    source === 'builtin'
      ? { records: builtinDemonstrations({ seed, count }), duplicates: 0, skipped: [] }
      : await loadDemonstrations(source, { columns, onBadRow });
  const complete = {
    ...loaded,
    records: loaded.records.map((d) => ({ ...d, prompt: withSystem(d.prompt, system) })),
  };
  const { records: all, ...rest } =
    onBadRow === 'skip' && policy !== undefined
      ? await withoutUnusable(
          complete,
          policy,
          demonstrationLength,
          'demonstration',
          nameOf(source),
        )
      : complete;
  if (count > all.length)
    throw new RunError(
      'ERR_RUN_DATA',
      `${nameOf(source)} holds ${all.length} demonstrations and the recipe asks for ` +
        `${count}: lower sft.count, or set it to 0 for all.`,
    );
  const chosen = count === 0 ? all : shuffled(all, (d) => d.id, seed, 'sft').slice(0, count);
  return { records: chosen, ...rest };
}

/** The name of one source, or of several, for a message. */
export const nameOf = (source: string | readonly string[]): string =>
  typeof source === 'string' ? source : source.join(', ');

/** Puts the recipe's system message before a prompt that has none. */
export function withSystem(prompt: Message[], system: string | null): Message[] {
  return system === null || prompt[0]?.role === 'system'
    ? prompt
    : [{ role: 'system', content: system }, ...prompt];
}
