/** Runs whose scores the tests of the score stage compare, and readers of their events. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { CompletionRecord, ScoreRecord } from '../../src/data/records.js';
import { Model, type DType } from '../../src/engine/model.js';
import type { RunEvent } from '../../src/run/events.js';
import { groupCompletions, score } from '../../src/run/stages/score.js';
import { type Ran } from './run.js';
import { tinyModel } from './tiny-model.js';

export const SFT = [
  'sft.enabled=true',
  'sft.count=4',
  'sft.batch_size=2',
  'sft.learning_rate=1.0e-3',
];
/**
 * Completions that end in every way: by a stop string, by the end of the turn (not before the third
 * token), cut by the limit.
 */
export const TWO = [
  ...SFT,
  'iterations=2',
  'prompts.count=5',
  'sample.samples=4',
  'sample.max_new_tokens=24',
  'sample.min_new_tokens=3',
  'sample.stop=[e, ti, "0"]',
];
export const LORA = [
  'lora.enabled=true',
  'lora.rank=4',
  'lora.alpha=8',
  'sft.learning_rate=1.0e-2',
  'train.learning_rate=1.0e-2',
];
/** Heads of size 8: no kernel gives such a row the same bits alone and in a batch. */
export const SMALL_HEADS = tinyModel({
  tokenizer: true,
  maxPositionEmbeddings: 1024,
  numHeads: 4,
  numKvHeads: 2,
});

export const hooks = { signal: new AbortController().signal, progress: () => {} };
export const warnings = (events: readonly RunEvent[]) =>
  events
    .flatMap((event) => (event.type === 'warning' ? event.message : []))
    .filter((message) => !/ C is /.test(message)); // of the rankings, not of the sampler
export const scored = (events: readonly RunEvent[]) =>
  events.flatMap((event) =>
    event.type === 'stage_finished' && event.stage === 'score'
      ? { tokens: event.tokens, note: event.note }
      : [],
  );
export const stopAt = (is: (event: RunEvent) => boolean) => {
  const stop = new AbortController();
  return { signal: stop.signal, onEvent: (event: RunEvent) => is(event) && stop.abort() };
};

/**
 * The run's completions of iteration t, scored by all three models, loaded from its checkpoints.
 */
export async function scoredAnew(ran: Ran, t: number, dtype: DType): Promise<ScoreRecord[]> {
  const base = ran.text('recipe.yaml').match(/^model: (.*)$/m)![1]!;
  const loaded = await Promise.all(
    [t, t - 1, 0].map((n) => {
      const folder = join(ran.directory, n === 1 ? 'sft' : `iteration-${n - 1}`, 'checkpoint');
      if (n === 0) return Model.load(base, { dtype });
      return existsSync(join(folder, 'adapter_config.json'))
        ? Model.load(base, { dtype, adapter: folder })
        : Model.load(folder, { dtype });
    }),
  );
  const [current, previous, last] = loaded as [Model, Model, Model];
  try {
    const groups = groupCompletions(
      ran.records<CompletionRecord>(`iteration-${t}/completions.jsonl`),
    );
    const scores: ScoreRecord[] = [];
    // Uses the run's blocks of two, since fp32 rounding depends on the batch.
    for (let i = 0; i < groups.length; i += 2)
      scores.push(
        ...(await score(
          groups.slice(i, i + 2),
          { current, previous, base: last },
          { max_num_batched_tokens: 4096 },
          hooks,
        )),
      );
    return scores;
  } finally {
    for (const model of loaded) await model.dispose();
  }
}
