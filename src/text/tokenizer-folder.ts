/** Reads a tokenizer's files from a Hugging Face folder. */
import { isUtf8 } from 'node:buffer';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseConfigInSteps } from '../files/json-steps.js';
import { objectOf } from '../files/json.js';
import { TOKENIZER_FILES } from '../files/model-files.js';
import { FileError, readRegular } from '../files/read.js';
import { inTurns, type Steps } from '../files/steps.js';
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
  files: Record<string, Buffer>;
}

/** The tokenizer in `folder`, with its chat template. @throws TextError, the reason of `signal` */
export async function readFolder(folder: string, signal?: AbortSignal): Promise<TokenizerParts> {
  const files: Record<string, Buffer> = {};
  for (const name of [...TOKENIZER_FILES, ADDED_TOKENS]) {
    const bytes = await readPart(join(folder, name));
    if (bytes !== undefined) files[name] = bytes;
  }
  const own = files['chat_template.jinja']?.toString();
  const named = own === undefined ? await namedFiles(folder) : {};
  return inTurns(partsOf(folder, files, own === undefined ? named : { default: own }), signal);
}

/** `named`: the templates in files of their own. */
function* partsOf(
  folder: string,
  files: Record<string, Buffer>,
  named: Record<string, string>,
): Steps<TokenizerParts> {
  const parse = (name: string) => parsePart(files[name], join(folder, name));
  const read = yield* tokenizerJsonOf(yield* parse('tokenizer.json'), folder);
  const config: Record<string, unknown> = {
    ...(yield* parse('special_tokens_map.json')),
    ...((yield* parse('tokenizer_config.json')) ?? { tokenizer_class: 'PreTrainedTokenizerFast' }),
  };
  refuseSettings(config, folder);
  refuseOtherSpace(config, read, folder);
  const json = yield* withConfiguredTokens(read, config);
  refuseOtherTokens(yield* parse('added_tokens.json'), json, folder);
  const eosTokenIds = endsOf(yield* parse('generation_config.json'), folder);
  const template =
    named['default'] ??
    namedTemplate(config['chat_template'], join(folder, 'tokenizer_config.json')) ??
    namedTemplate(
      (yield* parse('chat_template.json'))?.['chat_template'],
      join(folder, 'chat_template.json'),
    );
  if (template === undefined && Object.keys(named).length > 0)
    throw noDefaultTemplate(Object.keys(named), join(folder, TEMPLATE_FOLDER));
  return { json, config, eosTokenIds, chatTemplate: template ?? null, files };
}

/** The object in the file at `path`, whose text is `bytes`. @throws TextError */
function* parsePart(
  bytes: Buffer | undefined,
  path: string,
): Steps<Record<string, unknown> | undefined> {
  if (bytes === undefined) return undefined;
  try {
    const value = yield* parseConfigInSteps(bytes, 'vocab');
    // What is wrong with a tokenizer.json is told by its own check.
    return path.endsWith('tokenizer.json') ? (value as Record<string, unknown>) : objectOf(value);
  } catch (error) {
    throw new TextError(
      'ERR_TOKENIZER',
      `${path} is not valid JSON (${(error as Error).message}); it is damaged or ` +
        'half-downloaded: fetch it again.',
      { cause: error },
    );
  }
}

function* tokenizerJsonOf(
  found: Record<string, unknown> | undefined,
  folder: string,
): Steps<TokenizerJson> {
  if (found === undefined)
    throw new TextError(
      'ERR_TOKENIZER',
      `${folder} has no tokenizer.json; copy the one that belongs to this model into the folder.`,
    );
  try {
    return yield* checkTokenizerJson(found);
  } catch (error) {
    throw new TextError(
      'ERR_TOKENIZER',
      `${join(folder, 'tokenizer.json')} is not a tokenizer of the tokenizers library: ` +
        `${(error as Error).message}; fetch the model again.`,
      { cause: error },
    );
  }
}

/** The bytes of one of a tokenizer's files; undefined if it is missing. @throws TextError */
async function readPart(path: string): Promise<Buffer | undefined> {
  const kind = path.endsWith('.jinja')
    ? 'template'
    : basename(path) === 'tokenizer.json'
      ? 'tokenizer'
      : 'config';
  const bytes = await readRegular(path, kind).catch((error: unknown) => {
    if (!(error instanceof FileError)) throw error;
    if (error.code === 'ENOENT') return undefined;
    throw new TextError('ERR_TOKENIZER', `${error.message}.`, { cause: error });
  });
  if (bytes === undefined || isUtf8(bytes)) return bytes;
  throw new TextError(
    'ERR_TOKENIZER',
    `${path} is not valid UTF-8; it is damaged: fetch it again.`,
  );
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
    found[name.slice(0, -'.jinja'.length)] = String((await readPart(join(directory, name))) ?? '');
  return found;
}
