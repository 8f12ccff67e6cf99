/**
 * Models of the Hugging Face hub: selects the files of a repository that the engine reads, and
 * fetches them into the shared cache (repository.ts).
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../files/cache.js';
import { ModelError } from '../files/errors.js';
import { writeToCache } from '../files/files.js';
import { TOKENIZER_FILES } from '../files/model-files.js';
import { checkLocalModel } from './local.js';
import type { Fetching } from '../hub/http.js';
import {
  fetchingOf,
  listRepository,
  requireChecksum,
  type HubOptions,
  type Listing,
  type Repository,
} from '../hub/listing.js';
import { cachedCommit, damagedFiles, fetchFiles, repositoryFolder } from '../hub/repository.js';

export interface HubModel {
  /** The snapshot folder. */
  path: string;
  /** The commit, 40 hex digits: identifies exactly these files. */
  commit: string;
  licence?: string | undefined;
}

const WEIGHTS = /^model(-\d+-of-\d+)?\.safetensors$|^model\.safetensors\.index\.json$/;
const isWanted = (name: string): boolean =>
  WEIGHTS.test(name) || ['config.json', ...TOKENIZER_FILES].includes(name);

const model = (id: string): Repository => ({ kind: 'models', id });

/**
 * The complete cached snapshot of `id` at `revision`, without asking the network; null if there is
 * none. @throws ModelError (ERR_CHECKSUM) if a file is damaged
 */
export async function cachedHubModel(
  id: string,
  revision: string,
  options: HubOptions = {},
): Promise<HubModel | null> {
  const commit = await cachedCommit(model(id), revision, options.env);
  if (commit === null) return null;
  const path = join(repositoryFolder(model(id), options.env), 'snapshots', commit);
  const names = (await readdir(path).catch(() => [])).filter((name) => isWanted(name));
  const [damaged] = await damagedFiles(path, names, options);
  if (damaged !== undefined && (await exists(damaged)))
    throw new ModelError(
      'ERR_CHECKSUM',
      `${damaged} is damaged: its content is not what the hub lists for ${id}@${revision}; ` +
        'allow the network once, and it is fetched again.',
    );
  return checkLocalModel(path).then(
    () => ({ path, commit }),
    () => null,
  );
}

/** Downloads the missing files of `id` at `revision` and returns its snapshot folder. */
export async function fetchHubModel(
  id: string,
  revision: string,
  options: HubOptions = {},
): Promise<HubModel> {
  const fetching = await fetchingOf(model(id), revision, options);
  const listing = wanted(
    await listRepository(model(id), revision, fetching, options.timeoutMs),
    fetching,
  );
  const { commit, licence } = listing;
  const path = await fetchFiles(model(id), listing, fetching, options, async (snapshot) => {
    await checkLocalModel(snapshot);
    if (revision !== commit)
      // last: a ref means a whole snapshot
      await writeToCache(join(repositoryFolder(model(id), options.env), 'refs', revision), commit);
  });
  return { path, commit, licence };
}

/** The files that the engine reads, small ones first. */
function wanted(listing: Listing, fetching: Fetching): Listing {
  const files = listing.files.filter(({ name }) => isWanted(name));
  for (const file of files) requireChecksum(file, fetching);
  if (!files.some((file) => file.name.endsWith('.safetensors'))) {
    throw new ModelError(
      'ERR_INCOMPLETE_MODEL',
      `${fetching.what} has no model.safetensors on the hub; only safetensors weights are ` +
        'read: choose another revision, or convert the model and name its folder.',
    );
  }
  // A repository may hold the weights both in one file and in shards; the one file is enough.
  const whole = files.some((file) => file.name === 'model.safetensors');
  return {
    ...listing,
    files: files
      .filter(
        (file) =>
          !whole || !/^model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)$/.test(file.name),
      )
      .sort((a, b) => a.size - b.size),
  };
}
