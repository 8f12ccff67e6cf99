/** What all stages share: cancellation, progress, and work that is saved block by block. */
import { inBlocks, remainingItems, type Artefact } from '../store.js';

/** Cancellation and progress of a stage. */
export interface StageHooks {
  signal: AbortSignal;
  /** `done` items and `tokens` of this call so far. */
  progress: (done: number, tokens: number) => void;
}

/**
 * A stage that computes records for a list of items. A run (RunContext.blocks) and a stage command
 * (showBlocks) execute it alike, into an artefact of their own.
 */
export interface BlockedStage<Item, Made extends object> {
  items: readonly Item[];
  /** Items between two saves. */
  size: number;
  /** The unit that progress counts, and how many of it an item makes; 1 where absent. */
  unit: string;
  units?: (item: Item) => number;
  make: (items: readonly Item[], hooks: StageHooks) => Promise<Made[]>;
  /** A short summary of the result, for the stage's last line. */
  note?: (made: readonly Made[]) => string;
}

/** Units of the whole stage, and of its blocks that are on disk. */
export function progressOf<Item, Made extends object>(
  { items, size, units = () => 1 }: BlockedStage<Item, Made>,
  artefact: Artefact,
): { done: number; total: number } {
  const sum = (some: readonly Item[]) => some.reduce((total, item) => total + units(item), 0);
  const total = sum(items);
  return { done: total - sum(remainingItems(artefact, items, size)), total };
}

/** The records of a stage; blocks that are on disk are read instead of made. */
export function makeBlocks<Item, Made extends object>(
  { items, size, units = () => 1, make }: BlockedStage<Item, Made>,
  artefact: Artefact,
  hooks: StageHooks,
): Promise<Made[]> {
  let counted = 0;
  let done = 0;
  let tokensBefore = 0;
  let tokens = 0;
  return inBlocks({
    ...artefact,
    items,
    size,
    make: (block, first) => {
      hooks.signal.throwIfAborted();
      for (; counted < first; counted++) done += units(items[counted]!);
      tokensBefore += tokens;
      tokens = 0;
      return make(block, {
        signal: hooks.signal,
        progress: (now, spent) => hooks.progress(done + now, tokensBefore + (tokens = spent)),
      });
    },
  });
}
