/**
 * Checks that the folder or .gguf file of a model is complete, and reports in one sentence what is
 * missing. It looks at names and sizes only; the native reader checks the weights.
 */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { sha256File } from '../files/cache.js';
import { parseConfigInSteps } from '../files/json-steps.js';
import { inTurns } from '../files/steps.js';
import { ModelError } from '../files/errors.js';
import { FileError, openRegular, readText } from '../files/read.js';
import { TOKENIZER_FILES } from '../files/model-files.js';

const LFS_POINTER = 'version https://git-lfs.github.com/spec/';

/**
 * The model in `path`: the folder itself, or the .gguf file. Throws ModelError if it is incomplete.
 */
export async function checkLocalModel(path: string): Promise<string> {
  const info = await stat(path).catch(() => null);
  if (info === null)
    throw new ModelError('ERR_NOT_FOUND', `No model at ${path}: there is no such file or folder.`);
  if (info.isDirectory()) return checkFolder(path);
  if (!path.toLowerCase().endsWith('.gguf')) {
    throw new ModelError(
      'ERR_NOT_FOUND',
      `${path} is not a model: give a .gguf file, or the folder that holds config.json and ` +
        'model.safetensors.',
    );
  }
  await checkPresent(path, basename(path));
  const magic = await head(path, 4);
  if (magic !== 'GGUF')
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${path} does not begin with "GGUF": it is not a GGUF file, or its download was cut; ` +
        'fetch it again.',
    );
  return path;
}

async function checkFolder(folder: string): Promise<string> {
  const names = await readdir(folder);
  if (isAdapter(names)) return checkAdapter(folder, names);
  if (!names.includes('config.json')) {
    const ggufs = names.filter((name) => name.toLowerCase().endsWith('.gguf'));
    if (ggufs.length === 1) return checkLocalModel(join(folder, ggufs[0] as string));
    if (names.includes('checkpoint'))
      throw new ModelError(
        'ERR_INCOMPLETE_MODEL',
        `${folder} is not a model, but holds one: give ${join(folder, 'checkpoint')}.`,
      );
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${folder} has no config.json: give a Hugging Face model folder (config.json, ` +
        'model.safetensors, tokenizer.json)' +
        (ggufs.length > 1 ? ', or name one of its .gguf files.' : ' or a .gguf file.'),
    );
  }
  await checkJson(join(folder, 'config.json'));
  for (const name of await weightFiles(folder, names)) await checkPresent(join(folder, name), name);
  if (!names.includes('tokenizer.json')) {
    const old = names.find((name) =>
      ['tokenizer.model', 'vocab.json', 'spiece.model'].includes(name),
    );
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${folder} has no tokenizer.json; ` +
        (old
          ? `its ${old} is an older form: save it once with transformers' ` +
            'AutoTokenizer(...).save_pretrained(...).'
          : 'copy the one that belongs to this model into the folder.'),
    );
  }
  await checkPresent(join(folder, 'tokenizer.json'), 'tokenizer.json');
  return folder;
}

/** An adapter in PEFT's format, which needs its base: it has its own config and no model's. */
function isAdapter(names: readonly string[]): boolean {
  return names.includes('adapter_config.json') && !names.includes('config.json');
}

async function checkAdapter(folder: string, names: string[]): Promise<string> {
  await checkJson(join(folder, 'adapter_config.json'));
  if (!names.includes('adapter_model.safetensors') && names.includes('adapter_model.bin')) {
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${folder} has no adapter_model.safetensors; adapter_model.bin is a pickle, which is ` +
        `not read: save the adapter once with PEFT's save_pretrained(..., ` +
        'safe_serialization=True).',
    );
  }
  await checkPresent(join(folder, 'adapter_model.safetensors'), 'adapter_model.safetensors');
  return folder;
}

/**
 * The base model that an adapter's folder names, or null for a model that is not an adapter; a path
 * relative to the folder is made absolute.
 */
export async function adapterBase(path: string): Promise<{ name: string | null } | null> {
  if (!(await stat(path)).isDirectory() || !isAdapter(await readdir(path))) return null;
  const { base_model_name_or_path: name, revision } = (await checkJson(
    join(path, 'adapter_config.json'),
  )) as { base_model_name_or_path?: unknown; revision?: unknown };
  if (typeof name !== 'string' || name === '') return { name: null };
  const beside = resolve(path, name);
  const relative = !isAbsolute(name) && (await stat(beside).catch(() => null)) !== null;
  if (relative) return { name: beside };
  // PEFT loads the base in the revision that the adapter was trained on.
  const pinned = typeof revision === 'string' && /^[\w.-]+\/[\w.-]+$/.test(name);
  const here = (await stat(name).catch(() => null)) !== null;
  return { name: pinned && !here ? `${name}@${revision}` : name };
}

