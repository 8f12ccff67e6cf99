// Floating-point operations that each work needs: 2 per multiply-add, matrix products and
// attention, each prompt once for all its completions, the head only where a logit is used, no
// recomputation. The number is the same for every contender, so one that computes more than
// necessary (padding, repeated prompts, logits of prompts) has a smaller share of the peak.

/** The matrix products of one row: [inner] → [outer], fused as far as possible. */
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
  // per key that a query sees
  const attention = 4 * config.numLayers * config.numHeads * config.headDim;
  /**
   * Rows at positions `first` … `first` + `count` − 1 of a sequence; a row attends to all positions
   * up to its own.
   */
  const rows = (first, count) =>
    count * body + attention * (count * first + (count * (count + 1)) / 2);
  return { head, rows };
}

/** One prompt, then `lengths` of its completions; the last token of each is drawn but not read. */
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
 * Bytes that decoding must read: all weights once per step, and each prompt's keys and values once
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

/** log π of every completion token takes the same rows as generating them. */
export const scoreFlops = (config, prompts) => generateFlops(config, prompts).all;

/** A backward pass takes twice the work of the forward pass. */
export const trainFlops = (config, prompts) => 3 * scoreFlops(config, prompts);
