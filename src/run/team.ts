/**
 * Rank 0's side of a run on several ranks. Rank 0 runs the recipe, owns the run directory and gives
 * orders; the other ranks follow them (follow.ts). Orders are numbered keys of the ranks' store.
 *
 * The blocks of a stage are cut into units, which the ranks take from a shared counter, so that a
 * slow rank holds nobody up. A completion depends on its prompt and its seed alone, so the artefact
 * does not depend on who made what.
 */
import { setThreads } from '../engine/addon.js';
import type { RankPlace, Ranks } from '../engine/ranks.js';
import type { WorkHooks } from '../lm/hooks.js';
import type { Part } from './context.js';
import { Interrupted } from './errors.js';
import type { RunEvent } from './events.js';
import { overlapped } from './overlap.js';
import { threadsOf } from './placement.js';
import type { Recipe } from './recipe.js';
import type { Digest } from './digest.js';
import { blocksOf, type Block, type Phase, type SaveBlock } from './store.js';
import { unitsOf, unitsThere, type BlockedStage } from './stages/stage.js';
import type { Versions } from './versions.js';
import type { Work } from './work.js';

export type Order =
  | { do: 'begin'; start: Start }
  /** Take units of a stage until none is left; of `part` of an iteration where there is one. */
  | { do: 'make'; work: Work; units: number; part?: Part | undefined }
  | { do: 'train'; phase: Phase; from: number; to: number; part?: Part | undefined }
  /** The calls of a trainer, which all ranks make together. */
  | { do: 'step' | 'gather weights' | 'save weights' }
  /** Each rank saves its shard to the file of its number. */
  | { do: 'save state'; files: string[] }
  | { do: 'load state'; files: string[]; done: number }
  /** `kept`: the model in memory is θ_to. */
  | { do: 'trained'; kept: boolean }
  /** Load θ_n for these n, which the next work needs; of `part` as in `make`. */
  | { do: 'load'; checkpoints: number[]; part?: Part | undefined }
  /** Free all models but θ_n for these n. */
  | { do: 'keep'; checkpoints: number[] }
  | { do: 'end'; how: Ending };

/** How a run ended. */
export type Ending = 'finished' | 'failed' | 'stopped';

/** What rank 0 was started with; the other ranks compare it with their own start. */
export interface Start {
  recipe: Recipe;
  /** Absolute. */
  directory: string;
  /** The text of the run directory's lock, which rank 0 holds. */
  lock: string;
  /** Digests of the base model and of a reward model. */
  model: string;
  rewardModel: string | undefined;
  versions: Versions;
}

/** The failure of another rank. */
export interface Failure {
  rank: number;
  host: string;
  code: string;
  message: string;
}

/** The records of a unit that another rank has made, and the tokens computed for them. */
export interface MadeUnit {
  unit: number;
  tokens: number;
  records: object[];
}

export const orderKey = (number: number): string => `order/${number}`;
/** The key of what a rank answers to the order of `key`. */
export const answerKey = (key: string, rank: number): string => `${key}/answer/${rank}`;
/** The key of the unit that the other ranks made as their `number`th, from 1. */
export const madeKey = (key: string, number: number): string => `${key}/made/${number}`;

/** Units of a stage per rank; fewer if the stage has fewer items. */
const UNITS_PER_RANK = 4;
const POLL_MS = 20;
const LOOK_MS = 1000;
/** The longest wait of rank 0 for the others to leave; after a failure one of them may be gone. */
const FAREWELL_MS: Readonly<Record<Ending, number>> = {
  finished: 15_000,
  stopped: 15_000,
  failed: 4000,
};

interface Unit<Item> {
  block: Block<Item>;
  items: readonly Item[];
}

/** This rank's part in a run on several ranks. */
export class Team {
  private orders = 0;
  private readonly stopped = new AbortController();
  private readonly over = new AbortController();
  private readonly timer: NodeJS.Timeout;
  /** Rejects with the failure of another rank. */
  readonly failed: Promise<never>;
  private fail: (error: Error) => void = () => {};
  /** Resolves once all other ranks have begun the run. */
  private begun: Promise<unknown> = Promise.resolve();

  constructor(private readonly ranks: Ranks) {
    this.failed = new Promise((_, reject) => (this.fail = reject));
    this.failed.catch(() => {});
    this.timer = setInterval(() => void this.look().catch(() => {}), LOOK_MS);
    this.timer.unref();
  }

  get place(): RankPlace {
    return this.ranks.place;
  }

