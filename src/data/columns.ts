/**
 * The type of every column of every artefact, for `readRecords`: a file that a user edited or
 * another tool wrote is refused with its line before anything is computed from it. `?` marks a
 * column that may be absent.
 */
import type {
  AnswerRecord,
  CompletionRecord,
  DemonstrationRecord,
  ExternalRewardRecord,
  GoldRecord,
  JudgementRecord,
  MismatchedRecord,
  NoiseRecord,
  PairRecord,
  PromptRecord,
  RankedPairRecord,
  RankingRecord,
  SamplerCheckRecord,
  ScoreRecord,
} from './records.js';

export type Kind =
  | 'string'
  | 'number'
  | 'integer'
  | 'boolean'
  | 'numbers'
  | 'integers'
  | 'messages'
  | 'choices'
  | 'string|null'
  | 'number|null';
export type Columns<T> = { readonly [K in keyof T]-?: undefined extends T[K] ? `${Kind}?` : Kind };

export const PROMPT_COLUMNS: Columns<PromptRecord> = {
  id: 'string',
  prompt: 'messages',
  answer: 'string?',
  task: 'string?',
  choices: 'choices?',
};

export const GOLD_COLUMNS: Columns<GoldRecord> = {
  id: 'string',
  answer: 'string',
  task: 'string?',
  choices: 'choices?',
};

export const DEMONSTRATION_COLUMNS: Columns<DemonstrationRecord> = {
  id: 'string',
  prompt: 'messages',
  completion: 'messages',
};

export const COMPLETION_COLUMNS: Columns<CompletionRecord> = {
  prompt_id: 'string',
  sample: 'integer',
  prompt: 'messages',
  completion: 'string',
  prompt_token_ids: 'integers',
  token_ids: 'integers',
  logprob: 'number',
  finish_reason: 'string',
  sampled_by: 'string?',
};

export const SCORE_COLUMNS: Columns<ScoreRecord> = {
  prompt_id: 'string',
  sample: 'integer',
  tokens: 'integer',
  logp_current: 'number',
  logp_previous: 'number',
  logp_base: 'number',
};

export const SAMPLER_CHECK_COLUMNS: Columns<SamplerCheckRecord> = {
  prompt_id: 'string',
  samples: 'integers',
  tokens: 'integers',
  logp_sampled: 'numbers',
  logp_scored: 'numbers',
  logp_base: 'numbers',
  kendall_tau: 'number',
};

export const NOISE_COLUMNS: Columns<NoiseRecord> = {
  prompt_id: 'string',
  samples: 'integers',
  reward: 'numbers',
  reward_float32: 'numbers',
  kendall_tau: 'number',
  consistency: 'number',
};

export const RANKED_PAIR_COLUMNS: Columns<RankedPairRecord> = {
  id: 'string',
  chosen_tokens: 'integer',
  rejected_tokens: 'integer',
  reward_chosen: 'number',
  reward_rejected: 'number',
};

export const EXTERNAL_REWARD_COLUMNS: Columns<ExternalRewardRecord> = {
  prompt_id: 'string',
  sample: 'integer',
  reward: 'number',
  reward_previous: 'number?',
};

export const JUDGEMENT_COLUMNS: Columns<JudgementRecord> = {
  prompt_id: 'string',
  sample: 'integer',
  judge: 'string',
  judgement: 'integer',
  score: 'number|null',
  text: 'string',
};

export const RANKING_COLUMNS: Columns<RankingRecord> = {
  prompt_id: 'string',
  samples: 'integers',
  reward_current: 'numbers',
  reward_previous: 'numbers',
  rank_current: 'integers',
  rank_previous: 'integers',
  kendall_tau: 'number',
  spearman: 'number',
  top_order: 'number',
  consistency: 'number',
  one_judge: 'boolean?',
  skipped: 'string?',
};

export const PAIR_COLUMNS: Columns<PairRecord> = {
  prompt_id: 'string',
  prompt: 'messages',
  chosen: 'messages',
  rejected: 'messages',
  chosen_sample: 'integer',
  rejected_sample: 'integer',
  prompt_token_ids: 'integers',
  chosen_token_ids: 'integers',
  rejected_token_ids: 'integers',
  ref_chosen_logps: 'number',
  ref_rejected_logps: 'number',
  base_chosen_logps: 'number?',
  base_rejected_logps: 'number?',
  reward_chosen: 'number',
  reward_rejected: 'number',
  consistency: 'number',
  weight: 'number',
};

export const MISMATCHED_COLUMNS: Columns<MismatchedRecord> = {
  prompt_id: 'string',
  other_id: 'string',
  ref_chosen_logps: 'number',
  ref_rejected_logps: 'number',
};

export const ANSWER_COLUMNS: Columns<AnswerRecord> = {
  prompt_id: 'string',
  task: 'string',
  completion: 'string',
  extracted: 'string|null',
  answer: 'string',
  correct: 'boolean',
  score: 'number?',
  tokens: 'integer',
  choice_logps: 'numbers?',
  extracted_norm: 'string?',
  correct_norm: 'boolean?',
};

/**
 * Columns of a run's artefacts by their file names: artefacts that a run reads back are checked
 * like a user's files.
 */
export const ARTEFACT_COLUMNS: Readonly<Record<string, Columns<object>>> = {
  'prompts.jsonl': PROMPT_COLUMNS,
  'gold.jsonl': GOLD_COLUMNS,
  'demonstrations.jsonl': DEMONSTRATION_COLUMNS,
  'completions.jsonl': COMPLETION_COLUMNS,
  'scores.jsonl': SCORE_COLUMNS,
  'sampler-check.jsonl': SAMPLER_CHECK_COLUMNS,
  'noise.jsonl': NOISE_COLUMNS,
  'rank-eval.jsonl': RANKED_PAIR_COLUMNS,
  'judgements.jsonl': JUDGEMENT_COLUMNS,
  'rewards.jsonl': EXTERNAL_REWARD_COLUMNS,
  'rankings.jsonl': RANKING_COLUMNS,
  'pairs.jsonl': PAIR_COLUMNS,
  'mismatched.jsonl': MISMATCHED_COLUMNS,
  'answers.jsonl': ANSWER_COLUMNS,
};
