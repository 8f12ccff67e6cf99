/**
 * Data sets of the Hugging Face hub: `hub:org/name[/config][:split][@revision]` → the split's
 * files, in order, in the cache that Python's huggingface_hub shares. The files of a split are
 * found as in the datasets library (splits.ts): by the card, by names, or in the hub's own Parquet
 * conversion. Without a config the set's default one is taken, without a split `train`.
 *
 * The commit and files of a source are noted when it is first fetched, so that the same source has
 * the same rows tomorrow, also offline.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { creamCache, exists } from '../files/cache.js';
import { withCallback } from '../files/callback.js';
import { ModelError } from '../files/errors.js';
import { writeToCache } from '../files/files.js';
import { readRegular, readText } from '../files/read.js';
import { isOffline } from '../hub/environment.js';
import type { Fetching } from '../hub/http.js';
import {
  fetchingOf,
  listRepository,
  parseHubId,
  type HubOptions,
  type Listing,
  type Repository,
} from '../hub/listing.js';
import { cachedCommit, damagedFiles, fetchFiles, repositoryFolder } from '../hub/repository.js';
import { DataError } from './jsonl.js';
import type { SourceOptions } from './rows.js';
import {
  chooseSplit,
  convertedSplits,
  splitsOf,
  type Chosen,
  type Splits,
  type Wanted,
} from './splits.js';

/** The hub's own conversion of data sets in other formats: `<config>/<split>/0000.parquet`. */
const CONVERTED = 'refs/convert/parquet';

export interface DatasetSource extends Wanted {
  id: string;
  revision: string;
}

/** @throws DataError if `source` does not have this form */
export function parseDatasetSource(source: string): DatasetSource {
  const match =
    /^hub:([\w.-]+\/[\w.-]+|[\w.-]+)(?:\/([^/:@\s]+))?(?::([^/:@\s]+))?(?:@([\w./-]+))?$/.exec(
      source,
    );
  const id = match && parseHubId(`${match[1]}${match[4] === undefined ? '' : `@${match[4]}`}`);
  if (!match || !id)
    throw new DataError(
      `${JSON.stringify(source)} is not a data set of the hub; give hub:org/name, with ` +
        '/config, :split and @revision where needed, such as hub:openai/gsm8k/main:test',
    );
  return { ...id, config: match[2], split: match[3], source };
}

/** A source in the cache. */
export interface Dataset {
  /** 40 hex digits: names exactly these files. */
  commit: string;
  /** The split's files in order; `name` is used in error messages. */
  files: { path: string; name: string }[];
}

/** The noted state of a source that was fetched before. */
interface Note {
  commit: string;
  files: string[];
}

/**
 * The files of a split, downloaded if they are not in the cache. A source that was fetched before
 * keeps its commit, even if one of its files is missing or damaged now. @throws ModelError for
 * errors of the hub or the disk, DataError for an unknown config or split
 */
export function fetchDataset(source: string, options: SourceOptions = {}): Promise<Dataset> {
  return withCallback(options.onProgress, options.signal, (onProgress, signal) =>
    fetched(source, { ...options, onProgress, signal }),
  );
}

async function fetched(source: string, options: SourceOptions): Promise<Dataset> {
  const wanted = parseDatasetSource(source);
  const repository: Repository = { kind: 'datasets', id: wanted.id };
  const offline = options.offline ?? isOffline(options.env);
  const note = await readNote(wanted, options);
  if (note && (await isComplete(note, wanted, repository, offline, options)))
    return located(wanted, repository, note, options);
  const found = offline
    ? await fromCache(wanted, repository, options)
    : ((note && (await fetchAgain(note, wanted, repository, options))) ??
      (await fromHub(wanted, repository, options)));
  if (!offline) await remember(wanted, found, options);
  return located(wanted, repository, found, options);
}

/** The files of a data set, as `fetchDataset` returns them. */
export async function datasetFiles(
  source: string,
  options: SourceOptions = {},
): Promise<Dataset['files']> {
  return (await fetchDataset(source, options)).files;
}

/** Fetches the noted commit again; null if the hub no longer has it. */
async function fetchAgain(
  { commit, files }: Note,
  wanted: DatasetSource,
  repository: Repository,
  options: SourceOptions,
): Promise<Note | null> {
  const hub = hubOptions(options);
  const fetching = await fetchingOf(repository, wanted.revision, hub);
  const listing = await listRepository(repository, commit, fetching).catch((error: unknown) => {
    if (error instanceof ModelError && error.code === 'ERR_NOT_FOUND') return null;
    throw error;
  });
  const listed = listing?.files.filter(({ name }) => files.includes(name)) ?? [];
  if (listing?.commit !== commit || listed.length < files.length) return null;
  await fetchFiles(repository, { commit, files: listed }, fetching, hub);
  return { commit, files };
}

const hubOptions = ({ env, signal, onProgress }: SourceOptions): HubOptions => ({
  env,
  signal,
  onProgress,
});

