/** One preference pair of token ids on a tiny model. */
import type { Model } from '../../src/engine/model.js';
import type { PairInput } from '../../src/engine/trainer.js';

export const [prompt, chosen, rejected] = [
  [5, 6, 7],
  [10, 11, 12, 2],
  [20, 21, 2],
];
export const groups = [{ prompt, completions: [chosen, rejected] }];

/** Summed log-probs of both completions. */
export const sums = async (model: Model) => [...(await model.score({ groups })).sums];

/** The pair with its reference log-probs under `model`. */
export async function pairs(model: Model): Promise<PairInput[]> {
  const [referenceChosen, referenceRejected] = await sums(model);
  return [
    {
      prompt,
      chosen,
      rejected,
      referenceChosen: referenceChosen!,
      referenceRejected: referenceRejected!,
      weight: 1,
    },
  ];
}
