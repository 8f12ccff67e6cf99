/** Preference pairs in the form of TRL's data sets. */
import { property, shown, unreadable } from '../files/options.js';
import { DataError, isObject } from './jsonl.js';
import type { PreferenceRecord } from './preferences.js';
import type { Message, PairRecord } from './records.js';

/** TRL's dataset formats: lists of messages, or plain texts. */
export type TrlFormat = 'conversational' | 'standard';

/**
 * Pairs in TRL's form: messages, or texts if each pair has one user turn and one answer. @throws
 * DataError if a pair does not fit texts
 */
export function toTrl(
  pairs: readonly (PreferenceRecord | PairRecord)[],
  format: TrlFormat = 'conversational',
): object[] {
  requirePairs(pairs);
  if (!['conversational', 'standard'].includes(format))
    throw new DataError(`the format must be conversational or standard, got ${shown(format)}`);
  return pairs.map((pair) => {
    const id = 'id' in pair ? pair.id : pair.prompt_id;
    const weight =
      'consistency' in pair && pair.consistency !== undefined
        ? { consistency: pair.consistency }
        : {};
    const [prompt, chosen, rejected] = [pair.prompt, pair.chosen, pair.rejected].map((messages) =>
      messages.map(({ role, content }) => ({ role, content })),
    ) as [Message[], Message[], Message[]];
    if (format === 'conversational') return { id, prompt, chosen, rejected, ...weight };
    if (
      prompt.length !== 1 ||
      prompt[0]!.role !== 'user' ||
      chosen.length !== 1 ||
      rejected.length !== 1
    ) {
      throw new DataError(
        `the pair ${JSON.stringify(id)} is a conversation of several turns or has a system ` +
          `message, which TRL's standard format cannot hold; use its conversational format`,
      );
    }
    return {
      id,
      prompt: prompt[0]!.content,
      chosen: chosen[0]!.content,
      rejected: rejected[0]!.content,
      ...weight,
    };
  });
}

/** @throws DataError naming the first pair that is none */
function requirePairs(pairs: unknown): void {
  try {
    if (!Array.isArray(pairs)) throw new DataError(`pairs must be a list, got ${shown(pairs)}`);
    (pairs as unknown[]).forEach((pair, i) => {
      const wrong =
        typeof (property(pair, 'id') ?? property(pair, 'prompt_id')) === 'string'
          ? ['prompt', 'chosen', 'rejected'].find((name) => !areMessages(property(pair, name)))
          : 'id';
      if (wrong === undefined) return;
      const what = isObject(pair) ? `has the ${wrong} ${shown(pair[wrong])}` : `is ${shown(pair)}`;
      throw new DataError(
        `pair ${i + 1} of ${pairs.length} ${what}; a pair has an id, and in prompt, chosen and ` +
          'rejected messages with role and content',
      );
    });
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(unreadable('the list of pairs', error).replace(/\.$/, ''));
  }
}

const areMessages = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.every((message) =>
    ['role', 'content'].every((name) => typeof property(message, name) === 'string'),
  );
