/**
 * This process among the ranks of a run: its place, which torchrun gives, and the key-value store
 * that all ranks share (c10d's TCPStore). Values are text of any length.
 */
import { addon } from './addon.js';
import type { RankPlace } from './native-types.js';
import { fromNative } from './errors.js';
import { runJob } from './signal.js';

export type { RankPlace };

/** Characters per value: c10d takes 8 MB, and a character has at most 3 bytes. */
const PART = 2_000_000;
/** Longest wait for a key per request to the store, which answers as soon as the key is set. */
const WAIT_MS = 1000;

/**
 * The place that the environment gives. Throws CreamError ERR_INVALID_ARGUMENT naming a variable
 * that is missing or wrong.
 */
export function rankPlace(): RankPlace {
  const caller = new Error();
  try {
    return addon().rankPlace();
  } catch (error) {
    throw fromNative(error, caller);
  }
}

/**
 * Whether the environment names several ranks, also by a WORLD_SIZE that is no number; does not
 * load the addon.
 */
export const hasRanks = (): boolean => !['', '1'].includes(process.env['WORLD_SIZE'] ?? '');

/** Whether another rank prints the results; does not load the addon. */
export const isSilentRank = (): boolean => hasRanks() && process.env['RANK'] !== '0';

/** The process groups of this build: Gloo joins processes on CPUs, NCCL those on GPUs. */
export const processGroups = (): { gloo: boolean; nccl: boolean } => addon().processGroups();

let joined = false;

/** Whether this process is or was one of several ranks, or waits for the others. */
export const hasJoined = (): boolean => joined;

/** The store of the ranks; one at a time per process. All methods reject with ERR_IO. */
export class Ranks {
  private constructor(readonly place: RankPlace) {}

  /**
   * Waits until all ranks have joined. From then on new trainers train on all ranks, and the
   * process ends with one sentence if another rank is lost. Rejects with ERR_IO, ERR_UNSUPPORTED.
   */
  static async join(place: RankPlace): Promise<Ranks> {
    joined = true;
    await runJob(() => addon().joinRanks());
    return new Ranks(place);
  }

  /** Sets `key` once. */
  async set(key: string, text: string): Promise<void> {
    const parts = partsOf(text);
    for (const [i, part] of parts.entries())
      await runJob(() => addon().storeSet(`${key}/${i}`, part));
    await runJob(() => addon().storeSet(key, String(parts.length)));
  }

  /** The value of `key`; null if it is not set. */
  get(key: string): Promise<string | null> {
    return this.read(key, 0);
  }

  /** Waits until `key` is set and returns its value. */
  async await(key: string, signal?: AbortSignal): Promise<string> {
    for (;;) {
      signal?.throwIfAborted();
      const text = await this.read(key, WAIT_MS);
      if (text !== null) return text;
    }
  }

  private async read(key: string, milliseconds: number): Promise<string | null> {
    const parts = await runJob(() => addon().storeAwait(key, milliseconds));
    if (parts === null) return null;
    let text = '';
    for (let i = 0; i < Number(parts); i++)
      text += (await runJob(() => addon().storeAwait(`${key}/${i}`, 0)))!;
    return text;
  }

  async remove(key: string): Promise<void> {
    const parts = await runJob(() => addon().storeAwait(key, 0));
    await runJob(() => addon().storeRemove(key));
    for (let i = 0; i < Number(parts ?? 0); i++)
      await runJob(() => addon().storeRemove(`${key}/${i}`));
  }

  /** Adds to a counter and returns its value. */
  async add(key: string, value: number): Promise<number> {
    return Number(await runJob(() => addon().storeAdd(key, value)));
  }

  /** Appends a short text to a queue. */
  async push(queue: string, text: string): Promise<void> {
    await runJob(() => addon().storePush(queue, text));
  }

  /** Removes the first text of a queue and returns it; null if the queue is empty. */
  pop(queue: string): Promise<string | null> {
    return runJob(() => addon().storePop(queue));
  }

  /** Stops watching the other ranks, which may now end. */
  leave(): void {
    addon().leaveRanks();
  }
}

/** Ends the process even if its threads wait for other ranks. */
export function endProcess(code: number): never {
  return addon().endProcess(code);
}

/** At least one part; none ends within a surrogate pair. */
function partsOf(text: string): string[] {
  const parts: string[] = [];
  for (let at = 0; at < text.length || parts.length === 0;) {
    let end = Math.min(text.length, at + PART);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last < 0xdc00) end--;
    parts.push(text.slice(at, end));
    at = end;
  }
  return parts;
}
