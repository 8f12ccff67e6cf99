/** Reads the files that a run wrote itself, and refuses a folder or pipe in their place. */
import { FileError, isForbidden, readRegularSync, type FileKind } from '../files/read.js';
import { RunError } from './errors.js';

/** The bytes of a file of the run directory. @throws RunError if it cannot be read */
export function readOwnBytes(path: string, kind: FileKind = 'run'): Buffer {
  try {
    return readRegularSync(path, kind);
  } catch (error) {
    throw asRunError(error);
  }
}

/** Its text. @throws as `readOwnBytes` */
export const readOwnText = (path: string, kind: FileKind = 'run'): string =>
  readOwnBytes(path, kind).toString('utf8');

/** A FileError as a RunError; any other error as it is. */
export const asRunError = (error: unknown): unknown =>
  error instanceof FileError
    ? new RunError(
        'ERR_RUN_DATA',
        `Cannot read ${error.path}: ${error.reason}. It is a file of the run` +
          (isForbidden(error)
            ? '.'
            : ': bring it back from a copy, or choose another run directory.'),
        { cause: error },
      )
    : error;
