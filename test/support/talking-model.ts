/**
 * A tiny model that completes any prompt with `Score: n` for a random n, so that it can judge and
 * be judged. It is trained by SFT, once per test file.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tinyRun } from './run.js';
import { temporaryFolder, tinyModel } from './tiny-model.js';

export async function talkingModel(): Promise<string> {
  const source = join(temporaryFolder(), 'demonstrations.jsonl');
  const questions = [
    'What is 2 + 3?',
    'Name a colour.',
    'Grade how well an assistant answered a user.',
    'Say n.',
    'Which choice is right?',
    'Why?',
  ];
  const rows = questions.flatMap((question) =>
    [0, 1, 2, 3, 4, 5].map((n) => ({ prompt: question, completion: `Score: ${n}` })),
  );
  writeFileSync(source, rows.map((row) => JSON.stringify(row)).join('\n'));
  const { directory } = await tinyRun([
    `model=${tinyModel({ tokenizer: true, maxPositionEmbeddings: 1024 })}`,
    'iterations=0',
    'sft.enabled=true',
    `sft.source=${source}`,
    'sft.count=0',
    'sft.epochs=60',
    'sft.batch_size=12',
    'sft.learning_rate=5.0e-3',
    'sft.schedule=constant',
    'sft.save_steps=0',
  ]);
  return join(directory, 'sft/checkpoint');
}
