// Every work: its cases, its contenders, and the equivalent setting of each peer.
const node = (script) => ({ program: process.execPath, script });
const python = (script) => ({ program: 'python', script });

const CREAM = 'bf16; each prompt computed once';
const TRANSFORMERS = 'bf16, sdpa, dynamic cache, batches of 8 prompts × samples (on a GPU of 64)';
// Training in less memory (docs/memory.md): 8-bit moments, split master weights, short
// micro-batches.
const COMPACT = 'for less memory: 8-bit moments, split masters, 512 rows a pass';
// The speed of the kernels for older processors on this machine; measured with --levels.
const LEVELS = (script) =>
  [
    ['AVX-512 BF16', 'avx512_bf16'],
    ['AVX-512', 'avx512'],
    ['AVX2', 'avx2'],
  ].map(([name, level]) => ({
    name: `cream-lm, ${name}`,
    ...node(script),
    level,
    note: `the kernels of a processor with no more than ${name}`,
  }));
const VLLM = {
  name: 'vLLM',
  gpu: true,
  ...python('generate/vllm_.py'),
  note: 'bf16, prefix cache, CUDA graphs: its defaults; all prompts at once',
};

export const WORKS = {
  generate: [
    {
      id: 'generate',
      title: '8 prompts × 5, 64 new tokens, T 0.8, top-p 0.95',
      titleOnGpu: '64 prompts × 5, 256 new tokens, T 0.8, top-p 0.95',
      counts: 'new tokens',
      repeat: 5,
      contenders: [
        { name: 'cream-lm', ...node('generate/cream.mjs'), note: CREAM },
        ...LEVELS('generate/cream.mjs'),
        { name: 'transformers', ...python('generate/transformers.py'), note: TRANSFORMERS },
        {
          name: 'transformers, prompts once',
          ...python('generate/transformers.py'),
          setting: { shared: true },
          note: `${TRANSFORMERS}; keys and values of a prompt computed once and repeated by hand`,
        },
        {
          name: 'llama.cpp',
          formats: true,
          ...node('generate/llama_cpp.mjs'),
          note:
            'node-llama-cpp, one batch of all sequences; no end-of-sequence before 64 tokens ' +
            'either',
        },
        VLLM,
      ],
    },
    {
      id: 'generate-ragged',
      title: '64 prompts × 5, up to 128 new tokens, ragged',
      titleOnGpu: '64 prompts × 5, up to 512 new tokens, ragged',
      counts: 'new tokens',
      repeat: 3,
      contenders: [
        {
          name: 'cream-lm',
          ...node('generate/cream.mjs'),
          note: 'bf16; an ended row makes place for the next at once',
        },
        {
          name: 'transformers, prompts once',
          ...python('generate/transformers.py'),
          setting: { shared: true },
          note:
            `${TRANSFORMERS}; an ended row waits for its batch; draws other tokens, so the ` +
            'count differs',
        },
        { ...VLLM, note: `${VLLM.note}; draws other tokens, so the count differs` },
      ],
    },
  ],
  score: [
    {
      id: 'score',
      title: 'log-probs of 64 × 5 completions',
      titleOnGpu: 'log-probs of 64 × 5 completions of 128 to 512 tokens',
      counts: 'prompt + completion tokens of every sequence',
      repeat: 5,
      contenders: [
        {
          name: 'cream-lm',
          ...node('score/cream.mjs'),
          note: 'bf16; each prompt once for its 5 completions, logits of completions alone',
        },
        ...LEVELS('score/cream.mjs'),
        {
          name: 'transformers',
          ...python('score/transformers.py'),
          note:
            'bf16, sdpa, batch 8 (on a GPU 64) by length, logits of completions alone, fp32 ' +
            'log-sum-exp',
        },
      ],
    },
  ],
  train: [
    {
      id: 'train',
      title: 'DPO, 48 pairs, 8 a step, reference log-probs known',
      titleOnGpu: 'DPO, 48 pairs of 128 to 512 tokens, 8 a step, reference log-probs known',
      counts: 'tokens of chosen and rejected sequences, prompt included twice',
      repeat: 3,
      contenders: [
        {
          name: 'cream-lm',
          ...node('train/cream.mjs'),
          note:
            'bf16 compute, fp32 masters and moments; a pair shares its prompt; activations ' +
            'kept, the default',
        },
        {
          name: 'cream-lm, recomputing',
          ...node('train/cream.mjs'),
          setting: { activationCheckpointing: true },
          note: 'layer inputs kept, the rest recomputed: for less memory',
        },
        {
          name: 'cream-lm, compact',
          ...node('train/cream.mjs'),
          setting: { optimizerStates: '8bit', masterWeights: 'split', microBatchTokens: 512 },
          note: COMPACT,
        },
        ...LEVELS('train/cream.mjs'),
        {
          name: 'TRL',
          ...python('train/trl.py'),
          note:
            'bf16 weights and moments, no masters (an update of 1e-6 is lost in rounding): ' +
            'its fastest; batch 4 × 2; no recomputing; padding_free is off in TRL 1.16',
        },
        {
          name: 'TRL, fp32 masters',
          ...python('train/trl.py'),
          setting: { autocast: true },
          note: 'fp32 weights and moments, bf16 autocast: what cream-lm computes; else as above',
        },
      ],
    },
  ],
  load: [
    {
      id: 'load',
      title: 'load a safetensors folder',
      counts: '',
      repeat: 7,
      discard: 1,
      contenders: [
        {
          name: 'cream-lm',
          ...node('load/cream.mjs'),
          note: 'Model.load, ready to compute; file in the page cache',
        },
        {
          name: 'transformers',
          ...python('load/transformers.py'),
          note: 'from_pretrained, bf16; imports not counted; file in the page cache',
        },
      ],
    },
  ],
  iteration: [
    {
      id: 'iteration',
      title: 'one CREAM iteration: 16 prompts × 5 × 96 tokens, two models score, 16 pairs',
      titleOnGpu: 'one CREAM iteration: 16 prompts × 5 × 256 tokens, two models score, 16 pairs',
      counts: 'sampled tokens',
      repeat: 3,
      contenders: [
        {
          name: 'cream-lm',
          ...node('iteration/cream.mjs'),
          note:
            '`cream run`, all of it: start, one step of SFT that sets θ_t and θ_{t−1} apart, ' +
            'checkpoints, report; fp32 masters',
        },
        {
          name: 'cream-lm, compact',
          ...node('iteration/cream.mjs'),
          setting: { optimizer_states: '8bit', master_weights: 'split', micro_batch_tokens: 512 },
          note: COMPACT,
        },
        {
          name: 'transformers + TRL',
          ...python('iteration/transformers_trl.py'),
          note:
            'one process; prompts computed once, models loaded again between the stages, ' +
            'bf16 without masters; imports not counted',
        },
      ],
    },
  ],
};