/**
 * Names of the weight files of a folder: an adapter's, one model.safetensors, or every shard that
 * its index lists.
 */
async function weightFiles(folder: string, names?: string[]): Promise<string[]> {
  names ??= await readdir(folder);
  if (isAdapter(names)) return ['adapter_model.safetensors'];
  if (names.includes('model.safetensors')) return ['model.safetensors'];
  if (names.includes('model.safetensors.index.json')) {
    const index = (await checkJson(join(folder, 'model.safetensors.index.json'))) as {
      weight_map?: Record<string, string>;
    };
    const shards = [...new Set(Object.values(index.weight_map ?? {}))].sort();
    const bad = shards.find(
      (shard) =>
        typeof shard !== 'string' || shard !== basename(shard) || !shard.endsWith('.safetensors'),
    );
    if (bad !== undefined || shards.length === 0) {
      throw new ModelError(
        'ERR_INCOMPLETE_MODEL',
        `${join(folder, 'model.safetensors.index.json')} ` +
          (shards.length === 0
            ? 'lists no shards'
            : `names a file outside its folder (${String(bad)})`) +
          '; fetch the model again.',
      );
    }
    const missing = shards.filter((shard) => !names.includes(shard));
    if (missing.length > 0) {
      throw new ModelError(
        'ERR_INCOMPLETE_MODEL',
        `${folder} is half-downloaded: ${missing.length} of ${shards.length} weight files ` +
          `are missing (${missing[0]}${missing.length > 1 ? ', …' : ''}); fetch the model ` +
          'again.',
      );
    }
    return shards;
  }
  const partial = names.find((name) => name.endsWith('.incomplete') || name.endsWith('.part'));
  const pickle = names.find((name) => name.endsWith('.bin'));
  throw new ModelError(
    'ERR_INCOMPLETE_MODEL',
    `${folder} has no model.safetensors` +
      (partial
        ? `, only the half-downloaded ${partial}; fetch the model again.`
        : pickle
          ? `; ${pickle} is a pickle, which is not read: save the model once with transformers' ` +
            'save_pretrained(..., safe_serialization=True).'
          : ' and no model.safetensors.index.json; copy the weights into the folder.'),
  );
}

async function checkPresent(path: string, name: string): Promise<void> {
  // a dangling link of a hub cache counts as missing
  const info = await stat(path).catch(() => null);
  if (info === null)
    throw new ModelError('ERR_INCOMPLETE_MODEL', `${path} is missing; fetch the model again.`);
  if (!info.isFile())
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${path} is not a regular file (a folder, pipe, socket or device); fetch the model again.`,
    );
  if (info.size === 0)
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${path} is empty: its download was cut; fetch the model again.`,
    );
  if (info.size < 1024 && (await head(path, LFS_POINTER.length)) === LFS_POINTER) {
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${path} is a Git LFS pointer, not the file itself; run "git lfs pull" in that clone ` +
        `(${name}).`,
    );
  }
}

async function checkJson(path: string): Promise<unknown> {
  await checkPresent(path, basename(path));
  try {
    const text = await readText(path, 'config');
    return await inTurns(parseConfigInSteps(Buffer.from(text)));
  } catch (error) {
    if (error instanceof FileError)
      throw new ModelError('ERR_INCOMPLETE_MODEL', `${error.message}.`, { cause: error });
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${path} is not valid JSON (${(error as Error).message}): it is damaged or ` +
        'half-downloaded; fetch the model again.',
      { cause: error },
    );
  }
}

async function head(path: string, bytes: number): Promise<string> {
  const file = await openRegular(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, 0);
    return buffer.subarray(0, bytesRead).toString('latin1');
  } finally {
    await file.close();
  }
}

/**
 * SHA-256 of the files that determine a model's results: the .gguf file, or the folder's config,
 * weights and tokenizer. Reads every byte.
 */
export async function contentDigest(path: string, signal?: AbortSignal): Promise<string> {
  if (!(await stat(path)).isDirectory()) return sha256File(path, signal);
  const names = await readdir(path);
  const kept = [
    ...(await weightFiles(path, names)),
    ...names.filter((name) =>
      ['config.json', 'adapter_config.json', ...TOKENIZER_FILES].includes(name),
    ),
  ].sort();
  const all = createHash('sha256');
  for (const name of kept) all.update(`${name}\0${await sha256File(join(path, name), signal)}\n`);
  return all.digest('hex');
}
