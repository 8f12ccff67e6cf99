/**
 * Check the sampler: its log-probs of what it drew beside those of the scorer, on a few prompts.
 * Both are θ_t's, so they are one number and one ranking, τ(θ_t, θ_t) = 1. Where that holds, the
 * sampler's stand for θ_t's scores and θ_t need not run over all completions again.
 *
 * What is ranked is log π_θt − log π_θ0, the reward in which a difference tells most: after a short
 * training it is the small remainder of two large numbers. Where θ_t is θ_0 it is log π_θt.
 */
import type { SamplerCheckRecord } from '../../data/records.js';
import type { DType } from '../../engine/model.js';
import { agreement } from '../../preference/consistency.js';
import { score, type CompletionGroup, type Judges } from './score.js';
import type { StageHooks } from './stage.js';

const FEWEST = 2;
const SHARE = 0.02;

/**
 * The largest difference that rounding explains, nats per token; that of a completion grows as
 * √tokens, as a random walk. bf16: none, because the packed kernels give a sequence alone the bits
 * that it has in a batch; without them SmolLM2-135M differs by 0.1, as much as an iteration moves a
 * reward. fp32: the BLAS rounds by the batch, by 6e-6 for that model; deeper models add up more.
 */
const ROUNDING: Readonly<Record<DType, number>> = { bfloat16: 0, float32: 1e-4 };

/**
 * Prompts that are checked: 2, or 2 % of many, spread evenly, so that those sampled before and
 * after a stop are among them.
 */
export function checkedGroups<Group>(groups: readonly Group[]): Group[] {
  return spread(groups, Math.max(FEWEST, Math.floor(SHARE * groups.length)));
}

/** `most` of the groups, or all where there are fewer, spread evenly. */
export function spread<Group>(groups: readonly Group[], most: number): Group[] {
  const count = Math.min(groups.length, most);
  return Array.from({ length: count }, (_, i) => groups[Math.floor((i * groups.length) / count)]!);
}

/** Whether `checks` are of these completions, as they are now. */
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
  { current, base }: Pick<Judges, 'current' | 'base'>,
  settings: { max_num_batched_tokens: number | 'auto' },
  hooks: StageHooks,
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

/** Whether the sampler's log-probs are the scorer's, up to what rounding in `dtype` explains. */
export function samplerHolds(checks: readonly SamplerCheckRecord[], dtype: DType): boolean {
  return checks.every(
    ({ tokens, logp_sampled, logp_scored, kendall_tau }) =>
      kendall_tau > 1 - 1e-9 && // the quotient of roots may miss 1 by an ulp
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
 * Positions of the responses that say something new. One drawn twice is a tie, whichever of its two
 * sums came out larger.
 */
function distinct(group: CompletionGroup): number[] {
  const texts = group.map(({ token_ids }) => token_ids.join(' '));
  return texts.flatMap((text, i) => (texts.indexOf(text) === i ? [i] : []));
}
