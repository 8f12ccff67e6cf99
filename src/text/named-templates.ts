/** Chat templates by name; the one named `default` is for plain chat. */
import { TextError } from './errors.js';

/** `tokenizer.chat_templates` names the templates besides the default one. */
export function ggufTemplate(metadata: Readonly<Record<string, unknown>>): string | null {
  const template = metadata['tokenizer.chat_template'];
  if (typeof template === 'string') return template;
  const named = metadata['tokenizer.chat_templates'];
  if (Array.isArray(named) && named.length > 0) throw noDefaultTemplate(named, 'The GGUF file');
  return null;
}

/** As in transformers, a model with named templates needs one for plain chat. */
export function noDefaultTemplate(names: readonly unknown[], owner: string): TextError {
  return new TextError(
    'ERR_CHAT_TEMPLATE',
    `${owner} has the chat templates ${names.map((name) => JSON.stringify(name)).join(', ')} ` +
      'and none named "default"; put the one for plain chat into chat_template.jinja in the ' +
      "model's Hugging Face folder.",
  );
}

/**
 * A chat template is a string or a list or object of named ones, of which `default` is for plain
 * chat. @throws TextError if there are named ones but no default
 */
export function namedTemplate(value: unknown, owner: string): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return undefined;
  const named: [unknown, unknown][] = Array.isArray(value)
    ? (value as ({ name?: unknown; template?: unknown } | null)[]).map((entry) => [
        entry?.name,
        entry?.template,
      ])
    : Object.entries(value);
  if (named.length === 0) return undefined;
  const plain = named.findLast(([name]) => name === 'default')?.[1];
  if (typeof plain === 'string') return plain;
  throw noDefaultTemplate(
    named.map(([name]) => name),
    owner,
  );
}
