/**
 * A file that grows while a run works. A resumed run writes it again from its first byte: bytes of
 * an earlier call are kept as long as they are the same, so that nothing is written twice, and are
 * cut off from the first difference. The file is changed in place, so a program that follows it can
 * continue reading.
 */
import { appendFileSync, existsSync, lstatSync, mkdirSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { RunError } from './errors.js';
import { readOwnBytes } from './own-files.js';
import { explainDisk } from './store.js';

/** A file that only grows; a resumed run writes it again from its first byte. */
export class GrowingFile {
  /** The bytes of an earlier call, of which the first `size` are valid. */
  private before: Buffer;
  private size = 0;

  /** @throws RunError if the path exists and is not a file */
  constructor(private readonly path: string) {
    try {
      this.before = readExisting(path);
    } catch (error) {
      throw explainDisk(path, error);
    }
  }

  /** The bytes of an earlier call after the current position. */
  get rest(): Buffer {
    return this.before.subarray(this.size);
  }

  /** Keeps the next `bytes` of `rest`. */
  keep(bytes: number): void {
    this.size += bytes;
  }

  /** Writes `data` at the current position in place of `rest`. */
  write(data: Buffer): void {
    try {
      this.end();
      if (this.size === 0 && !existsSync(dirname(this.path))) mkdirSync(dirname(this.path));
      appendFileSync(this.path, data);
    } catch (error) {
      throw explainDisk(this.path, error);
    }
    this.size += data.length;
  }

  /** Cuts `rest` off. */
  end(): void {
    if (this.rest.length > 0) truncateSync(this.path, this.size);
    this.before = Buffer.alloc(0);
  }
}

function readExisting(path: string): Buffer {
  const info = lstatSync(path, { throwIfNoEntry: false });
  if (info === undefined) return Buffer.alloc(0);
  if (info.isFile()) return readOwnBytes(path);
  throw new RunError(
    'ERR_RUN_DATA',
    `${path} is not a regular file: move it away; the run writes it.`,
  );
}
