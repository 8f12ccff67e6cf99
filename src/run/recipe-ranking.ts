/** The sections of the recipe on rankings: `rank` and `rank_eval`. */
import { z } from 'zod';
import { CONSISTENCY_METHODS } from '../preference/consistency.js';
import { WEIGHTINGS } from '../preference/weight.js';
import { SELF_REWARDS } from '../reward/reward.js';
import { count, onBadRow, only, otherColumns, OWN_PAIRS, text } from './recipe-types.js';

/** Recipes in which two rankings of a prompt's completions are compared. */
const SECOND_RANKING = [
  { 'reward.source': [...SELF_REWARDS, 'file'] },
  { 'reward.against': ['implicit', 'likelihood', 'own_implicit'] },
] as const;

export const rank = z.strictObject({
  consistency: only(
    SECOND_RANKING,
    z
      .enum(CONSISTENCY_METHODS)
      .default('kendall')
      .describe(
        "Measure of the agreement C of two rankings: Kendall's τ, Spearman's " +
          'ρ, or whether the best and the worst completion agree.',
      ),
  ),
  weighting: z
    .enum(WEIGHTINGS)
    .default('avg')
    .describe(
      "The C that weights the loss: `avg` is the mean over all pairs (the paper's main " +
        "setting), `dyn` each prompt's own C, `fixed` a constant. Two controls for " +
        'experiments: `permuted` gives each pair the C of another prompt, drawn at random ' +
        'without replacement, and `sign` is 1 where the mean C is at least 0.5, else 0. A pair ' +
        'whose weight is below 0.5 trains the reversed preference. AdamW and gradient clipping ' +
        "remove the gradient's scale, so a weight close to 0.5 does not mean a small update.",
    ),
  fixed_consistency: only(
    { 'rank.weighting': ['fixed'] },
    z
      .number()
      .min(0)
      .max(1)
      .default(1)
      .describe('The constant C; 1 is SRLM, plain self-rewarding DPO.'),
  ),
  min_margin: z
    .number()
    .min(0)
    .default(0)
    .describe(
      'A prompt makes no pair if the rewards of its best and its worst completion ' +
        'differ by less than this (nats for log-probs, points for `judge`).',
    ),
  min_consistency: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      'A prompt whose own C is below this makes no pair. With `dyn`, 0.5 leaves out the ' +
        'pairs that would train the reversed preference.',
    ),
  require_agreement: only(
    SECOND_RANKING,
    z
      .boolean()
      .default(false)
      .describe(
        'A prompt makes a pair only if the second ranking, too, puts the chosen completion above ' +
          'the rejected one.',
      ),
  ),
  consistency_floor: only(
    { 'rank.weighting': ['avg', 'dyn', 'permuted'] },
    z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe(
        'The least weight of a pair. 0, as in the paper, changes nothing. With 0.5 no pair ' +
          'trains the reversed preference: a pair with C below 0.5 then only pulls the policy ' +
          'towards its reference. Where all weights are 0.5 and θ_t is the reference, θ_t stays ' +
          'as it is.',
      ),
  ),
});

export const temporal = z.strictObject({
  anchored_rejection: z
    .boolean()
    .default(false)
    .describe(
      'The first policy θ_1 samples completions, too, which can only be rejected: the rejected ' +
        "completion is the worst of θ_t's and θ_1's by the reward of θ_t.",
    ),
  future_chosen: z
    .boolean()
    .default(false)
    .describe(
      'θ_t is first trained on the pairs into a future model, whose completions can only be ' +
        "chosen: the chosen completion is the best of θ_t's and the future model's. θ_{t+1} is " +
        'trained from θ_t. Takes a second training and, until it is done, a second checkpoint.',
    ),
});

const CHECKED = { 'rank_eval.source': 'given' } as const;

export const rankEval = z.strictObject({
  source: only(
    { 'reward.source': [...SELF_REWARDS, 'model'], ...OWN_PAIRS },
    text().describe(
      'Preference pairs that are known to be right: a file of preferences or `hub:…`. Before ' +
        "each training θ_t rates them with the recipe's reward, and the run warns where it " +
        'ranks fewer than half of them right. They are not trained on. null: no check.',
    ),
  ),
  columns: only(CHECKED, otherColumns()),
  on_bad_row: only(CHECKED, onBadRow('pairs')),
  count: only(CHECKED, count(0, 200).describe('Pairs used; 0 takes all.')),
  length_tolerance: only(
    CHECKED,
    z
      .number()
      .min(0)
      .max(1)
      .default(0.1)
      .describe(
        'Two completions are of about equal length if they differ by at most this share of ' +
          'the longer one.',
      ),
  ),
});
