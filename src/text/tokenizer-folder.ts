/** Reads a tokenizer's files from a Hugging Face folder. */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseConfig } from '../files/json.js';
import { TOKENIZER_FILES } from '../files/model-files.js';
import { FileError, readText } from '../files/read.js';
import { withConfiguredTokens } from './configured-tokens.js';
import { TextError } from './errors.js';
import {
  ADDED_TOKENS,
  endsOf,
  refuseOtherSpace,
  refuseOtherTokens,
  refuseSettings,
} from './folder-settings.js';
import { namedTemplate, noDefaultTemplate } from './named-templates.js';
import { checkTokenizerJson, type TokenizerJson } from './tokenizer-json.js';

/** The contents of a tokenizer's files. */
export interface TokenizerParts {
  json: TokenizerJson;
  config: Record<string, unknown>;
  eosTokenIds: number[];
  chatTemplate: string | null;
  /** Files to save unchanged; missing ones are written from `json` and `config`. */
  files: Record<string, string>;
}

/** The tokenizer in `folder`, with its chat template. @throws TextError */
export async function readFolder(folder: string): Promise<TokenizerParts> {
  const files: Record<string, string> = {};
  for (const name of [...TOKENIZER_FILES, ADDED_TOKENS]) {
    const text = await readPart(join(folder, name));
    if (text !== undefined) files[name] = text;
  }
  const parse = (name: string) => parsePart(files[name], join(folder, name));
  const read = tokenizerJsonOf(parse('tokenizer.json'), folder);
  const config: Record<string, unknown> = {
    ...parse('special_tokens_map.json'),
    ...(parse('tokenizer_config.json') ?? { tokenizer_class: 'PreTrainedTokenizerFast' }),
  };
  refuseSettings(config, folder);
  refuseOtherSpace(config, read, folder);
  const json = withConfiguredTokens(read, config);
  refuseOtherTokens(parse('added_tokens.json'), json, folder);
  const eosTokenIds = endsOf(parse('generation_config.json'), folder);
  const named = files['chat_template.jinja'] === undefined ? await namedFiles(folder) : {};
  const template =
    files['chat_template.jinja'] ??
    named['default'] ??
    namedTemplate(config['chat_template'], join(folder, 'tokenizer_config.json')) ??
    namedTemplate(
      parse('chat_template.json')?.['chat_template'],
      join(folder, 'chat_template.json'),
    );
  if (template === undefined && Object.keys(named).length > 0)
    throw noDefaultTemplate(Object.keys(named), join(folder, TEMPLATE_FOLDER));
  return {
    json,
    config,
    eosTokenIds,
    chatTemplate: template ?? null,
    files,
  };
}

/** The object in the file at `path`, whose text is `text`. @throws TextError */
function parsePart(text: string | undefined, path: string): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    return parseConfig(text) as Record<string, unknown>;
  } catch (error) {
    throw new TextError(
      'ERR_TOKENIZER',
      `${path} is not valid JSON (${(error as Error).message}); it is damaged or ` +
        'half-downloaded: fetch it again.',
      { cause: error },
    );
  }
}

function tokenizerJsonOf(
  found: Record<string, unknown> | undefined,
  folder: string,
): TokenizerJson {
  if (found === undefined)
    throw new TextError(
      'ERR_TOKENIZER',
      `${folder} has no tokenizer.json; copy the one that belongs to this model into the folder.`,
    );
  try {
    return checkTokenizerJson(found);
  } catch (error) {
    throw new TextError(
      'ERR_TOKENIZER',
      `${join(folder, 'tokenizer.json')} is not a tokenizer of the tokenizers library: ` +
        `${(error as Error).message}; fetch the model again.`,
      { cause: error },
    );
  }
}

/** The text of one of a tokenizer's files; undefined if it is missing. @throws TextError */
async function readPart(path: string): Promise<string | undefined> {
  const kind = path.endsWith('.jinja')
    ? 'template'
    : basename(path) === 'tokenizer.json'
      ? 'tokenizer'
      : 'config';
  return readText(path, kind).catch((error: unknown) => {
    if (!(error instanceof FileError)) throw error;
    if (error.code === 'ENOENT') return undefined;
    throw new TextError('ERR_TOKENIZER', `${error.message}.`, { cause: error });
  });
}

const TEMPLATE_FOLDER = 'additional_chat_templates';

/** Templates by name, from the folder in which transformers keeps all but the default one. */
async function namedFiles(folder: string): Promise<Record<string, string>> {
  const directory = join(folder, TEMPLATE_FOLDER);
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' || error.code === 'ENOTDIR' ? [] : Promise.reject(error),
  );
  const found: Record<string, string> = {};
  for (const name of names.filter((file) => file.endsWith('.jinja')).sort())
    found[name.slice(0, -'.jinja'.length)] = (await readPart(join(directory, name))) ?? '';
  return found;
}