async function fromHub(
  wanted: DatasetSource,
  repository: Repository,
  options: SourceOptions,
): Promise<Note> {
  const hub = hubOptions(options);
  const fetching = await fetchingOf(repository, wanted.revision, hub);
  const listing = await listRepository(repository, wanted.revision, fetching);
  const take = async (
    { commit, files }: Listing,
    names: readonly string[],
    revision: string,
  ): Promise<Note> => {
    const byName = new Map(files.map((file) => [file.name, file]));
    await fetchFiles(
      repository,
      { commit, files: names.map((name) => byName.get(name)!) },
      fetching,
      hub,
    );
    // huggingface_hub needs the ref to find the files offline; the note below is ours.
    if (revision !== commit)
      await writeToCache(join(repositoryFolder(repository, options.env), 'refs', revision), commit);
    return { commit, files: [...names] };
  };
  const splits = splitsOf(
    listing.files.map(({ name }) => name),
    await card(listing, repository, hub, fetching),
    wanted,
  );
  const found = chooseSplit(splits, wanted);
  if (found.files) return take(listing, found.files, wanted.revision);

  // The data set has no file in a format that is read, but the hub has converted most such sets.
  const converted = await listRepository(
    repository,
    CONVERTED,
    await fetchingOf(repository, CONVERTED, hub),
  ).catch((error: unknown) => {
    if (error instanceof ModelError && error.code === 'ERR_NOT_FOUND') return null;
    throw error;
  });
  const other =
    converted && chooseSplit(convertedSplits(converted.files.map(({ name }) => name)), wanted);
  if (other?.files) return take(converted!, other.files, CONVERTED);
  throw new DataError(other && splits.size === 0 ? other.problem : found.problem);
}

/** The text of the README, fetched if there is one. */
async function card(
  { commit, files }: Listing,
  repository: Repository,
  hub: HubOptions,
  fetching: Fetching,
): Promise<string> {
  const readme = files.find(({ name, size }) => name === 'README.md' && size <= 4 * 2 ** 20);
  if (readme === undefined) return '';
  const snapshot = await fetchFiles(repository, { commit, files: [readme] }, fetching, hub);
  return readCard(snapshot);
}

/** A card in another encoding is read as far as it is ASCII. */
const readCard = async (snapshot: string): Promise<string> =>
  (await readRegular(join(snapshot, 'README.md'), 'card')).toString('utf8');

/**
 * The files of a source without a note and without the network: another program may have put it
 * into the shared cache.
 */
async function fromCache(
  wanted: DatasetSource,
  repository: Repository,
  { env }: SourceOptions,
): Promise<Note> {
  const absent = new ModelError(
    'ERR_OFFLINE',
    `${wanted.source} is not in the cache, and the network may not be used ` +
      '(HF_HUB_OFFLINE); allow it once, or name local files.',
  );
  for (const revision of [wanted.revision, CONVERTED]) {
    const commit = await cachedCommit(repository, revision, env);
    if (commit === null) continue;
    const snapshot = join(repositoryFolder(repository, env), 'snapshots', commit);
    const entries = await readdir(snapshot, { recursive: true, withFileTypes: true }).catch(
      () => [],
    );
    const names = entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(snapshot.length + 1))
      .sort();
    const splits: Splits =
      revision === CONVERTED
        ? convertedSplits(names)
        : splitsOf(names, await readCard(snapshot).catch(() => ''), wanted);
    const found: Chosen = chooseSplit(splits, wanted);
    if (found.files && allShards(found.files)) return { commit, files: found.files };
  }
  throw absent;
}

/**
 * Whether all shards are there: three for `x-00000-of-00003`. With other names, only a single file
 * without a number is known to be complete.
 */
function allShards(files: readonly string[]): boolean {
  const count = /-of-(\d{5})/.exec(files[0] ?? '')?.[1];
  return count === undefined
    ? files.length === 1 && !/\d[^/]*$/.test(files[0]!)
    : files.length === Number(count);
}

const noteFile = ({ source }: DatasetSource, options: SourceOptions): string =>
  join(
    creamCache(options.env),
    'datasets',
    `${encodeURIComponent(source.slice('hub:'.length))}.json`,
  );

async function remember(
  wanted: DatasetSource,
  { commit, files }: Note,
  options: SourceOptions,
): Promise<void> {
  // If the cache cannot be written, the next run asks the hub again.
  await writeToCache(noteFile(wanted, options), `${JSON.stringify({ commit, files })}\n`).catch(
    () => {},
  );
}

/** Null for a source that was never fetched, or if the note is damaged. */
async function readNote(wanted: DatasetSource, options: SourceOptions): Promise<Note | null> {
  try {
    const { commit, files } = JSON.parse(
      await readText(noteFile(wanted, options), 'record'),
    ) as Note;
    const usable =
      /^[0-9a-f]{40}$/.test(commit) &&
      files.length > 0 &&
      files.every((name) => !name.split('/').includes('..'));
    return usable ? { commit, files } : null;
  } catch {
    return null;
  }
}

/** Whether the noted files are in the cache with the sizes and checksums that the hub lists. */
async function isComplete(
  note: Note,
  wanted: DatasetSource,
  repository: Repository,
  offline: boolean,
  options: SourceOptions,
): Promise<boolean> {
  const snapshot = join(repositoryFolder(repository, options.env), 'snapshots', note.commit);
  const [damaged] = await damagedFiles(snapshot, note.files, hubOptions(options));
  if (damaged !== undefined && offline && (await exists(damaged)))
    throw new ModelError(
      'ERR_CHECKSUM',
      `${damaged} is damaged: its content is not what the hub lists for ${wanted.source}; ` +
        'allow the network once, and it is fetched again.',
    );
  return damaged === undefined;
}

function located(
  wanted: DatasetSource,
  repository: Repository,
  { commit, files }: Note,
  { env }: SourceOptions,
): Dataset {
  const snapshot = join(repositoryFolder(repository, env), 'snapshots', commit);
  return {
    commit,
    files: files.map((name) => ({ path: join(snapshot, name), name: `hub:${wanted.id}/${name}` })),
  };
}
