/** Names of a model folder's files that several modules read. */

/** The tokenizer's files: splitting and merging, special tokens, ends of turns, chat template. */
export const TOKENIZER_FILES: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
];