  /** Sets the number of CPU threads of this rank. */
  setThreads(recipe: Recipe): RunEvent {
    const threads = threadsOf(recipe, this.place);
    setThreads(threads);
    const ompThreads = process.env['OMP_NUM_THREADS'] ?? null;
    return { type: 'ranks_joined', ranks: this.size, threads, ompThreads };
  }

  get size(): number {
    return this.ranks.place.size;
  }

  /** Aborted if another rank is asked to stop. */
  get signal(): AbortSignal {
    return this.stopped.signal;
  }

  /** Begins the run on the other ranks, without waiting for them. */
  async begin(start: Start): Promise<void> {
    this.begun = this.answers(await this.order({ do: 'begin', start }));
    this.begun.catch(() => {});
  }

  /** Gives an order and returns its key. The first work waits until all ranks have begun. */
  async order(order: Order): Promise<string> {
    if (order.do === 'make' || order.do === 'train') await this.begun;
    const key = orderKey(this.orders++);
    await this.ranks.set(key, JSON.stringify(order));
    return key;
  }

  /** Makes blocks with all ranks; a block is saved once all of its units are there. */
  async makeBlocks<Item, Made extends object>(
    stage: BlockedStage<Item, Made>,
    missing: readonly Block<Item>[],
    save: SaveBlock<Made>,
    hooks: WorkHooks,
    part?: Part,
  ): Promise<void> {
    if (missing.length === 0) return;
    let spent = 0; // tokens computed before the first block, by the check of the sampler
    const progress = (done: number, tokens: number) => hooks.progress(done, (spent = tokens));
    const work = await stage.work!({ ...hooks, progress });
    const units = cut(missing, this.size);
    const key = orderKey(this.orders);
    for (const [i, { items }] of units.entries())
      await this.ranks.set(`${key}/unit/${i}`, JSON.stringify(items));
    await this.order({ do: 'make', work, units: units.length, part });
    const collected = new Collector(stage, units, save, hooks, spent);
    const over = new AbortController();
    try {
      await Promise.all([
        this.makeOwn(key, stage, collected),
        this.collect(key, collected, AbortSignal.any([over.signal, hooks.signal])),
      ]);
    } catch (error) {
      await this.ranks.set(`${key}/stop`, '1').catch(() => {}); // `error` is the cause
      throw error;
    } finally {
      over.abort();
    }
  }

  private async makeOwn<Item, Made extends object>(
    key: string,
    stage: BlockedStage<Item, Made>,
    collected: Collector<Item, Made>,
  ): Promise<void> {
    const { units } = collected;
    await overlapped<number, Made[]>(
      {
        take: () => takeUnit(this.ranks, key, units.length),
        units: (i) => unitsOf(stage, units[i]!.items),
        atOnce: await stage.atOnce?.(),
        most: fairShare(units.length, this.size),
      },
      (i, hooks) => stage.make(units[i]!.items, hooks),
      (i, made) => collected.keep(i, made),
      { ...collected.hooks, progress: (done, tokens) => collected.own(done, tokens) },
    );
  }

  private async collect<Item, Made extends object>(
    key: string,
    collected: Collector<Item, Made>,
    signal: AbortSignal,
  ): Promise<void> {
    // The last unit may be one of rank 0, after which no other rank sends anything.
    const complete = collected.complete.then(() => null);
    for (let number = 1; ; number++) {
      // The store is asked natively, so that waiting takes no time from rank 0's own units.
      const next = this.ranks.await(madeKey(key, number), signal);
      next.catch(() => {});
      const text = await Promise.race([next, complete]);
      if (text === null) return;
      await this.ranks.remove(madeKey(key, number));
      const { unit, tokens, records } = JSON.parse(text) as MadeUnit;
      await collected.add(unit, records as Made[], tokens);
    }
  }

  /** Has every rank save its shard of the trainer's state. Resolves with each file's digest. */
  async saveShards(
    files: readonly string[],
    saveOwn: (file: string) => Promise<Digest>,
  ): Promise<Digest[]> {
    const key = await this.order({ do: 'save state', files: [...files] });
    const own = await saveOwn(files[0]!);
    return [own, ...(await this.answers(key)).map((text) => JSON.parse(text) as Digest)];
  }

  /** What each other rank answers to an order. */
  private async answers(key: string): Promise<string[]> {
    const texts: string[] = [];
    for (let rank = 1; rank < this.size; rank++) {
      texts.push(await this.ranks.await(answerKey(key, rank), this.over.signal));
      await this.ranks.remove(answerKey(key, rank));
    }
    return texts;
  }

