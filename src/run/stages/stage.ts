/** Shared by all stages: cancellation, progress, and work that is saved block by block. */
import { MOST_SEQS } from '../../engine/plan.js';
import { CPU_AUTO } from '../../engine/requests.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { LanguageModel } from '../../lm/language-model.js';
import { overlapped } from '../overlap.js';
import { inBlocks, remainingItems, type Artefact, type Block, type SaveBlock } from '../store.js';
import type { Work } from '../work.js';

/**
 * A stage that computes records for a list of items. A run (RunContext.blocks) and a stage command
 * (showBlocks) execute it in the same way, each into an artefact of its own.
 */
export interface BlockedStage<Item, Made extends object> {
  items: readonly Item[];
  /** Items between two saves. */
  size: number;
  /** The unit of progress, and the units per item; 1 if absent. */
  unit: string;
  units?: (item: Item) => number;
  make: (items: readonly Item[], hooks: WorkHooks) => Promise<Made[]>;
  /**
   * Sequences that are decoded together: the next block begins once fewer units than this are
   * unfinished. If absent or undefined, blocks are made one after the other.
   */
  atOnce?: () => Promise<number | undefined>;
  /** Describes the work for other ranks, before the first block. If absent, rank 0 does all. */
  work?: (hooks: WorkHooks) => Promise<Work>;
  /** A short summary of the result, for the stage's last line. */
  note?: (made: readonly Made[]) => string;
}

/** Units of `some` items of a stage; default all. */
export function unitsOf<Item>(
  { items = [], units = () => 1 }: { items?: readonly Item[]; units?: (item: Item) => number },
  some = items,
): number {
  return some.reduce((total, item) => total + units(item), 0);
}

/** Units of the items that are not in `missing` blocks. */
export function unitsThere<Item, Made extends object>(
  stage: BlockedStage<Item, Made>,
  missing: readonly { items: readonly Item[] }[],
): number {
  return missing.reduce((left, { items }) => left - unitsOf(stage, items), unitsOf(stage));
}

/** Units of the whole stage, and of its blocks that are on disk. */
export function progressOf<Item, Made extends object>(
  stage: BlockedStage<Item, Made>,
  artefact: Artefact,
): { done: number; total: number } {
  const total = unitsOf(stage);
  const left = unitsOf(stage, remainingItems(artefact, stage.items, stage.size));
  return { done: total - left, total };
}

/** Makes blocks of a stage and saves them, in any order. */
export type MakeBlocks = <Item, Made extends object>(
  stage: BlockedStage<Item, Made>,
  missing: readonly Block<Item>[],
  save: SaveBlock<Made>,
  hooks: WorkHooks,
) => Promise<void>;

/** The records of a stage; blocks that are on disk are read instead of made. */
export function makeBlocks<Item, Made extends object>(
  stage: BlockedStage<Item, Made>,
  artefact: Artefact,
  hooks: WorkHooks,
  makeAll: MakeBlocks = makeHere,
): Promise<Made[]> {
  const { items, size } = stage;
  return inBlocks<Item, Made>({
    ...artefact,
    items,
    size,
    make: (missing, save) => (stage.work ? makeAll : makeHere)(stage, missing, save, hooks),
  });
}

/** Makes blocks in this process; progress continues from the blocks that are not missing. */
export async function makeHere<Item, Made extends object>(
  stage: BlockedStage<Item, Made>,
  missing: readonly Block<Item>[],
  save: SaveBlock<Made>,
  hooks: WorkHooks,
): Promise<void> {
  if (missing.length === 0) return;
  const before = unitsThere(stage, missing);
  const left = missing.values();
  await overlapped<Block<Item>, Made[]>(
    {
      take: () => Promise.resolve(left.next().value),
      units: ({ items }) => unitsOf(stage, items),
      atOnce: await stage.atOnce?.(),
    },
    ({ items }, its) => stage.make(items, its),
    save,
    { ...hooks, progress: (done, tokens) => hooks.progress(before + done, tokens) },
  );
}

/**
 * The sequences that `policy` decodes together with this `max_num_seqs`, if memory allows;
 * undefined where the bits of a sequence depend on the others (docs/determinism.md): then blocks
 * keep apart, so that a run repeats byte for byte.
 */
export async function sequencesAtOnce(
  policy: () => Promise<LanguageModel>,
  limit: number | 'auto',
): Promise<number | undefined> {
  const { model } = await policy();
  const { device, adapter } = model;
  // On a GPU the kernels that keep a row's bits take sides of multiples of 8 (ops/linear).
  const keepsBits = device === 'cpu' || (adapter?.rank ?? 0) % 8 === 0;
  if (!model.config.batchInvariant || !keepsBits) return undefined;
  if (limit !== 'auto') return limit;
  return device === 'cpu' ? CPU_AUTO.maxNumSeqs : MOST_SEQS;
}
