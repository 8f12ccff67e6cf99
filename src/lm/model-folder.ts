/** The folder that a model or an adapter is saved to. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CreamError } from '../engine/errors.js';
import { exists } from '../files/cache.js';
import { makeDirectory, writeAtomic } from '../files/files.js';
import { parseConfig } from '../files/json.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** What a saved model has besides its weights and config. */
interface TextFiles {
  tokenizer: Tokenizer;
  generationConfig: Record<string, unknown>;
}

/**
 * Makes the folder of a saved model, with its tokenizer and chat template. A folder with the other
 * kind of model is refused: if it held both configs, libraries would disagree on which model it is.
 */
export async function prepareModelFolder(
  folder: string,
  adapter: boolean,
  { tokenizer, generationConfig }: TextFiles,
): Promise<void> {
  await makeModelFolder(folder, adapter);
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const files: Record<string, string | Uint8Array> = {
    ...tokenizer.files(),
    'generation_config.json': json(generationConfig),
  };
  if (tokenizer.chatTemplate !== null && files['tokenizer_config.json'] !== undefined) {
    // Older readers look for the template here; newer ones take chat_template.jinja.
    files['tokenizer_config.json'] = json({
      ...(parseConfig(Buffer.from(files['tokenizer_config.json'] as string).toString()) as object),
      chat_template: tokenizer.chatTemplate,
    });
  }
  for (const [name, text] of Object.entries(files)) await writeAtomic(join(folder, name), text);
}

async function makeModelFolder(folder: string, adapter: boolean): Promise<void> {
  const found = await stat(folder).catch(() => null);
  if (found !== null && !found.isDirectory())
    throw new CreamError(
      'ERR_IO',
      `The model cannot be saved to ${folder}, which is a file; name a folder.`,
    );
  const other = adapter ? 'config.json' : 'adapter_config.json';
  if (await exists(join(folder, other)))
    throw new CreamError(
      'ERR_IO',
      `${folder} holds ${adapter ? 'a full model' : 'an adapter'} (${other}), and ` +
        `${adapter ? 'an adapter' : 'a full model'} saved beside it could be taken for it; ` +
        'name another folder.',
    );
  await makeDirectory(folder).catch((error: NodeJS.ErrnoException) => {
    throw new CreamError(
      'ERR_IO',
      `The folder ${folder} cannot be made (${error.code ?? error.message}); name one ` +
        'that can be written to.',
      { cause: error },
    );
  });
}
