/** Shared by all stages: cancellation, progress, and work that is saved block by block. */
import type { WorkHooks } from '../../lm/hooks.js';
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
  /** Describes the work for other ranks, before the first block. If absent, rank 0 does all. */
  work?: (hooks: WorkHooks) => Promise<Work>;
  /** A short summary of the result, for the stage's last line. */
  note?: (made: readonly Made[]) => string;
}

/** Units of `some` items of a stage; default all. */
export function unitsOf<Item, Made extends object>(
  { items, units = () => 1 }: BlockedStage<Item, Made>,
  some = items,
): number {
  return some.reduce((total, item) => total + units(item), 0);
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
  makeAll?: MakeBlocks,
): Promise<Made[]> {
  const { items, size } = stage;
  const make = counted(stage, hooks);
  if (!makeAll || !stage.work) return inBlocks({ ...artefact, items, size, make });
  return inBlocks<Item, Made>({
    ...artefact,
    items,
    size,
    make,
    makeAll: (missing, save) => makeAll(stage, missing, save, hooks),
  });
}

/**
 * `make` of a stage, called for one block after the other: its progress continues from the blocks
 * before. `first` is the index of a block's first item; blocks may be missing.
 */
export function counted<Item, Made extends object>(
  { items, units = () => 1, make }: BlockedStage<Item, Made>,
  hooks: WorkHooks,
): (block: readonly Item[], first: number) => Promise<Made[]> {
  let at = 0;
  let done = 0;
  let tokensBefore = 0;
  let tokens = 0;
  return async (block, first) => {
    hooks.signal.throwIfAborted();
    for (; at < first; at++) done += units(items[at]!);
    tokensBefore += tokens;
    tokens = 0;
    return make(block, {
      signal: hooks.signal,
      progress: (now, spent) => hooks.progress(done + now, tokensBefore + (tokens = spent)),
    });
  };
}
