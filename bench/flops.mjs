// Floating-point operations that each work needs: 2 a multiply-add, matrix products and attention,
// each prompt once for all of its completions, the head only where a logit is used, no
// recomputation. The same number for every contender: who does more than is needed (padding,
// prompts again and again, logits of prompts) has the smaller share of the peak, as it should.

/** The matrix products of one row: [inner] → [outer], as fused as they can be. */
export function matrices({
  hiddenSize,
  numLayers,
  numHeads,
  numKvHeads,
  headDim,
  intermediateSize,
  vocabSize,
}) {
  return [
    { inner: hiddenSize, outer: (numHeads + 2 * numKvHeads) * headDim, count: numLayers },
    { inner: numHeads * headDim, outer: hiddenSize, count: numLayers },
    { inner: hiddenSize, outer: 2 * intermediateSize, count: numLayers },
    { inner: intermediateSize, outer: hiddenSize, count: numLayers },
    { inner: hiddenSize, outer: vocabSize, count: 1 },
  ];
}

function perRow(config) {
  const products = matrices(config).map(({ inner, outer, count }) => 2 * inner * outer * count);
  const head = products.pop();
  const body = products.reduce((sum, product) => sum + product, 0);
  // for each key that a query sees
  const attention = 4 * config.numLayers * config.numHeads * config.headDim;
  /**
   * Rows at positions `first` … `first` + `count` − 1 of a sequence: query and keys up to itself.
   */
  const rows = (first, count) =>
    count * body + attention * (count * first + (count * (count + 1)) / 2);
  return { head, rows };
}

/** One prompt, then `lengths` of its completions; the last token of each is drawn, never fed. */
export function generateFlops(config, prompts) {
  const { head, rows } = perRow(config);
  let prefill = 0;
  let decode = 0;
  for (const { prompt, lengths } of prompts) {
    prefill += rows(0, prompt) + head;
    for (const length of lengths) decode += rows(prompt, length - 1) + (length - 1) * head;
  }
  return { prefill, decode, all: prefill + decode };
}

/**
 * What decoding must read: all weights once a step, of the cache each prompt's keys and values once
 * for all its samples; bf16.
 */
export function decodeBytes(config, steps, prompts) {
  const weights = matrices(config).reduce(
    (sum, { inner, outer, count }) => sum + inner * outer * count,
    0,
  );
  const perPosition = 2 * config.numLayers * config.numKvHeads * config.headDim;
  const cache = prompts.reduce(
    (sum, { prompt, lengths }) =>
      sum +
      prompt * Math.max(...lengths) +
      lengths.reduce((own, length) => own + (length * (length + 1)) / 2, 0),
    0,
  );
  return 2 * (steps * weights + perPosition * cache);
}

/** log π of every completion token: the same rows as generating them. */
export const scoreFlops = (config, prompts) => generateFlops(config, prompts).all;

/** Backward takes twice the forward pass. */
export const trainFlops = (config, prompts) => 3 * scoreFlops(config, prompts);
