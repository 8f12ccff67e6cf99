/**
 * Errors on the way from a name (of a model, a data set, a cache folder) to its files. `code` is
 * for programs, the message for people.
 */
import { withoutSecrets } from './secrets.js';

/** Codes of ModelError. */
export type ModelErrorCode =
  | 'ERR_INVALID_ARGUMENT' // the caller passed something impossible
  | 'ERR_NOT_FOUND' // no such file, folder, repository or revision
  | 'ERR_GATED' // the hub wants a token, or its owner's consent
  | 'ERR_OFFLINE' // not cached, and the network may not be used
  | 'ERR_NETWORK' // the network was tried and failed
  | 'ERR_CHECKSUM' // the bytes are not the promised ones
  | 'ERR_DISK_FULL' // the disk of the cache is full
  | 'ERR_INCOMPLETE_MODEL' // some files are there, some are not
  | 'ERR_UNSAFE_PATH' // a repository names a file outside itself
  | 'ERR_LOCKED' // another process holds the cache entry and does not let go
  | 'ERR_SETUP'; // python3 or pip is missing

/** A model, data set or cache that cannot be found, fetched or trusted. */
export class ModelError extends Error {
  /** Stable between versions. */
  readonly code: ModelErrorCode;

  constructor(code: ModelErrorCode, message: string, options?: ErrorOptions) {
    super(withoutSecrets(message), options);
    this.name = 'ModelError';
    this.code = code;
  }
}

const NOT_WRITABLE = ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'ENOENT'];

/**
 * Turns the error of a cache folder that cannot be made or written to into one sentence; a
 * read-only disk answers mkdir with ENOENT.
 */
export function explainWriteError(error: unknown, directory: string): unknown {
  if (!NOT_WRITABLE.includes((error as NodeJS.ErrnoException | null)?.code ?? ''))
    return explainDiskError(error, directory);
  return new ModelError(
    'ERR_LOCKED',
    `The cache folder ${directory} is not writable; make it writable or point CREAM_CACHE ` +
      '(HF_HOME for hub models) elsewhere.',
    { cause: error },
  );
}

/** Turns a full disk into one sentence; returns every other error unchanged. */
export function explainDiskError(error: unknown, directory: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new ModelError(
      'ERR_DISK_FULL',
      `The disk of ${directory} is full; free some space or point CREAM_CACHE (HF_HOME for ` +
        'hub models) elsewhere, then run the command again.',
      { cause: error },
    );
  }
  return error;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of its path is no folder',
  EISDIR: 'it is a folder',
  EEXIST: 'it is there already',
  ENOTEMPTY: 'the folder is not empty',
  EACCES: 'it is not allowed; check its permissions',
  EPERM: 'it is not allowed; check its permissions',
  EROFS: 'its disk is read-only',
  ENOSPC: 'its disk is full; free some space',
  EDQUOT: 'its disk is full; free some space',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'its name is too long',
  EMFILE: 'too many files are open; raise the limit with ulimit -n',
  ENFILE: 'too many files are open on this machine',
  EIO: 'the disk or device failed; check it',
  ENXIO: 'it is a pipe or a device that does not answer',
  ESTALE: 'its network disk has lost it; run the command again',
};

/** What a code of the system means for a file; undefined for a code that is not known. */
export const systemReason = (code: string | undefined): string | undefined => REASONS[code ?? ''];

/** The error of a system call on a file as one sentence; every other error as it is. */
export function explainSystemError(error: unknown): unknown {
  const { code, syscall, path } = (error ?? {}) as NodeJS.ErrnoException;
  const reason = systemReason(code);
  if (reason === undefined || syscall === undefined || path === undefined) return error;
  return Object.assign(new Error(`Cannot use ${path}: ${reason}.`, { cause: error }), { code });
}
