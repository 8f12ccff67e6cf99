/** The thread that splits texts into tokens for encoder-thread.ts. */
import { parentPort } from 'node:worker_threads';
import { atOnce } from '../files/steps.js';
import { Encoder } from './encoder.js';
import type { ThreadAnswer, ThreadRequest, TokenizerPart } from './encoder-thread.js';
import type { TokenizerJson } from './tokenizer-json.js';

let json: TokenizerJson;
let encoder: Encoder | undefined;

parentPort!.on('message', (message: TokenizerPart | ThreadRequest) => {
  if ('text' in message) answer(message);
  else if ('json' in message) json = message.json;
  else if ('merges' in message) json.model.merges!.push(...message.merges);
  else add(message.entries);
});

function add(entries: [string, number][]): void {
  const { vocab } = json.model;
  if (Array.isArray(vocab)) vocab.push(...entries);
  else for (const [token, id] of entries) vocab.set(token, id);
}

function answer({ id, text, addSpecialTokens }: ThreadRequest): void {
  try {
    encoder ??= atOnce(Encoder.of(json));
    const ids = Int32Array.from(encoder.encode(text, addSpecialTokens));
    parentPort!.postMessage({ id, ids } satisfies ThreadAnswer, [ids.buffer]);
  } catch (error) {
    const told: ThreadAnswer = { id, error: (error as Error).message };
    parentPort!.postMessage(told);
  }
}
