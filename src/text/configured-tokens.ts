/**
 * Added tokens that stand outside tokenizer.json, as transformers 4 and 5 apply them when they load
 * a folder: `added_tokens_decoder` of tokenizer_config.json adds tokens and changes flags, and
 * special tokens that are missing are added. Without them a text would be split into other tokens.
 */
import { forEach, type Steps } from '../files/steps.js';
import { idsOf, type AddedToken, type TokenizerJson } from './tokenizer-json.js';

type Config = Readonly<Record<string, unknown>>;

/** Special tokens that no text of a chat holds; a missing one is not added. */
const UNUSED = new Set(['pad_token']);

/** `json` with the tokens of `config` (tokenizer_config.json over special_tokens_map.json). */
export function* withConfiguredTokens(json: TokenizerJson, config: Config): Steps<TokenizerJson> {
  const tokens = new Map<string, AddedToken>();
  const vocabulary = yield* idsOf(json.model.vocab);
  let next = vocabulary.size;
  yield* forEach(json.added_tokens, (token) => {
    tokens.set(token.content, token);
    next = Math.max(next, token.id + 1);
  });
  const add = (content: string, flags: Omit<AddedToken, 'id' | 'content'>): void => {
    if (content === '') return;
    const id = tokens.get(content)?.id ?? vocabulary.get(content) ?? next++;
    tokens.set(content, { id, content, ...flags });
  };
  yield* forEach(entriesOf(config['added_tokens_decoder']), (entry) =>
    add(entry.content, flagsOf(entry)),
  );
  for (const { content, entry } of namedTokens(config)) {
    const known = tokens.get(content);
    if (known === undefined) add(content, { ...flagsOf(entry), special: true });
    else add(content, { ...known, special: true });
  }
  return { ...json, added_tokens: [...tokens.values()] };
}

type Entry = Readonly<Record<string, unknown>> & { content: string };

/** The tokens of `added_tokens_decoder`, in the order of their ids. */
function entriesOf(decoder: unknown): Entry[] {
  if (typeof decoder !== 'object' || decoder === null) return [];
  return Object.entries(decoder)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, entry]) => entry as unknown)
    .filter(isEntry);
}

const isEntry = (entry: unknown): entry is Entry =>
  typeof (entry as Partial<Entry> | null)?.content === 'string';

function flagsOf(entry: Readonly<Record<string, unknown>>): Omit<AddedToken, 'id' | 'content'> {
  const special = entry['special'] === true;
  return {
    special,
    normalized: typeof entry['normalized'] === 'boolean' ? entry['normalized'] : !special,
    lstrip: entry['lstrip'] === true,
    rstrip: entry['rstrip'] === true,
    single_word: entry['single_word'] === true,
  };
}

/** `bos_token` and the like, `additional_special_tokens`, `extra_special_tokens`. */
function namedTokens(config: Config): { content: string; entry: Config }[] {
  const named = Object.entries(config)
    .filter(([key]) => key.endsWith('_token') && !UNUSED.has(key))
    .map(([, value]) => value);
  const lists: unknown[] = ['additional_special_tokens', 'extra_special_tokens'].flatMap((key) => {
    const value = config[key];
    return typeof value === 'object' && value !== null
      ? Object.values(value as Record<string, unknown>)
      : [];
  });
  return [...named, ...lists].flatMap((value: unknown): { content: string; entry: Config }[] =>
    typeof value === 'string'
      ? [{ content: value, entry: { special: true } }]
      : isEntry(value)
        ? [{ content: value.content, entry: value }]
        : [],
  );
}