  /** Lets the other ranks end. */
  async end(how: Ending): Promise<void> {
    clearInterval(this.timer);
    this.over.abort();
    await this.order({ do: 'end', how });
    const until = performance.now() + FAREWELL_MS[how];
    while ((await this.ranks.add('left', 0)) < this.size - 1 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    this.ranks.leave();
  }

  /** The failure that another rank reports within `milliseconds`, if any. */
  async failure(milliseconds: number): Promise<Error | undefined> {
    const until = performance.now() + milliseconds;
    do {
      const text = await this.ranks.pop('failures');
      if (text !== null) {
        const { rank, host, code, message } = JSON.parse(text) as Failure;
        return Object.assign(new Error(`Rank ${rank} on ${host}: ${message}`), { code });
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    } while (performance.now() < until);
    return undefined;
  }

  private async look(): Promise<void> {
    const failure = await this.failure(0);
    if (failure) this.fail(failure);
    if ((await this.ranks.pop('stop')) !== null) this.stopped.abort();
  }
}

/** Rank 0's work, until another rank fails; the others end with it. */
export async function withTeam(team: Team | undefined, work: () => Promise<void>): Promise<void> {
  if (!team) return work();
  try {
    await Promise.race([work(), team.failed]);
  } catch (error) {
    // An operation of all ranks fails on every rank; the one that failed first says why.
    const first =
      (error as { code?: unknown }).code === 'ERR_IO' ? await team.failure(2000) : undefined;
    await team.end(error instanceof Interrupted ? 'stopped' : 'failed').catch(() => {});
    throw first ?? error;
  }
  await team.end('finished');
}

/** The number of the next unit; undefined if none is left. */
export async function takeUnit(
  ranks: Ranks,
  key: string,
  units: number,
): Promise<number | undefined> {
  const next = await ranks.add(`${key}/next`, 1);
  return next > units ? undefined : next - 1;
}

/** Most units that a rank makes at once, so that it takes none from ranks that begin later. */
export const fairShare = (units: number, ranks: number): number => Math.ceil(units / ranks);

/** Cuts blocks into units: whole blocks if there are many, parts of a block if there are few. */
export function cut<Item>(missing: readonly Block<Item>[], ranks: number): Unit<Item>[] {
  const perBlock = Math.ceil((UNITS_PER_RANK * ranks) / missing.length);
  return missing.flatMap((block) => {
    const parts = blocksOf(block.items, Math.ceil(block.items.length / perBlock));
    return parts.map(({ items }) => ({ block, items }));
  });
}

/** Puts the records of units together, in their order, and counts the progress of all ranks. */
class Collector<Item, Made extends object> {
  private readonly made: (Made[] | undefined)[];
  /** Units of progress and tokens: of what was there before and the other ranks, and of rank 0. */
  private readonly others: { done: number; tokens: number };
  private here = { done: 0, tokens: 0 };
  private saving: Promise<void> = Promise.resolve();
  private left: number;
  /** Resolves once every unit is there and every block is saved. */
  readonly complete: Promise<void>;
  private resolveComplete: () => void = () => {};

  constructor(
    private readonly stage: BlockedStage<Item, Made>,
    readonly units: readonly Unit<Item>[],
    private readonly save: SaveBlock<Made>,
    readonly hooks: WorkHooks,
    tokens: number,
  ) {
    this.made = units.map(() => undefined);
    this.left = units.length;
    this.complete = new Promise((resolve) => (this.resolveComplete = resolve));
    this.others = { done: unitsThere(stage, units), tokens };
  }

  /** The progress of rank 0's units. */
  own(done: number, tokens: number): void {
    this.here = { done, tokens };
    this.report();
  }

  /** Adds the records of unit i from another rank; `tokens` were computed for them. */
  async add(i: number, made: Made[], tokens: number): Promise<void> {
    this.others.done += unitsOf(this.stage, this.units[i]!.items);
    this.others.tokens += tokens;
    this.report();
    await this.keep(i, made);
  }

  /** Keeps the records of unit i, and saves its block once all of it is there. */
  async keep(i: number, made: Made[]): Promise<void> {
    const { block } = this.units[i]!;
    this.made[i] = made;
    const own = this.units.flatMap((unit, j) => (unit.block === block ? [j] : []));
    if (own.every((j) => this.made[j])) {
      const records = own.flatMap((j) => this.made[j]!);
      this.saving = this.saving.then(() => this.save(block, records));
      await this.saving;
    }
    if (--this.left === 0) this.resolveComplete();
  }

  private report(): void {
    const { others, here } = this;
    this.hooks.progress(others.done + here.done, others.tokens + here.tokens);
  }
}
