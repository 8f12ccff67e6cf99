/**
 * Columns and ids of every artefact. Records are joined by `prompt_id` and `sample`, never by their
 * position in a file. Column names are the field's (TRL's where TRL has one), so the JSONL files
 * load elsewhere as they are.
 */

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** One option of a multiple-choice question; its label is what an answer names. */
export interface Choice {
  label: string;
  text: string;
}

/** A question for the policy, which never sees `answer`: only evaluation reads it. */
export interface PromptRecord {
  id: string;
  prompt: Message[];
  answer?: string;
  task?: string;
  /** Multiple choice: the options shown in the prompt; `answer` is one of their labels. */
  choices?: Choice[];
}

/**
 * The known answer of one of an iteration's prompts, in `gold.jsonl`; `prompts.jsonl` leaves it
 * out. The Oracle's reward and the report read it; sampling, scoring and training never do.
 */
export interface GoldRecord {
  /** Id of the prompt. */
  id: string;
  answer: string;
  task?: string;
  choices?: Choice[];
}

/** A demonstration for supervised fine-tuning: the loss is on `completion` alone. */
export interface DemonstrationRecord {
  id: string;
  prompt: Message[];
  completion: Message[];
}

/** One sampled completion. The token ids are authoritative; the text is for people. */
export interface CompletionRecord {
  prompt_id: string;
  sample: number;
  prompt: Message[];
  completion: string;
  prompt_token_ids: number[];
  token_ids: number[];
  /**
   * Summed log-prob of `token_ids` under the sampling model: full vocabulary, temperature 1,
   * end-of-sequence included.
   */
  logprob: number;
  finish_reason: 'eos' | 'stop' | 'length';
  /**
   * The model that sampled it, if not θ_t (`temporal`): the first policy θ_1, whose completions
   * can only be rejected, or the future model, whose completions can only be chosen.
   */
  sampled_by?: 'initial' | 'future';
}

/** Summed log-probs (nats) of one completion under θ_t, θ_{t−1} and θ_0; `tokens` is its length. */
export interface ScoreRecord {
  prompt_id: string;
  sample: number;
  tokens: number;
  logp_current: number;
  logp_previous: number;
  logp_base: number;
}

/**
 * A check of the sampler: summed log-probs (nats) of one prompt's completions as the sampler gave
 * them and as θ_t scores them, parallel by sample.
 */
export interface SamplerCheckRecord {
  prompt_id: string;
  samples: number[];
  tokens: number[];
  logp_sampled: number[];
  logp_scored: number[];
  /** Under θ_0. */
  logp_base: number[];
  /** Kendall's τ of the two rankings; 1 is expected, as both are θ_t's. */
  kendall_tau: number;
}

/**
 * Rewards of one prompt's completions under θ_t as they ranked and in float32, parallel by sample.
 */
export interface NoiseRecord {
  prompt_id: string;
  samples: number[];
  reward: number[];
  reward_float32: number[];
  kendall_tau: number;
  /** C of the two rankings by the recipe's method; 1 without rounding. */
  consistency: number;
}

/**
 * Summed log-probs (nats) under the reference of both completions of another pair after the prompt
 * of this one. KTO estimates the KL divergence from them.
 */
export interface MismatchedRecord {
  prompt_id: string;
  /** Id of the pair that the completions are from. */
  other_id: string;
  ref_chosen_logps: number;
  ref_rejected_logps: number;
}

/** A given preference pair as a reward rates it. */
export interface RankedPairRecord {
  /** Id of the preference. */
  id: string;
  chosen_tokens: number;
  rejected_tokens: number;
  reward_chosen: number;
  reward_rejected: number;
}

/**
 * One completion's rewards under θ_t and θ_{t−1}, computed from its scores (`src/reward`) for
 * ranking. They have no file of their own: `rankings.jsonl` holds them.
 */
export interface RewardRecord {
  prompt_id: string;
  sample: number;
  reward_current: number;
  reward_previous: number;
}

/**
 * The reward of a completion from outside (reward model, scores file, gold answer, function);
 * `reward_previous` is that of a second source, if there is one.
 */
export interface ExternalRewardRecord {
  prompt_id: string;
  sample: number;
  reward: number;
  reward_previous?: number;
}

/**
 * One judgement of LLM-as-a-judge: what θ_t or θ_{t−1} wrote about a completion, and the points
 * read from it.
 */
export interface JudgementRecord {
  prompt_id: string;
  sample: number;
  /** `previous` only where θ_{t−1} is another model than θ_t. */
  judge: 'current' | 'previous';
  /** 0 … judgements − 1: each is drawn with a key of its own. */
  judgement: number;
  /**
   * 0 … 5; null if the text gives none, or the completion is too long to be put to the judge.
   */
  score: number | null;
  text: string;
}

/**
 * The ranking of one prompt's completions: both models' rewards and ordinal ranks by sample, and
 * their agreement.
 */
export interface RankingRecord {
  prompt_id: string;
  samples: number[];
  reward_current: number[];
  reward_previous: number[];
  /** 1 is best. */
  rank_current: number[];
  rank_previous: number[];
  /**
   * Finite always: where scipy has NaN (a constant side) it is 1 if both sides are constant, else
   * 0. Likewise `spearman`.
   */
  kendall_tau: number;
  spearman: number;
  top_order: number;
  /** C of this prompt by the recipe's method, in [0, 1]. */
  consistency: number;
  /**
   * Both rankings come from one reward, so that C and its alternatives are 1 by construction and
   * have no meaning.
   */
  one_judge?: true;
  /** Why no pair was made of it; absent if one was. */
  skipped?:
    | 'no_judgement'
    | 'too_few_completions'
    | 'all_equal'
    | 'identical_pair'
    | 'empty_chosen'
    | 'below_threshold'
    | 'rankings_disagree'
    | 'below_consistency';
}

/**
 * A preference pair with all that training needs: TRL's columns, the token ids, and the reference
 * log-probs.
 */
export interface PairRecord {
  prompt_id: string;
  prompt: Message[];
  chosen: Message[];
  rejected: Message[];
  chosen_sample: number;
  rejected_sample: number;
  prompt_token_ids: number[];
  chosen_token_ids: number[];
  rejected_token_ids: number[];
  /** Summed log-probs under the reference, θ_t. */
  ref_chosen_logps: number;
  ref_rejected_logps: number;
  /**
   * Summed log-probs under θ_0, for a KL penalty and for `train.reference: base`.
   */
  base_chosen_logps?: number;
  base_rejected_logps?: number;
  reward_chosen: number;
  reward_rejected: number;
  /** C of this prompt. */
  consistency: number;
  /** C used in the loss: the set's mean with `avg`, this prompt's own with `dyn`. */
  weight: number;
}

/**
 * One evaluated question. By log-likelihood there is no completion: `extracted` is the label of the
 * likeliest choice.
 */
export interface AnswerRecord {
  prompt_id: string;
  task: string;
  completion: string;
  extracted: string | null;
  answer: string;
  correct: boolean;
  /**
   * The task's score of this question, 0 … 1, if it is not whether the answer is correct: the
   * probability of the right choices (TruthfulQA's mc2). `correct` is then whether it is above ½.
   */
  score?: number;
  /** Tokens of the completion; for log-likelihoods those of all choices together. */
  tokens: number;
  /** Log-likelihood only: summed log-prob of each choice, nats, in the question's order. */
  choice_logps?: number[];
  /**
   * Log-likelihood only: label of the choice whose log-prob per character is highest, and whether
   * it is the answer (`acc_norm`).
   */
  extracted_norm?: string;
  correct_norm?: boolean;
}
