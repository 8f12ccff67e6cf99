/**
 * The other ranks of a run: they follow the orders of rank 0 (team.ts) and return records through
 * the ranks' store. They write no file and read only checkpoints and the examples of a training
 * from the run directory, which all ranks must see under the same path.
 */
import { hostname } from 'node:os';
import type { DemonstrationRecord, MismatchedRecord } from '../data/records.js';
import { setThreads } from '../engine/addon.js';
import type { Ranks } from '../engine/ranks.js';
import type { Trainer } from '../engine/trainer.js';
import { workContext, type Part, type WorkContext } from './context.js';
import { Interrupted } from './errors.js';
import { adapterOf, Models } from './models.js';
import { placed, threadsOf } from './placement.js';
import { evaluationInTraining, trainedPairs } from './stages/in-training.js';
import { batchesAfter, takeStep, trainerParams, type Objective } from './stages/objective.js';
import { sftObjective } from './stages/sft.js';
import { preferenceObjective } from './stages/train.js';
import { unitsOf } from './stages/stage.js';
import { digestFile } from './digest.js';
import { onDisk } from './store.js';
import { agreedBase, type OwnStart } from './same-start.js';
import { overlapped } from './overlap.js';
import { answerKey, fairShare, madeKey, orderKey, takeUnit } from './team.js';
import type { Ending, Failure, MadeUnit, Order } from './team.js';
import { withMaker, type Making } from './work.js';

const LOOK_MS = 1000;
/** The longest wait for rank 0 to end the run after this rank has failed. */
const END_MS = 15_000;

type OrderOf<Do extends Order['do']> = Extract<Order, { do: Do }>;

/**
 * Follows rank 0 to the end of the run, which this rank was started with as `own`; `signal` asks
 * rank 0 to stop. Returns whether the run ended well. @throws Interrupted if the run was stopped;
 * the error of this rank if rank 0 does not end the run because of it
 */
export async function follow(ranks: Ranks, own: OwnStart, signal: AbortSignal): Promise<boolean> {
  const follower = new Follower(ranks, own);
  const askToStop = () => void ranks.push('stop', '1').catch(() => {});
  signal.addEventListener('abort', askToStop, { once: true });
  try {
    const how = await follower.run();
    if (how === 'stopped') throw new Interrupted();
    return how === 'finished';
  } catch (error) {
    if (error instanceof Interrupted) throw error;
    await follower.report(error).catch(() => {}); // where rank 0 is gone, this error is told here
    if (await follower.isOver()) return false;
    throw error;
  } finally {
    await ranks.add('left', 1).catch(() => {});
    ranks.leave();
  }
}

class Follower {
  private number = 0;
  /** Makes the context of the run or of a part of an iteration; set by the order `begin`. */
  private contextOf: ((part?: Part) => WorkContext) | undefined;

  constructor(
    private readonly ranks: Ranks,
    private readonly own: OwnStart,
  ) {}

  async run(): Promise<Ending> {
    try {
      for (;;) {
        const { order, key } = await this.next();
        if (order.do === 'end') return order.how;
        await this.obey(order, key);
      }
    } catch (error) {
      if (error instanceof Ended) return error.how;
      throw error;
    } finally {
      await this.contextOf?.().models.dispose();
    }
  }

  /** Reports the failure of this rank to rank 0. */
  async report(error: unknown): Promise<void> {
    const { code = 'ERR_INTERNAL', message } = error as Partial<Failure>;
    const failure: Failure = {
      rank: this.ranks.place.rank,
      host: hostname(),
      code,
      message: message ?? String(error),
    };
    await this.ranks.push('failures', JSON.stringify(failure));
  }

  /** Whether rank 0 ends the run within END_MS. */
  async isOver(): Promise<boolean> {
    const signal = AbortSignal.timeout(END_MS);
    try {
      for (;;) {
        const { order } = await this.next(signal);
        if (order.do === 'end') return true;
      }
    } catch {
      return false;
    }
  }

  private async next(signal?: AbortSignal): Promise<{ order: Order; key: string }> {
    const key = orderKey(this.number);
    const order = JSON.parse(await this.ranks.await(key, signal)) as Order;
    this.number++;
    return { order, key };
  }

  private async obey(order: Order, key: string): Promise<void> {
    switch (order.do) {
      case 'begin':
        this.contextOf = await this.begin(order);
        return this.answer(key, '');
      case 'make':
        return this.makeWork(order, key);
      case 'train':
        return this.train(order);
      case 'load': {
        const run = this.contextOf!(order.part);
        for (const n of order.checkpoints) await run.models.model(run.checkpoint(n));
        return;
      }
      case 'keep': {
        const run = this.contextOf!();
        return run.models.keep(order.checkpoints.map((n) => run.checkpoint(n)));
      }
      default:
        throw new Error(`The order ${order.do} belongs to a training.`);
    }
  }

  private async begin({ start }: OrderOf<'begin'>): Promise<(part?: Part) => WorkContext> {
    const { place } = this.ranks;
    const { recipe, directory } = start;
    const { signal } = new AbortController();
    const base = await agreedBase(start, this.own, { signal });
    setThreads(threadsOf(recipe, place));
    const own = placed(recipe, place);
    const models = new Models({
      base,
      name: recipe.model,
      dtype: own.dtype,
      device: own.device,
      signal,
      adapter: adapterOf(own),
    });
    return (part) => workContext({ recipe: own, base, directory, models }, part);
  }

