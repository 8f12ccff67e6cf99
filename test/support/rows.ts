/** Messages and rows of a data file, as tests write them. */
import type { Message } from '../../src/data/records.js';

export const system = (content: string): Message => ({ role: 'system', content });
export const user = (content: string): Message => ({ role: 'user', content });
export const assistant = (content: string): Message => ({ role: 'assistant', content });

/** A row as a reader hands it on, with its place for messages. */
export const row = (value: object) => ({
  value: value as Record<string, unknown>,
  where: 'x.jsonl line 3',
});
