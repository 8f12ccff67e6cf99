/**
 * Chooses the checkpoints that stay on disk: the last `keep`, the one with the best accuracy,
 * SFT's, from which other runs start, and those that the next iteration needs.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { AnswerRecord } from '../data/records.js';
import { accuracyOf } from '../evaluate/intervals.js';
import type { RunContext } from './context.js';
import { onDisk } from './store.js';
import { verifyCheckpoint } from './verify.js';

/** Removes the checkpoints that are not kept after iteration `t`, once θ_{t+1} is verified. */
export async function prune(run: RunContext, t: number): Promise<void> {
  const { keep } = run.recipe;
  if (keep === 'all') return;
  const best = await bestCheckpoint(run, t + 1);
  const old = Array.from({ length: Math.max(0, t + 1 - keep) }, (_, i) => i + 1).filter(
    (n) => n >= 2 && n !== best && existsSync(run.checkpoint(n)),
  );
  if (old.length === 0) return;
  await verifyCheckpoint(run.records, run.checkpoint(t + 1), run.signal);
  for (const n of old) await removeCheckpoint(run, run.checkpoint(n));
}

/** Removes a checkpoint and records that it is not missing but removed. */
export async function removeCheckpoint(run: RunContext, folder: string): Promise<void> {
  await onDisk(folder, async () => {
    await withdrawCheckpoint(run, folder);
    await rm(folder, { recursive: true, force: true });
  });
}

/** Withdraws the record of a checkpoint that is about to change. */
export async function withdrawCheckpoint(run: RunContext, folder: string): Promise<void> {
  await run.records.withdraw(...run.records.under(folder).map(({ file }) => file));
}

/** The model θ_n, 2 ≤ n ≤ `last`, with the highest accuracy; among equals the earliest. */
async function bestCheckpoint(run: RunContext, last: number): Promise<number | undefined> {
  let best: { n: number; accuracy: number } | undefined;
  for (let n = 2; n <= last; n++) {
    if (!existsSync(run.file(n - 1, 'answers.jsonl'))) continue;
    const accuracy = (run.accuracies[n] ??= accuracyOf(
      await run.read<AnswerRecord>(n - 1, 'answers.jsonl'),
    ).accuracy);
    if (!best || accuracy > best.accuracy) best = { n, accuracy };
  }
  return best?.n;
}
