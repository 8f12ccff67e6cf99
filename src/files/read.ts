/**
 * Opens every file of a user that the package reads: regular files only (a named pipe, a device or
 * a socket may never answer), and none larger than the limit of its kind.
 */
import { isUtf8 } from 'node:buffer';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
  type Stats,
} from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { systemReason } from './errors.js';

const MIB = 2 ** 20;

/** Largest file of each kind in bytes; real ones stay far below. */
const KINDS = {
  recipe: { maxBytes: MIB, name: 'a recipe' },
  template: { maxBytes: MIB, name: 'a chat template' },
  config: { maxBytes: 64 * MIB, name: 'a JSON file of a model' },
  tokenizer: { maxBytes: 256 * MIB, name: 'a tokenizer' },
  card: { maxBytes: 4 * MIB, name: 'a README of the hub' },
  record: { maxBytes: 16 * MIB, name: 'a file of this kind' },
  run: { maxBytes: 1024 * MIB, name: 'a file of a run' },
  data: { maxBytes: 1024 * MIB, name: 'a data file' },
} as const;

export type FileKind = keyof typeof KINDS;

/** A file that cannot be read. `reason` is the clause after "cannot read FILE: ". */
export class FileError extends Error {
  override readonly name = 'FileError';
  constructor(
    readonly path: string,
    /**
     * ENOENT and the system's other codes; ERR_NOT_REGULAR, ERR_TOO_LARGE, ERR_ENCODING,
     * ERR_DANGLING.
     */
    readonly code: string,
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`cannot read ${path}: ${reason}`, options);
  }
}

/** The bytes of a file. @throws FileError */
export async function readRegular(path: string, kind: FileKind): Promise<Buffer> {
  const file = await openRegular(path);
  try {
    checkSize(path, await file.stat(), kind);
    return await file.readFile().catch((error: unknown) => {
      throw explain(path, error);
    });
  } finally {
    await file.close();
  }
}

/** The UTF-8 text of a file. @throws FileError also if it is not UTF-8 */
export async function readText(path: string, kind: FileKind): Promise<string> {
  const bytes = await readRegular(path, kind);
  if (isUtf8(bytes)) return bytes.toString('utf8');
  const reason = 'it is not valid UTF-8; convert it, for example with iconv -t UTF-8';
  throw new FileError(path, 'ERR_ENCODING', reason);
}

/** `readRegular` for callers that cannot wait. @throws FileError */
export function readRegularSync(path: string, kind: FileKind): Buffer {
  let file: number | undefined;
  try {
    checkRegular(path, statSync(path, { throwIfNoEntry: false }) ?? null); // a socket
    file = openSync(path, FLAGS);
    const info = fstatSync(file);
    checkRegular(path, info);
    checkSize(path, info, kind);
    return readFileSync(file);
  } catch (error) {
    throw explain(path, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** A regular file, opened for reading. @throws FileError */
export async function openRegular(path: string): Promise<FileHandle> {
  const file = await open(path, FLAGS).catch(async (error: unknown) => {
    checkRegular(path, await stat(path).catch(() => null)); // a socket cannot be opened
    throw explain(path, error);
  });
  try {
    checkRegular(path, await file.stat());
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Without O_NONBLOCK, opening a named pipe waits for a writer; regular files ignore the flag. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

function checkRegular(path: string, info: Stats | null): void {
  if (info === null || info.isFile()) return;
  if (info.isDirectory()) throw new FileError(path, 'EISDIR', 'it is a folder; give a file');
  const what = info.isFIFO() ? 'a pipe' : info.isSocket() ? 'a socket' : 'a device';
  throw new FileError(
    path,
    'ERR_NOT_REGULAR',
    `it is ${what}, and only regular files are read; save what it holds to a file and give that`,
  );
}

function checkSize(path: string, { size }: Stats, kind: FileKind): void {
  const { maxBytes, name } = KINDS[kind];
  if (size <= maxBytes) return;
  throw new FileError(
    path,
    'ERR_TOO_LARGE',
    `it is ${Math.ceil(size / MIB)} MiB long, and ${name} has at most ${maxBytes / MIB}; ` +
      (kind === 'data'
        ? 'split it into several files and give them as a list'
        : 'check that it is the right file'),
  );
}

/** What a name may have been meant as that no file has. */
function misunderstood(path: string): string {
  if (path === '-') return '; standard input is not read, so save it to a file and give that';
  if (/^[a-z][\w+.-]+:\/\//i.test(path))
    return '; it looks like an address, so fetch it to a file first (or give hub:org/name)';
  if (/^~/.test(path)) return '; only a shell replaces ~, so write the whole path';
  return /[*?]/.test(path) ? '; * and ? stand for themselves, so list the files by name' : '';
}

/** Whether a file is there and this user may not read it. */
export const isForbidden = ({ code }: { code?: string }): boolean =>
  code === 'EACCES' || code === 'EPERM';

/** A file that may be missing is not meant to be a link without one, as of a cut download. */
function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}

function explain(path: string, error: unknown): unknown {
  if (error instanceof FileError) return error;
  const { code = 'ERR_IO', message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' && isLink(path))
    return new FileError(path, 'ERR_DANGLING', 'there is no such file, only a link to it', {
      cause: error,
    });
  const known: Record<string, string> = {
    ENOENT: `there is no such file${misunderstood(path)}`,
    ENOTDIR: 'there is no such file',
    EACCES: 'it may not be read; check its permissions',
    EPERM: 'it may not be read; check its permissions',
    ERR_FS_FILE_TOO_LARGE: 'it is too long to be read at once',
  };
  return new FileError(path, code, known[code] ?? systemReason(code) ?? message, { cause: error });
}