  private async makeWork({ work, units, part }: OrderOf<'make'>, key: string): Promise<void> {
    if (work.stage === 'evaluate in training')
      throw new Error(`The work ${work.stage} belongs to a training.`);
    await this.make(key, units, (use) => withMaker(this.contextOf!(part), work, use));
  }

  /** Makes units of a stage that `lend` gives. */
  private async make(
    key: string,
    units: number,
    lend: (use: (stage: Making) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const stop = new AbortController();
    const timer = setInterval(() => {
      void this.ranks.get(`${key}/stop`).then(
        (text) => text !== null && stop.abort(),
        () => {},
      );
    }, LOOK_MS);
    try {
      await lend((stage) => this.makeUnits(stage, units, key, stop.signal));
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    } finally {
      clearInterval(timer);
    }
  }

  private async makeUnits(
    stage: Making,
    units: number,
    key: string,
    signal: AbortSignal,
  ): Promise<void> {
    const take = async () => {
      const unit = await takeUnit(this.ranks, key, units);
      if (unit === undefined) return undefined;
      const text = await this.ranks.await(`${key}/unit/${unit}`, signal);
      return { unit, items: JSON.parse(text) as never[] };
    };
    await overlapped<{ unit: number; items: never[] }, object[]>(
      {
        take,
        units: ({ items }) => unitsOf(stage, items),
        atOnce: await stage.atOnce?.(),
        most: fairShare(units, this.ranks.place.size),
      },
      ({ items }, hooks) => stage.make(items, hooks),
      ({ unit }, records, tokens) => this.send(key, { unit, tokens, records }),
      { signal, progress: () => {} },
    );
  }

  private async send(key: string, made: MadeUnit): Promise<void> {
    const number = await this.ranks.add(`${key}/count`, 1);
    await this.ranks.set(madeKey(key, number), JSON.stringify(made));
    await this.ranks.remove(`${key}/unit/${made.unit}`);
  }

  private async saveShard(trainer: Trainer, files: string[], key: string): Promise<void> {
    const { rank } = this.ranks.place;
    const file = files[rank]!;
    await onDisk(file, () => trainer.saveState(file));
    await this.answer(key, JSON.stringify(await digestFile(file)));
  }

  private answer(key: string, text: string): Promise<void> {
    return this.ranks.set(answerKey(key, this.ranks.place.rank), text);
  }

  private async train({ phase, from, to, part }: OrderOf<'train'>): Promise<void> {
    const run = this.contextOf!(part);
    const optimise = <Example>(objective: Objective<Example>) =>
      this.optimise(run, objective, from, to);
    if (phase === 'sft') {
      const demonstrations = await run.read<DemonstrationRecord>(phase, 'demonstrations.jsonl');
      return optimise(sftObjective(demonstrations, run.recipe));
    }
    const pairs = await trainedPairs(run, phase);
    const mismatched =
      run.recipe.train.loss === 'kto'
        ? await run.read<MismatchedRecord>(phase, 'mismatched.jsonl')
        : [];
    const key = [run.recipe.seed, 'train', phase];
    return optimise({
      ...preferenceObjective({ pairs, mismatched }, run.recipe, key, () => {}),
      evaluation: evaluationInTraining(run.recipe, { held: [], questions: [] }),
    });
  }

  /** The calls of rank 0's trainer (stages/optimise.ts), in its order. */
  private async optimise<Example>(
    run: WorkContext,
    objective: Objective<Example>,
    from: number,
    to: number,
  ): Promise<void> {
    const { checkpoint_dtype: dtype } = objective.settings;
    const policy = await run.models.beginTraining(run.checkpoint(from));
    const trainer = await policy.model.trainer(trainerParams(objective));
    let done = 0;
    let batches = batchesAfter(done, objective);
    const { signal } = new AbortController();
    for (;;) {
      const { order, key } = await this.next();
      switch (order.do) {
        case 'load state':
          await trainer.loadState(order.files);
          done = order.done;
          batches = batchesAfter(done, objective);
          break;
        case 'step': {
          const batch = batches.next().value as Example[];
          await takeStep(objective, { trainer, batch, policy, before: done++ }, { signal });
          break;
        }
        case 'gather weights':
          await trainer.gatherWeights();
          break;
        case 'save state':
          await this.saveShard(trainer, order.files, key);
          break;
        case 'make':
          await this.make(key, order.units, (use) =>
            use({ make: (items, hooks) => objective.evaluation!.make(items, policy, hooks) }),
          );
          break;
        case 'save weights':
          if (policy.model.adapter === null) await policy.model.save(run.checkpoint(to), { dtype });
          break;
        case 'trained':
          await trainer.dispose();
          if (!order.kept) return policy.model.dispose();
          return run.models.endTraining(policy.model, run.checkpoint(to), dtype);
        case 'end':
          throw new Ended(order.how);
        default:
          throw new Error(`The order ${order.do} does not belong to a training.`);
      }
    }
  }
}

/** The run ended within a training. */
class Ended extends Error {
  constructor(readonly how: Ending) {
    super('The run has ended.');
  }
}
