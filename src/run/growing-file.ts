/**
 * A file that grows while a run works. A resumed run writes it anew from its first byte; what an
 * earlier call wrote is kept as long as it is the same, so that nothing stands there twice, and is
 * cut off where it differs. The file is changed in place: whoever follows it goes on reading.
 */
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  truncateSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { RunError } from './errors.js';
import { explainDisk } from './store.js';

export class GrowingFile {
  /** What an earlier call wrote, of which the first `size` bytes are in force. */
  private before: Buffer;
  private size = 0;

  /** @throws RunError where something else than a file has this name */
  constructor(private readonly path: string) {
    try {
      this.before = readExisting(path);
    } catch (error) {
      throw explainDisk(path, error);
    }
  }

  /** What an earlier call wrote at this place. */
  get rest(): Buffer {
    return this.before.subarray(this.size);
  }

  /** Keeps the next `bytes` of `rest`. */
  keep(bytes: number): void {
    this.size += bytes;
  }

  /** Writes `data` at this place, in place of `rest`. */
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
  if (info.isFile()) return readFileSync(path);
  throw new RunError(
    'ERR_RUN_DATA',
    `${path} is not a regular file: move it away; the run writes it.`,
  );
}
