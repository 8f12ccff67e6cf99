/**
 * The destination of a command's result (`-o`): a file, which is replaced as a whole; standard
 * output (`-`); or a pipe or device, which is written directly. No other kind of file is replaced.
 */
import {
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  realpathSync,
  statSync,
  type Stats,
} from 'node:fs';
import { open, readdir, type FileHandle } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { serialize } from '../data/jsonl.js';
import { RunError } from '../run/errors.js';
import type { TextCompletion } from '../lm/language-model.js';
import { isRecorded } from '../run/recorded.js';
import { explainDisk, onDisk, writeAtomic } from '../run/store.js';
import { printJson, printLine } from './table.js';

export interface Output {
  kind: 'file' | 'through' | 'stdout';
  /** The given path; for a link to a file, the file itself. */
  path: string;
}

const STDOUT = new Set(['-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1']);

/** Checks `path` before any work begins. @throws RunError if it cannot be written */
export function outputOf(path: string): Output {
  if (STDOUT.has(path)) return { kind: 'stdout', path };
  if (path === '') throw refusal('the result', 'its name is empty; name a file');
  const found = look(path, lstatSync);
  if (found === undefined) {
    if (/[/\\]$/.test(path)) throw refusal(path, 'its name ends as that of a folder; name a file');
    return { kind: 'file', path };
  }
  const target = look(path, statSync);
  if (target === undefined) throw refusal(path, 'it is a dangling link; name the file to write');
  if (target.isDirectory()) throw refusal(path, 'it is a folder; name a file');
  if (target.isFile()) {
    const file = found.isSymbolicLink() ? realpathSync(path) : path;
    if (isRecorded(file))
      throw refusal(path, 'it is a file of a run, which keeps a record of it; name another file');
    return { kind: 'file', path: file };
  }
  if (target.isFIFO() || target.isCharacterDevice()) return { kind: 'through', path };
  throw refusal(path, 'it is neither a file nor a pipe; name a file');
}

/**
 * Refuses to write a result over one of the files that it is made from. @throws RunError naming
 * both
 */
export function refuseOwnInput(written: readonly string[], given: readonly string[]): void {
  for (const path of written) {
    const input = given.find((name) => isSameFile(name, path));
    if (input !== undefined)
      throw refusal(
        path,
        `it is the file that the command reads${input === path ? '' : ` as ${input}`}, which ` +
          'would be lost; name another file',
      );
  }
}

function isSameFile(a: string, b: string): boolean {
  try {
    const [one, other] = [statSync(a), statSync(b)];
    return one.isFile() && one.dev === other.dev && one.ino === other.ino;
  } catch {
    return false; // one of them is no file, such as the name of a data set
  }
}

/** The entry at `path`; undefined if there is none. @throws RunError if that is not known */
function look(path: string, stat: typeof lstatSync): Stats | undefined {
  try {
    return stat(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'ELOOP'
      ? refusal(path, 'its links lead in a circle; name the file that is to be written')
      : explainDisk(path, error, false);
  }
}

/** Writes a whole result. Rejects with the reason of `signal` if it is aborted first. */
export async function writeOutput(
  { kind, path }: Output,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  if (kind === 'file') return writeAtomic(path, text, false);
  if (kind === 'through') return onDisk(path, () => writePipe(path, text, signal));
  // Node writes to a pipe synchronously: a reader that waits would make it deaf to signals.
  if (fstatSync(1).isFIFO() && existsSync(OWN_STDOUT))
    return writePipe(OWN_STDOUT, text, signal).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  await new Promise<void>((resolve, reject) =>
    process.stdout.write(text, (error) => (error ? reject(error) : resolve())),
  );
}

/** Standard output as a file of its own, on Linux. */
const OWN_STDOUT = '/proc/self/fd/1';

async function writePipe(path: string, text: string, signal: AbortSignal): Promise<void> {
  const file = await openThrough(path, signal);
  await writeThrough(file, Buffer.from(text), signal).finally(() => file.close());
}

/**
 * Opens a pipe or device. A pipe without a reader is tried again until it has one: what is written
 * before would be lost, and an open that blocks would keep the process from ending.
 */
async function openThrough(path: string, signal: AbortSignal): Promise<FileHandle> {
  for (;;) {
    try {
      return await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
      await setTimeout(50, undefined, { signal });
    }
  }
}

async function writeThrough(file: FileHandle, bytes: Buffer, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += (await file.write(bytes, at)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await setTimeout(10, undefined, { signal }); // the pipe is full
    }
  }
}

export const writeOutputRecords = (
  output: Output,
  records: readonly object[],
  signal: AbortSignal,
): Promise<void> => writeOutput(output, records.map(serialize).join(''), signal);

/** Reports the place of the result, unless it is on standard output; with `json` as JSON. */
export function printWritten(
  { kind }: Output,
  given: string,
  { json, ...told }: { json?: boolean | undefined; rows?: number } = {},
): void {
  if (kind === 'stdout') return;
  if (json) printJson({ file: given, ...told });
  else printLine(given);
}

/** A completion as JSON has it, in the columns of completions.jsonl where they have one. */
export function completionRecord(completion: TextCompletion, top: boolean): object {
  const { text, finishReason, seed, tokens, logprobs, topLogprobs } = completion;
  return {
    text,
    finish_reason: finishReason,
    // A drawn seed may have more digits than a JSON number keeps.
    seed: seed <= Number.MAX_SAFE_INTEGER ? Number(seed) : String(seed),
    token_ids: [...tokens],
    logprobs: [...logprobs],
    ...(top && {
      top_logprobs: topLogprobs.map((all) =>
        all.map(({ token, logprob }) => ({ token_id: token, logprob })),
      ),
    }),
  };
}

/** @throws RunError if `path` cannot be the folder that a command makes */
export function refuseNoFolder(path: string): void {
  if (path === '') throw refusal('the result', 'its name is empty; name a folder');
  if (path === '-') throw refusal(path, 'the result is a folder, not standard output; name one');
}

/**
 * The folder of a new model, which is renamed into place when it is complete, without a slash at
 * its end. @throws RunError if it exists already
 */
export async function newFolder(given: string): Promise<string> {
  refuseNoFolder(given);
  const path = given.replace(/(?<=.)[/\\]+$/, '');
  const found = look(path, lstatSync);
  if (found === undefined) return path;
  if (found.isDirectory() && (await readdir(path)).length === 0) return path;
  throw new RunError(
    'ERR_DISK',
    `${path} exists already and is not replaced: choose another --out.`,
  );
}

const refusal = (path: string, reason: string): RunError =>
  new RunError('ERR_DISK', `Cannot write ${path}: ${reason}.`);
