/**
 * Check the sampler: compares its log-probs of the sampled tokens with the scorer's, on a few
 * prompts. Both are those of θ_t, so they should be equal and give the same ranking, τ(θ_t, θ_t) =
 * 1. If so, the sampler's log-probs serve as θ_t's scores, and θ_t need not run over all
 * completions again.
 *
 * The ranking uses log π_θt − log π_θ0, the reward in which a difference is most visible: after a
 * short training it is the small difference of two large numbers. If θ_t is θ_0 it uses log π_θt.
 */
import type { SamplerCheckRecord } from '../../data/records.js';
import type { DType } from '../../engine/model.js';
import type { WorkHooks } from '../../lm/hooks.js';
import { agreement } from '../../preference/consistency.js';
import { score, type CompletionGroup, type ScoringModels } from './score.js';

const FEWEST = 2;
const SHARE = 0.02;

/**
 * The largest difference that rounding explains, in nats per token; that of a completion grows with
 * √tokens, as a random walk. bf16: none, because the packed kernels give a sequence the same bits
 * alone and in a batch; without them SmolLM2-135M differs by 0.1, as much as an iteration changes a
 * reward. fp32: the BLAS rounds by the batch, by 6e-6 for that model; deeper models add up more.
 */
const ROUNDING: Readonly<Record<DType, number>> = { bfloat16: 0, float32: 1e-4 };

/**
 * The prompts that are checked: 2, or 2 % if that is more, spread evenly, so that prompts sampled
 * before and after an interruption are among them.
 */
export function checkedGroups<Group>(groups: readonly Group[]): Group[] {
  return spread(groups, Math.max(FEWEST, Math.floor(SHARE * groups.length)));
}

/** `most` of the groups, or all if there are fewer, spread evenly. */
export function spread<Group>(groups: readonly Group[], most: number): Group[] {
  const count = Math.min(groups.length, most);
  return Array.from({ length: count }, (_, i) => groups[Math.floor((i * groups.length) / count)]!);
}

/** Whether `checks` belong to these completions in their present state. */
export function checksFit(
  checks: readonly SamplerCheckRecord[],
  groups: readonly CompletionGroup[],
): boolean {
  const checked = checkedGroups(groups).map(sampledOf);
  return (
    JSON.stringify(checked) ===
    JSON.stringify(
      checks.map(({ prompt_id, samples, tokens, logp_sampled }) => ({
        prompt_id,
        samples,
        tokens,
        logp_sampled,
      })),
    )
  );
}

/** One record per checked prompt, in the order of `groups`. */
export async function checkSampler(
  groups: readonly CompletionGroup[],
  { current, base }: Pick<ScoringModels, 'current' | 'base'>,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: WorkHooks,
): Promise<SamplerCheckRecord[]> {
  const checked = checkedGroups(groups);
  const scores = await score(checked, { current, previous: current, base }, settings, hooks);
  return checked.map((group) => {
    const sampled = sampledOf(group);
    const of = scores.filter(({ prompt_id }) => prompt_id === sampled.prompt_id);
    const logp_scored = of.map(({ logp_current }) => logp_current);
    const logp_base = of.map(({ logp_base: logp }) => logp);
    const reward = (logps: number[]) =>
      distinct(group).map((i) => logps[i]! - (current === base ? 0 : logp_base[i]!));
    return {
      ...sampled,
      logp_scored,
      logp_base,
      kendall_tau: agreement(reward(sampled.logp_sampled), reward(logp_scored), 'kendall')
        .kendall_tau,
    };
  });
}

/** Whether the sampler's log-probs equal the scorer's, up to rounding in `dtype`. */
export function samplerHolds(checks: readonly SamplerCheckRecord[], dtype: DType): boolean {
  return checks.every(
    ({ tokens, logp_sampled, logp_scored, kendall_tau }) =>
      kendall_tau > 1 - 1e-9 && // the quotient of roots may differ from 1 by an ulp
      tokens.every(
        (count, i) =>
          Math.abs(logp_sampled[i]! - logp_scored[i]!) <= ROUNDING[dtype] * Math.sqrt(count),
      ),
  );
}

function sampledOf(
  group: CompletionGroup,
): Pick<SamplerCheckRecord, 'prompt_id' | 'samples' | 'tokens' | 'logp_sampled'> {
  return {
    prompt_id: group[0]!.prompt_id,
    samples: group.map(({ sample }) => sample),
    tokens: group.map(({ token_ids }) => token_ids.length),
    logp_sampled: group.map(({ logprob }) => logprob),
  };
}

/**
 * Positions of the completions without duplicates. A completion that was drawn twice is a tie, even
 * if its two sums differ.
 */
function distinct(group: CompletionGroup): number[] {
  const texts = group.map(({ token_ids }) => token_ids.join(' '));
  return texts.flatMap((text, i) => (texts.indexOf(text) === i ? [i] : []));
}
