/** Runs a tiny recipe within the test's process and collects its events and files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineInfo } from '../../src/engine/addon.js';
import type { RunEvent } from '../../src/run/events.js';
import { parseRecipe } from '../../src/run/recipe-file.js';
import { run, type RunOptions } from '../../src/run/run.js';
import { temporaryFolder, tinyModel } from './tiny-model.js';

/**
 * Whether this CPU has the batch-invariant kernels, which give a sequence the same bits alone and
 * in a batch. They support the tiny model's head dimension of 16.
 */
export const PACKED = engineInfo().cpu.features.includes('avx2');

const TINY_MODEL = tinyModel({
  tokenizer: true,
  maxPositionEmbeddings: 1024,
  numHeads: 2,
  numKvHeads: 1,
});

export const TINY = `model: ${TINY_MODEL}
seed: 7
threads: 1
iterations: 1
prompts: {count: 4}
sample: {samples: 3, max_new_tokens: 8, save_prompts: 2}
score: {save_prompts: 2}
train: {learning_rate: 1.0e-3, batch_size: 2, warmup_ratio: 0}
evaluate: {tasks: []}
`;

/** The recipe without what given pairs make superfluous. */
const TINY_PAIRS = TINY.replace(/^(?:prompts|sample): .*\n/gm, '');

export interface Ran {
  directory: string;
  events: RunEvent[];
  records: <T = Record<string, unknown>>(name: string) => T[];
  text: (name: string) => string;
}

/** Runs the tiny recipe with `settings` (`key=value`) applied to it. */
export async function tinyRun(
  settings: readonly string[],
  { onEvent, ...options }: Partial<RunOptions> & { onEvent?: (event: RunEvent) => void } = {},
): Promise<Ran> {
  const directory = options.directory ?? join(temporaryFolder('cream-run-'), 'run');
  const events: RunEvent[] = [];
  const base = settings.some((key) => key.startsWith('pairs.source=')) ? TINY_PAIRS : TINY;
  for await (const event of run(parseRecipe(base, 'tiny.yaml', settings), {
    ...options,
    directory,
  })) {
    events.push(event);
    onEvent?.(event);
  }
  const text = (name: string) => readFileSync(join(directory, name), 'utf8');
  return {
    directory,
    events,
    text,
    records: <T>(name: string) =>
      text(name)
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as T),
  };
}
