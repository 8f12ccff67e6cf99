/** Finds the base model of an adapter's folder. */
import { join } from 'node:path';
import { CreamError } from '../engine/errors.js';
import { ModelError } from '../files/errors.js';
import { adapterBase } from '../models/local.js';
import { resolveModel, type ResolvedModel, type ResolveOptions } from '../models/resolve.js';

/**
 * Resolves the base model if `source` is an adapter: the model that `base` names, otherwise the one
 * that its adapter_config.json names. Any other model is returned unchanged. Rejects with
 * CreamError, and with ModelError if the base model cannot be found.
 */
export async function withBase(
  source: ResolvedModel,
  base: string | undefined,
  options: ResolveOptions,
): Promise<ResolvedModel> {
  const adapter = await adapterBase(source.path);
  if (adapter === null) {
    if (base !== undefined)
      throw new CreamError(
        'ERR_INVALID_ARGUMENT',
        `${source.name} is a model of its own and takes no base; leave \`base\` out, or ` +
          `name an adapter's folder.`,
      );
    return source;
  }
  const name = base ?? adapter.name;
  if (name === null)
    throw new CreamError(
      'ERR_INVALID_FILE',
      `${join(source.path, 'adapter_config.json')} has no base_model_name_or_path; name ` +
        `the adapter's base model with \`base\`.`,
    );
  const found = await resolveModel(name, options).catch((error: unknown) => {
    if (base === undefined && error instanceof ModelError) {
      throw new ModelError(
        error.code,
        `The adapter ${source.path} names the base model ${JSON.stringify(name)}, which ` +
          `could not be loaded (\`base\` can name another): ${error.message}`,
        { cause: error },
      );
    }
    throw error;
  });
  if ((await adapterBase(found.path)) !== null)
    throw new CreamError(
      'ERR_UNSUPPORTED',
      `The base model ${name} of the adapter ${source.path} is an adapter itself; merge ` +
        'that one first.',
    );
  return { ...source, base: found };
}
