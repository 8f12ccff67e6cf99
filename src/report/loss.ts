/** Which loss a run trained with, as its page describes it. */
import { parse } from 'yaml';

const NOTES: Readonly<Record<string, { loss: string; start: string; reward: string }>> = {
  dpo: { loss: 'DPO', start: 'it starts at log 2 = 0.693', reward: 'β·(log π − log π_ref)' },
  ipo: {
    loss: 'IPO',
    start: 'it starts at 1 / (4β²)',
    reward: 'β·(log π − log π_ref)',
  },
  simpo: {
    loss: 'SimPO',
    start: 'it has no reference, so its start depends on the model',
    reward: 'β·log π / |y|',
  },
  kto: { loss: 'KTO', start: 'it starts at 0.5', reward: 'β·(log π − log π_ref)' },
  robust: {
    loss: 'robust DPO',
    start: 'it starts at log 2 = 0.693',
    reward: 'β·(log π − log π_ref)',
  },
};

export interface LossText {
  /** For example `C · DPO + (1 − C) · reverse DPO; it starts at log 2 = 0.693.` */
  loss: string;
  /** The reward whose margin is reported. */
  reward: string;
}

const notesOf = (loss: string) => NOTES[loss] ?? NOTES.dpo!;

/** The loss of a recipe, given as text. Without train.loss, or if it is unreadable, it is DPO. */
export function lossText(recipe: string): LossText {
  const { loss, start, reward } = notesOf(lossName(recipe));
  return { loss: `C · ${loss} + (1 − C) · reverse ${loss}; ${start}.`, reward };
}

/** The name of a value of train.loss in prose. */
export const lossTitle = (loss: string): string => notesOf(loss).loss;

function lossName(recipe: string): string {
  try {
    const { train } = (parse(recipe) ?? {}) as { train?: { loss?: unknown } };
    return String(train?.loss ?? 'dpo');
  } catch {
    return 'dpo';
  }
}
