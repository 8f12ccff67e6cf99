/**
 * KTO's estimate of KL(π_θ ‖ π_ref) (arXiv 2402.01306, section 4.1): the mean of log π_θ − log
 * π_ref over completions that are paired with the prompt of another pair. Each pair's prompt gets
 * both completions of the next pair in a keyed order. So the mismatched sequences do not depend on
 * the batches, and the reference scores each one once, before training. TRL rotates the completions
 * within a batch instead, which draws from the same distribution.
 */
import { average } from '../../data/average.js';
import type { MismatchedRecord, PairRecord } from '../../data/records.js';
import type { Model } from '../../engine/model.js';
import type { WorkHooks } from '../../lm/hooks.js';
import type { RunContext, WorkContext } from '../context.js';
import { RunError } from '../errors.js';
import { shuffled } from '../keys.js';
import type { BlockedStage } from './stage.js';

interface Settings {
  save_prompts: number;
  max_num_batched_tokens: number | 'auto';
}

/** A prompt with the completions of another pair. */
interface Mismatched {
  prompt_id: string;
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** The mismatched completions of `pairs` under the reference of iteration `t`. */
export async function scoreMismatched(
  run: RunContext,
  t: number,
  pairs: readonly PairRecord[],
): Promise<MismatchedRecord[]> {
  return run.blocks(
    { phase: t, stage: 'score' },
    'mismatched.jsonl',
    mismatchedScoringOf(run, t, pairs),
  );
}

/** The scoring of iteration `t`'s mismatched completions under its reference. */
export function mismatchedScoringOf(
  run: WorkContext,
  t: number,
  pairs: readonly PairRecord[],
): BlockedStage<PairRecord, MismatchedRecord> {
  const { train, score, seed } = run.recipe;
  const reference = run.checkpoint(train.reference === 'base' ? 0 : t);
  return {
    ...mismatchedStage(pairs, [seed, 'train', t], () => run.models.model(reference), score),
    work: () => Promise.resolve({ stage: 'mismatched', t }),
  };
}

/** Mismatched scoring as a stage: each prompt with the completions of another pair. */
export function mismatchedStage(
  pairs: readonly PairRecord[],
  key: readonly (string | number)[],
  reference: () => Promise<Model>,
  settings: Settings,
): BlockedStage<PairRecord, MismatchedRecord> {
  const partnerOf = partners(pairs, key);
  return {
    items: pairs,
    size: settings.save_prompts,
    unit: 'mismatched completions',
    units: () => 2,
    make: async (block, hooks) => {
      const model = await reference();
      const items = block.map((pair) => mismatched(pair, partnerOf(pair), model));
      const { sums } = await logps(items, model, settings, hooks);
      return block.map((pair, i) => ({
        prompt_id: pair.prompt_id,
        other_id: partnerOf(pair).prompt_id,
        ref_chosen_logps: sums[2 * i]!,
        ref_rejected_logps: sums[2 * i + 1]!,
      }));
    },
  };
}

/**
 * KTO's z_0 of a batch, in nats: max(0, mean of log π_θ − log π_ref) over its mismatched
 * completions. `policy` is θ as the last step left it.
 */
export function klBaseline(
  pairs: readonly PairRecord[],
  records: readonly MismatchedRecord[],
  settings: Pick<Settings, 'max_num_batched_tokens'>,
): (
  batch: readonly PairRecord[],
  policy: Model,
  signal: AbortSignal,
) => Promise<{ baseline: number; tokens: number }> {
  const pairOf = new Map(pairs.map((pair) => [pair.prompt_id, pair]));
  const recordOf = new Map(records.map((record) => [record.prompt_id, record]));
  return async (batch, policy, signal) => {
    const known = batch.map(({ prompt_id }) => recordOf.get(prompt_id)!);
    const items = batch.map((pair, i) => mismatched(pair, pairOf.get(known[i]!.other_id)!, policy));
    const { sums, forwardTokens } = await logps(items, policy, settings, {
      signal,
      progress: () => {},
    });
    const ratios = known.flatMap((record, i) => [
      sums[2 * i]! - record.ref_chosen_logps,
      sums[2 * i + 1]! - record.ref_rejected_logps,
    ]);
    return { baseline: Math.max(0, average(ratios)), tokens: forwardTokens };
  };
}

/** @throws RunError if KTO has no other prompt's completions */
export function requireTwoPrompts(prompts: readonly string[]): void {
  if (new Set(prompts).size < 2)
    throw new RunError(
      'ERR_RUN_DATA',
      'train.loss kto needs pairs of at least two prompts, because it estimates the KL ' +
        'divergence on completions of other prompts: give more prompts, or set train.loss to dpo.',
    );
}

/** The next pair of another prompt, in an order that depends on `key` and the ids alone. */
function partners(
  pairs: readonly PairRecord[],
  key: readonly (string | number)[],
): (pair: PairRecord) => PairRecord {
  const order = shuffled(pairs, ({ prompt_id }) => prompt_id, ...key, 'mismatched');
  const at = new Map(order.map(({ prompt_id }, i) => [prompt_id, i]));
  const prompts = order.map(({ prompt_token_ids: ids }) => ids.join(' '));
  requireTwoPrompts(prompts);
  return ({ prompt_id }) => {
    const own = at.get(prompt_id)!;
    let next = own;
    do next = (next + 1) % order.length;
    while (prompts[next] === prompts[own]);
    return order[next]!;
  };
}

/** `pair`'s prompt with the completions of `other`, cut to what fits the context behind it. */
function mismatched(pair: PairRecord, other: PairRecord, model: Model): Mismatched {
  const prompt = pair.prompt_token_ids;
  const most = model.config.maxPositionEmbeddings - prompt.length;
  return {
    prompt_id: pair.prompt_id,
    prompt,
    chosen: other.chosen_token_ids.slice(0, most),
    rejected: other.rejected_token_ids.slice(0, most),
  };
}

function logps(
  items: readonly Mismatched[],
  model: Model,
  { max_num_batched_tokens: maxNumBatchedTokens }: Pick<Settings, 'max_num_batched_tokens'>,
  { signal, progress }: WorkHooks,
) {
  const groups = items.map(({ prompt, chosen, rejected }) => ({
    prompt,
    completions: [chosen, rejected],
  }));
  return model.score(
    { groups, maxNumBatchedTokens },
    { signal, onProgress: ({ done, tokens }) => progress(done, tokens) },
  );
}
