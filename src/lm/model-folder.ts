/** The folder that a model or an adapter is saved to. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CreamError } from '../engine/errors.js';
import { exists } from '../files/cache.js';
import { makeDirectory } from '../files/files.js';

/**
 * Makes the folder of a saved model. A folder with the other kind of model is refused: if it held
 * both configs, libraries would disagree on which model it is.
 */
export async function makeModelFolder(folder: string, adapter: boolean): Promise<void> {
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
