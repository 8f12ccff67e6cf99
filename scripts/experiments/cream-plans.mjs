// The settings that docs/experiments/cream.md registers.

/** Arm → what it changes in the run of `cream-avg`. */
export const ARMS = {
  srlm: ['rank.weighting=fixed'],
  'cream-avg': [],
  'cream-dyn': ['rank.weighting=dyn'],
  permuted: ['rank.weighting=permuted'],
  sign: ['rank.weighting=sign'],
  'length-controlled': ['reward.length=controlled'],
};

/** Arms beyond the registration, with --also: what they show is exploratory. */
export const EXPLORATORY = {
  temporal: [
    'rank.weighting=fixed',
    'temporal.anchored_rejection=true',
    'temporal.future_chosen=true',
  ],
  scir: [
    'reward.source=judge',
    'reward.against=own_implicit',
    'reward.reasons=false',
    'reward.judgements=8',
    'reward.max_new_tokens=4',
    'rank.weighting=fixed',
    'rank.require_agreement=true',
  ],
  'judge-implicit': [
    'reward.source=judge_implicit',
    'reward.reasons=false',
    'reward.judgements=8',
    'reward.max_new_tokens=4',
  ],
};

/** The comparison that is tested; all others are reported with intervals only. */
export const PRIMARY = { before: 'srlm', after: 'cream-avg' };

/** Reported with intervals, without a test. */
export const CONTROLS = [
  { before: 'permuted', after: 'cream-dyn' },
  { before: 'sign', after: 'cream-avg' },
  { before: 'cream-avg', after: 'length-controlled' },
];

export const DEMONSTRATIONS = 'openassistant/train';
export const PAIRS = 'openassistant/pairs';
export const PROMPTS = ['arc_easy/train', 'arc_challenge/train', 'openbookqa/train', 'siqa/train'];
/** Task → file of its questions. */
export const TASKS = {
  arc_easy: 'arc_easy/test',
  arc_challenge: 'arc_challenge/test',
  openbookqa: 'openbookqa/test',
  siqa: 'siqa/validation',
};

/** SHA-256 of the files of the registered experiment (docs/experiments/cream.md). */
const DIGESTS = {
  'openassistant/train': '6ea1b2943a1cfd1e020edc8a78352c645db1368866685009d21cdf63a4724551',
  'openassistant/pairs': '1dadd2ecc9bde2c2bac6e16c2753260b4c8c446056ba5821ccccf10ade090e95',
  'arc_easy/train': '1db98bb789fd4eacd8bd259ecaac68efd98378f2c5bf83f0270d621a29ec3d53',
  'arc_challenge/train': 'f34fb2d0091af222e22fb0186e2a9f136c4162f9a9707fafd309d972fc936a24',
  'openbookqa/train': 'e8ffe10b03e2615540a848807430f592d0038903f1e303213cfde87bbb8e1a1f',
  'siqa/train': 'b4852590d266c25fe3191f0610e0a4227ee76a7227c1c2ba20e6416761c59c13',
  'arc_easy/test': '8863c8e90e239be028eb8d23163fbc81e69d8f51d03e60db9518d2f0bc0f900e',
  'arc_challenge/test': '5093a98928180cae92714f1cb0ff085f77d248e4cc0f65f6d08323a21d4a8cb0',
  'openbookqa/test': 'de4e49cdb26b72dc41de7d29f4b27998f27f12c37c3f5e2b9e39576550d0f481',
  'siqa/validation': 'aa744a44896b16d4e5622f0ee427cb741a22af3cb1dd992a242410b60fa0e4db',
};

const COMMON = [
  'sft.epochs=2',
  'sft.learning_rate=1.0e-5',
  'sft.warmup_ratio=0',
  'sample.samples=5',
  'train.learning_rate=3.0e-6',
  'train.epochs=1',
  'train.batch_size=8',
  'train.warmup_ratio=0',
  'train.save_steps=0',
];

/**
 * What a device adds: sizes that the CPU's defaults do not have, and that `auto` would take from
 * the memory that other runs of the experiment leave.
 */
export const DEVICES = {
  cpu: { settings: [], evaluation: ['--save-prompts', '64'], options: [] },
  cuda: {
    settings: [
      'device=cuda',
      'sample.max_num_seqs=512',
      'sample.save_prompts=128',
      'score.max_num_batched_tokens=16384',
      'sft.micro_batch_tokens=8192',
      'train.micro_batch_tokens=8192',
    ],
    evaluation: ['--save-prompts', '512'],
    options: [
      ...['--device', 'cuda', '--max-num-seqs', '512'],
      ...['--max-num-batched-tokens', '16384'],
    ],
  },
};

export const PLANS = {
  // Seeds: SHA-256 of `cream-lm experiment registration 1 i`, i = 0 … 3
  // (docs/experiments/cream.md).
  full: {
    digests: DIGESTS,
    models: { smollm2: 'smollm2-135m-instruct', gemma3: null },
    seeds: [189, 9484, 8494, 7462],
    arms: Object.keys(ARMS),
    iterations: 2,
    settings: [
      ...COMMON,
      'sft.count=320',
      'sft.batch_size=16',
      'prompts.count=128',
      'sample.max_new_tokens=256',
    ],
    // 0 takes all questions of the seed's block.
    questions: 0,
    answerTokens: 256,
    pairs: 0,
  },
  // SHA-256 of `cream-lm experiment pilot 1 i`, i = 0, 1.
  pilot: {
    digests: DIGESTS,
    models: { smollm2: 'smollm2-135m-instruct' },
    seeds: [1653, 6361],
    arms: ['srlm', 'cream-avg', 'sign'],
    iterations: 2,
    settings: [
      ...COMMON,
      'sft.count=96',
      'sft.batch_size=8',
      'prompts.count=32',
      'sample.max_new_tokens=96',
    ],
    questions: 40,
    answerTokens: 96,
    pairs: 100,
  },
  // Shows that the script works, on any model; its numbers mean nothing.
  smoke: {
    models: { smollm2: 'smollm2-135m-instruct' },
    seeds: [1, 2],
    arms: ['srlm', 'cream-avg', 'cream-dyn', 'permuted', 'sign'],
    iterations: 1,
    settings: [
      ...COMMON,
      'sft.count=4',
      'sft.batch_size=2',
      'prompts.count=4',
      'sample.max_new_tokens=8',
      'dtype=float32',
    ],
    questions: 2,
    answerTokens: 8,
    pairs: 4,
  },
};
