/** Files and keys beside tokenizer.json that change ids: read, or refused by name. */
import { join } from 'node:path';
import { TextError } from './errors.js';
import type { TokenizerJson } from './tokenizer-json.js';

/** An older file, whose tokens tokenizer.json has as well. */
export const ADDED_TOKENS = 'added_tokens.json';

/** @throws TextError for settings of tokenizer_config.json that change ids and are not supported */
export function refuseSettings(config: Record<string, unknown>, folder: string): void {
  const path = join(folder, 'tokenizer_config.json');
  if (config['split_special_tokens'] === true)
    throw new TextError(
      'ERR_TOKENIZER',
      `${path} has split_special_tokens: true, which splits the names of special tokens like ` +
        'other text and is not supported; set it to false.',
    );
  const template = config['chat_template'];
  if (!['undefined', 'string', 'object'].includes(typeof template))
    throw new TextError(
      'ERR_CHAT_TEMPLATE',
      `${path} has a chat_template that is no text: ${JSON.stringify(template)}; fetch the file ` +
        'again.',
    );
}

/**
 * @throws TextError where tokenizer_config.json and tokenizer.json differ on the space before a
 * text, because versions of transformers differ on which of the two counts
 */
export function refuseOtherSpace(
  config: Record<string, unknown>,
  { pre_tokenizer: step }: TokenizerJson,
  folder: string,
): void {
  const wanted = config['add_prefix_space'];
  if (typeof wanted !== 'boolean' || step?.type !== 'ByteLevel') return;
  if ((step['add_prefix_space'] ?? true) !== wanted)
    throw new TextError(
      'ERR_TOKENIZER',
      `${join(folder, 'tokenizer_config.json')} has add_prefix_space: ${wanted}, and the ` +
        `pre-tokenizer of tokenizer.json has ${!wanted}; versions of transformers differ on ` +
        'which of them counts: make them equal.',
    );
}

/** @throws TextError where added_tokens.json has a token that the other files lack */
export function refuseOtherTokens(
  listed: Record<string, unknown> | undefined,
  json: TokenizerJson,
  folder: string,
): void {
  const known = new Set(json.added_tokens.map(({ content }) => content));
  const other = Object.keys(listed ?? {}).find((content) => !known.has(content));
  if (other !== undefined)
    throw new TextError(
      'ERR_TOKENIZER',
      `${join(folder, ADDED_TOKENS)} has the token ${JSON.stringify(other)}, which ` +
        "tokenizer.json lacks: save the tokenizer once with transformers' " +
        'AutoTokenizer(...).save_pretrained(...).',
    );
}

/** `eos_token_id` of generation_config.json. @throws TextError if it is no id or list of ids */
export function endsOf(generation: Record<string, unknown> | undefined, folder: string): number[] {
  const ids = [generation?.['eos_token_id'] ?? []].flat() as unknown[];
  if (!ids.every(Number.isInteger))
    throw new TextError(
      'ERR_TOKENIZER',
      `${join(folder, 'generation_config.json')} has the eos_token_id ${JSON.stringify(ids)}; it ` +
        'must be a whole number or a list of these.',
    );
  return ids as number[];
}
